/* `submit`: Slurm runs `flywheel train` by srun, one task per rank. */
#include "launcher/submit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/args.h"
#include "common/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "launcher/dispatch.h"
#include "launcher/own_commands.h"
#include "launcher/supervise.h"

#define SCRIPT_NBYTES 32768

/* Slurm and sh read these texts: nothing in them may end a quote or a line. */
static cm_status check_word(const char *what, const char *text)
{
    if (strpbrk(text, "'\"\\\r\n$`"))
        return CM_FAIL(CM_ECONFIG, "submit: %s '%s' has a quote, '$', '\\' or a line end in it",
                       what, text);
    return CM_OK;
}

static void directive(FILE *f, const char *option, const char *value)
{
    if (*value)
        fprintf(f, "#SBATCH --%s=%s\n", option, value);
}

static void write_command(FILE *f, const struct la_job *job, const char *verb)
{
    fprintf(f, "'%s' %s '%s'", job->program, verb, job->config);
    if (job->run)
        fprintf(f, " --run '%s'", job->run);
}

/* Only a shell that waits can trap, and a signal ends the wait. One that comes before there are
 * ranks is kept for them; srun forgets what it is told before they run, so it is told again. */
static void write_ranks(FILE *f, const struct la_job *job, const struct la_cluster *cluster)
{
    fprintf(f, "srun --mpi=pmix --kill-on-bad-exit=1 ");
    if (cluster->cpus_per_rank) /* which srun does not take from the job */
        fprintf(f, "--cpus-per-task=%lld ", (long long)cluster->cpus_per_rank);
    write_command(f, job, "train");
    fprintf(f, " &\nranks=$!\n"
               "[ -n \"$asked\" ] || { wait $ranks; code=$?; }\n"
               "if [ -n \"$asked\" ]; then\n"
               "    while kill -USR1 $ranks 2>/dev/null; do sleep 1; done\n"
               "    wait $ranks; ended=$?\n"
               "    [ $ended -eq 127 ] || code=$ended # not waited for before\n"
               "fi\n");
}

/* Ranks that the signal killed, since it found them before they could heed it, had nothing to lose.
 * A job whose ranks are quicker than Slurm to see that a node is gone would end as failed, so it
 * asks by itself. One that is cancelled while it runs is told to stop as well, and Slurm would
 * queue it again if asked to; it is then completing for no reason of Slurm's own (a time limit is
 * one). */
static void write_end(FILE *f, const struct la_job *job, const struct la_cluster *cluster)
{
    fprintf(f,
            "[ -z \"$asked\" ] || [ $code -le 128 ] || code=%d\n"
            "again=\n"
            "[ $code -ne %d ] || again=1\n"
            "if [ $code -ne 0 ] && [ -z \"$again\" ] && [ \"$FLYWHEEL_LIFE\" -lt %lld ]; then\n"
            "    ",
            LA_EXIT_PREEMPTED, LA_EXIT_PREEMPTED, (long long)cluster->requeues);
    write_command(f, job, "submit --lost");
    fprintf(f, " && again=1\n"
               "fi\n"
               "if [ -n \"$again\" ] && scontrol show job -o \"$SLURM_JOB_ID\" |\n"
               "    grep -qE 'JobState=(CANCELLED|COMPLETING) Reason=None '; then\n"
               "    echo 'flywheel: the job was cancelled: it is not queued again' >&2\n"
               "    again=\n"
               "fi\n"
               "[ -z \"$again\" ] || scontrol requeue \"$SLURM_JOB_ID\"\n"
               "exit $code\n");
}

