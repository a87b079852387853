/* The commands that the launcher does itself. Each is a main: argv[0] is skipped, the exit code is
 * returned. */
#ifndef LAUNCHER_OWN_COMMANDS_H
#define LAUNCHER_OWN_COMMANDS_H

int la_command_up(int argc, char **argv);
int la_command_status(int argc, char **argv);
int la_command_down(int argc, char **argv);
int la_command_serve(int argc, char **argv);
int la_command_ranks(int argc, char **argv);
int la_command_submit(int argc, char **argv);
int la_command_doctor(int argc, char **argv);

#endif
