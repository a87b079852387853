/* Guardians: see proc.h for the picture. The lifeline is a SOCK_SEQPACKET pair: down go signal
 * numbers, up go notes. */
#include "launcher/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/process.h"

enum note_kind { NOTE_STARTED, NOTE_FAILED, NOTE_ENDED };
struct note {
    enum note_kind kind;
    int value; /* pid, errno, wait status */
};

#define START_TIMEOUT_MS 20000

/* ---- /proc ---- */

uint64_t la_process_ticks(pid_t pid)
{
    struct cm_process process;
    return cm_process_look(&process, pid) ? process.start_ticks : 0;
}

static bool is_in(pid_t pid, const pid_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == pid)
            return true;
    return false;
}

/* Kills and reaps every child of this process but those in keep. Their children become ours as they
 * die, so this goes on until a look at /proc finds none. command's wait status, if it is among
 * them, goes to *status. */
static void end_children(const pid_t *keep, size_t nkeep, pid_t command, int *status)
{
    pid_t self = getpid();
    bool found = true;
    while (found) {
        found = false;
        DIR *dir = opendir("/proc");
        if (!dir)
            return;
        for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
            pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
            struct cm_process process;
            if (pid <= 0 || !cm_process_look(&process, pid) || process.parent != self ||
                is_in(pid, keep, nkeep))
                continue;
            found = true;
            kill(pid, SIGKILL);
            int ended = 0;
            if (waitpid(pid, &ended, WNOHANG) == pid && pid == command)
                *status = ended;
        }
        closedir(dir);
        if (found)
            cm_sleep_us(
                2000); /* the killed need a moment; there is no event for "all children are gone" */
    }
}

/* ---- the command's side ---- */

static void fail_exec(int report)
{
    int err = errno;
    (void)!write(report, &err, sizeof err);
    _exit(127);
}

static _Noreturn void become_command(const struct la_command *cmd, pid_t guardian, int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guardian)
        _exit(127);
    setsid();
    struct sigaction initial = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < SIGRTMIN; sig++)
        sigaction(sig, &initial, NULL);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in < 0 || dup2(in, STDIN_FILENO) < 0)
        fail_exec(report);
    if (cmd->log_path) {
        int out = open(cmd->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
            fail_exec(report);
    }
    for (char *const *e = cmd->env; e && *e; e++)
        if (putenv(*e))
            fail_exec(report);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(cmd->argv[0], cmd->argv);
    fail_exec(report);
    _exit(127);
}

/* ---- the guardian's side ---- */

static void send_note(int lifeline, enum note_kind kind, int value)
{
    struct note note = {kind, value};
    /* A supervisor that is gone needs no note. */
    (void)!send(lifeline, &note, sizeof note, MSG_NOSIGNAL);
}

/* Returns the command's pid, or 0 with *err set when it could not be exec'd. */
static pid_t fork_command(const struct la_command *cmd, int *err)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC)) {
        *err = errno;
        return 0;
    }
    pid_t guardian = getpid(), pid = fork();
    if (pid == 0)
        become_command(cmd, guardian, report[1]);
    *err = pid < 0 ? errno : 0;
    close(report[1]);
    if (pid > 0 && read(report[0], err, sizeof *err) == (ssize_t)sizeof *err)
        pid = 0;
    close(report[0]);
    return pid > 0 ? pid : 0;
}

/* Until the command ends or the lifeline does; what the supervisor sends meanwhile is passed on.
 * True when the command ended by itself, with its wait status. */
static bool watch(pid_t command, int lifeline, int signals, int *status)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = lifeline, .events = POLLIN},
                               {.fd = signals, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents) {
            struct signalfd_siginfo info;
            (void)!read(signals, &info, sizeof info);
            int ended = 0;
            for (pid_t pid; (pid = waitpid(-1, &ended, WNOHANG)) > 0;)
                if (pid == command) {
                    *status = ended;
                    return true;
                }
        }
        if (fds[0].revents) {
            int sig = 0;
            if (recv(lifeline, &sig, sizeof sig, 0) != (ssize_t)sizeof sig)
                return false;
            kill(command, sig);
        }
    }
}