static void write_script(FILE *f, const struct la_job *job, const struct la_cluster *cluster)
{
    fprintf(f, "#!/bin/sh\n");
    directive(f, "job-name", job->name);
    fprintf(f, "#SBATCH --nodes=%lld\n#SBATCH --ntasks-per-node=%lld\n", (long long)cluster->nodes,
            (long long)cluster->ranks_per_node);
    if (cluster->cpus_per_rank)
        fprintf(f, "#SBATCH --cpus-per-task=%lld\n", (long long)cluster->cpus_per_rank);
    if (cluster->gpus_per_node)
        fprintf(f, "#SBATCH --gres=gpu:%lld\n", (long long)cluster->gpus_per_node);
    directive(f, "partition", cluster->partition);
    directive(f, "time", cluster->time_limit);
    fprintf(f, "#SBATCH --signal=B:USR1@%lld\n", (long long)cluster->warn_s);
    fprintf(f, "#SBATCH --requeue\n#SBATCH --open-mode=append\n#SBATCH --output=\"%s\"\n\n",
            job->log);
    fprintf(f, "asked= ranks= code=\n"
               "trap 'asked=1; [ -z \"$ranks\" ] || kill -USR1 $ranks 2>/dev/null' USR1 TERM\n");
    /* A job keeps its number when it is queued again: its next life may take over from one whose
     * node is lost. */
    fprintf(f, "export " LA_ENV_JOB "=\"slurm-$SLURM_JOB_ID\" " LA_ENV_LIFE
               "=\"${SLURM_RESTART_COUNT:-0}\"\n");
    fprintf(f,
            "srun --mpi=list 2>&1 | grep -q pmix || {\n"
            "    echo 'flywheel: this Slurm cannot start MPI ranks: srun --mpi=list has no pmix; '"
            "\\\n         'run mpirun inside the job instead' >&2\n    exit %d\n}\n",
            LA_EXIT_USAGE);
    write_ranks(f, job, cluster);
    write_end(f, job, cluster);
}

/* Seconds of a limit in one of sbatch's forms, M, M:S, H:M:S, D-H, D-H:M and D-H:M:S; -1: another,
 * which is sbatch's to judge. */
static int64_t limit_s(const char *text)
{
    const char *dash = strchr(text, '-');
    int64_t days = dash ? strtoll(text, NULL, 10) : 0;
    int a, b = 0, c = 0;
    int n = sscanf(dash ? dash + 1 : text, "%8d:%8d:%8d", &a, &b, &c);
    if (n < 1 || days < 0 || days > 1000000)
        return -1;
    return dash || n == 3 ? ((days * 24 + a) * 60 + b) * 60 + c : (int64_t)a * 60 + b;
}

/* A life that is told to stop before it has begun would be queued again for ever. */
static cm_status check_limit(const struct la_cluster *cluster)
{
    int64_t limit = limit_s(cluster->time_limit);
    if (limit <= 0 || limit > cluster->warn_s)
        return CM_OK;
    return CM_FAIL(CM_ECONFIG,
                   "submit: cluster.time_limit \"%s\" is %lld s, and cluster.warn_s %lld: the run "
                   "would be told to stop as soon as it starts, each time",
                   cluster->time_limit, (long long)limit, (long long)cluster->warn_s);
}

cm_status la_submit_script(char **text, const struct la_job *job, const struct la_cluster *cluster)
{
    *text = NULL;
    CM_TRY(check_limit(cluster));
    CM_TRY(check_word("job name", job->name));
    CM_TRY(check_word("program", job->program));
    CM_TRY(check_word("config", job->config));
    CM_TRY(check_word("log", job->log));
    CM_TRY(check_word("run directory", job->run ? job->run : ""));
    CM_TRY(check_word("cluster.partition", cluster->partition));
    CM_TRY(check_word("cluster.time_limit", cluster->time_limit));
    CM_TRY(cm_alloc(text, SCRIPT_NBYTES, 1, "batch script"));
    FILE *f = fmemopen(*text, SCRIPT_NBYTES, "w");
    if (!f) {
        cm_free(text);
        return CM_FAIL_ERRNO("batch script");
    }
    write_script(f, job, cluster);
    if (fclose(f) == 0 && strlen(*text) + 1 < SCRIPT_NBYTES)
        return CM_OK;
    cm_free(text);
    return CM_FAIL(CM_EINVAL, "submit: the batch script is too long");
}

/* ---- the command ---- */

struct options {
    const char *run;
    bool dry_run, lost;
};
static const struct cm_opt opts[] = {
    {.name = "run",
     .type = CM_OPT_STRING,
     .offset = offsetof(struct options, run),
     .argument = "DIR",
     .help = "run directory, instead of the config's"},
    {.name = "dry-run",
     .type = CM_OPT_FLAG,
     .offset = offsetof(struct options, dry_run),
     .help = "print the batch script, queue nothing"},
    {.name = "lost",
     .type = CM_OPT_FLAG,
     .offset = offsetof(struct options, lost),
     .help = "for the batch script: 0 when the job's run has just lost a rank, and not in the same "
             "step for the third time, else 1"},
};
static const struct cm_command command = {
    .name = "flywheel submit",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Queues 'flywheel train CONFIG' with Slurm, as section cluster says.",
    .details =
        "The run saves when Slurm warns it (cluster.warn_s before the limit, or preemption) and "
        "is queued again until it is done. So is one that loses a rank, cluster.requeues times, "
        "but not when it is in the same step three times.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts};

static cm_status read_config(struct la_cluster *cluster, char run_dir[CM_PATH], const char *path,
                             const char *run)
{
    struct cm_config *cfg = NULL;
    CM_TRY(cm_config_open(&cfg, path, NULL, 0));
    cm_status st = cm_config_read(cfg, &la_cluster_section, cluster);
    if (st == CM_OK)
        st = cm_config_run_dir(cfg, run, run_dir);
    cm_config_close(&cfg);
    return st;
}

static cm_status absolute(char full[CM_PATH], const char *path)
{
    char cwd[CM_PATH];
    if (!getcwd(cwd, sizeof cwd))
        return CM_FAIL_ERRNO("working directory");
    if (*path != '/')
        return cm_path_join(full, cwd, path);
    return snprintf(full, CM_PATH, "%s", path) < CM_PATH ? CM_OK
                                                         : CM_FAIL(CM_EINVAL, "%s: too long", path);
}

/* *logs is the folder that must exist: Slurm makes none, and the job would fail without a word. */
static cm_status make_script(char **text, char logs[CM_PATH], const char *config, const char *run)
{
    struct la_cluster cluster;
    char full[CM_PATH], bin_dir[CM_PATH], program[CM_PATH], dir[CM_PATH], run_dir[CM_PATH];
    char log[CM_PATH];
    CM_TRY(read_config(&cluster, dir, config, run));
    CM_TRY(absolute(full, config));
    CM_TRY(absolute(run_dir, dir));
    CM_TRY(cm_path_join(logs, run_dir, "logs"));
    CM_TRY(cm_path_join(log, logs, "slurm-%j.log"));
    CM_TRY(la_bin_dir(bin_dir));
    CM_TRY(cm_path_join(program, bin_dir, "flywheel"));
    struct la_job job = {.name = "flywheel",
                         .program = program,
                         .config = full,
                         .log = log,
                         .run = run ? run_dir : NULL};
    return la_submit_script(text, &job, &cluster);
}

static cm_status queue_script(const char *text)
{
    FILE *script = tmpfile();
    if (!script || fputs(text, script) < 0 || fflush(script)) {
        if (script)
            fclose(script);
        return CM_FAIL_ERRNO("batch script");
    }
    rewind(script);
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(fileno(script), STDIN_FILENO) >= 0)
            execlp("sbatch", "sbatch", (char *)NULL);
        _exit(errno == ENOENT ? LA_EXIT_ABSENT : LA_EXIT_NOT_RUN);
    }
    fclose(script);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return CM_FAIL_ERRNO("sbatch");
    int code = la_exit_code(status);
    if (code == LA_EXIT_ABSENT)
        return CM_FAIL(CM_ENOTFOUND, "no sbatch in PATH: is this a Slurm login node?");
    return code ? CM_FAIL(CM_EIO, "sbatch ended with code %d", code) : CM_OK;
}

/* Is this job's life one that lost a rank, and the next worth a try? */
static cm_status ask_lost(bool *again, const char *config, const char *run)
{
    struct la_cluster cluster;
    char run_dir[CM_PATH], what[512];
    const char *job = getenv(LA_ENV_JOB), *life = getenv(LA_ENV_LIFE);
    CM_TRY(read_config(&cluster, run_dir, config, run));
    *again = job && life && la_lives_go_on(run_dir, job, strtoll(life, NULL, 10), what);
    if (*again)
        cm_log_warn("lost a rank: %s; queued again, restart %lld of at most %lld", what,
                    strtoll(life, NULL, 10) + 1, (long long)cluster.requeues);
    return CM_OK;
}

int la_command_submit(int argc, char **argv)
{
    struct options opt = {0};
    char **operands = NULL, *text = NULL, logs[CM_PATH];
    int n = 0;
    bool helped = false;
    cm_status st = cm_args_parse(&command, argc, argv, &opt, &operands, &n, &helped);
    if (st == CM_OK && !helped && opt.lost) {
        bool again = false;
        st = ask_lost(&again, operands[0], opt.run);
        return st == CM_OK && !again ? 1 : cm_main_end(st);
    }
    if (st == CM_OK && !helped) {
        st = make_script(&text, logs, operands[0], opt.run);
        if (st == CM_OK && opt.dry_run) {
            fputs(text, stdout);
        } else if (st == CM_OK) {
            st = cm_dir_make(logs);
            if (st == CM_OK)
                st = queue_script(text);
        }
    }
    cm_free(&text);
    return cm_main_end(st);
}