static _Noreturn void guard(const struct la_command *cmd, int lifeline)
{
    setsid();
    prctl(PR_SET_NAME, "fw-guardian");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* it ends by its lifeline only (and by SIGKILL) */
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    int err = signals < 0 ? errno : 0, status = SIGKILL;
    if (!err && cmd->scratch && mkdir(cmd->scratch, 0700))
        err = errno;
    pid_t command = err ? 0 : fork_command(cmd, &err);
    if (command) {
        send_note(lifeline, NOTE_STARTED, command);
        if (watch(command, lifeline, signals, &status))
            command = 0;
    } else {
        send_note(lifeline, NOTE_FAILED, err);
    }
    end_children(NULL, 0, command, &status);
    if (cmd->scratch && cm_dir_remove(cmd->scratch) != CM_OK)
        cm_error_report(CM_LOG_WARN, CM_EIO, "leaving a temporary folder behind");
    if (err == 0)
        send_note(lifeline, NOTE_ENDED, status);
    _exit(0);
}

/* Closes all but stdin, stdout, stderr and two more: a guardian that held the lifelines of others
 * would keep them open. */
static void close_others(int a, int b)
{
    int lo = a < b ? a : b, hi = a < b ? b : a;
    if (lo > STDERR_FILENO) {
        close_range(STDERR_FILENO + 1, (unsigned)lo - 1, 0);
        close_range((unsigned)lo + 1, (unsigned)hi - 1, 0);
    } else {
        close_range(STDERR_FILENO + 1, (unsigned)hi - 1, 0);
    }
    close_range((unsigned)hi + 1, ~0U, 0);
}

/* ---- the supervisor's side ---- */

cm_status la_proc_init(void)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1))
        return CM_FAIL_ERRNO("cannot become a subreaper");
    return CM_OK;
}

static void forget(struct la_proc *p)
{
    close(p->lifeline);
    while (waitpid(p->guardian, NULL, 0) < 0 && errno == EINTR)
        continue;
    *p = (struct la_proc){.lifeline = -1};
}

cm_status la_proc_start(struct la_proc *p, const struct la_command *cmd)
{
    *p = (struct la_proc){.lifeline = -1};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return CM_FAIL_ERRNO("starting %s: socketpair", cmd->argv[0]);
    pid_t guardian = fork();
    if (guardian == 0) {
        close_others(pair[1], cmd->keep_fd);
        guard(cmd, pair[1]);
    }
    int fork_errno = errno;
    close(pair[1]);
    if (guardian < 0) {
        close(pair[0]);
        errno = fork_errno;
        return CM_FAIL_ERRNO("starting %s: fork", cmd->argv[0]);
    }
    *p = (struct la_proc){.guardian = guardian, .lifeline = pair[0], .scratch = cmd->scratch};

    struct pollfd fd = {.fd = p->lifeline, .events = POLLIN};
    struct note note = {NOTE_FAILED, ETIMEDOUT};
    if (poll(&fd, 1, START_TIMEOUT_MS) > 0 &&
        recv(p->lifeline, &note, sizeof note, 0) != (ssize_t)sizeof note)
        note = (struct note){NOTE_FAILED, ECHILD};
    if (note.kind == NOTE_STARTED) {
        p->pid = note.value;
        p->ticks = la_process_ticks(p->pid);
        return CM_OK;
    }
    forget(p);
    errno = note.value;
    return CM_FAIL_ERRNO("cannot start %s", cmd->argv[0]);
}

void la_proc_signal(struct la_proc *p, int sig)
{
    /* Fails only when the guardian is gone, which la_proc_ended tells. */
    (void)!send(p->lifeline, &sig, sizeof sig, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void la_proc_kill(struct la_proc *p)
{
    shutdown(p->lifeline, SHUT_WR);
}

bool la_proc_ended(struct la_proc *p, int *wait_status, const pid_t *guardians, size_t n)
{
    struct note note;
    ssize_t got = recv(p->lifeline, &note, sizeof note, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    bool noted = got == (ssize_t)sizeof note && note.kind == NOTE_ENDED;
    *wait_status = noted ? note.value : SIGKILL;
    const char *scratch = p->scratch;
    forget(p);
    if (!noted) { /* the guardian was killed: its command dies with it, and the rest is ours now */
        end_children(guardians, n, 0, NULL);
        if (scratch && cm_dir_remove(scratch) != CM_OK)
            cm_error_report(CM_LOG_WARN, CM_EIO, "leaving a temporary folder behind");
    }
    return true;
}
