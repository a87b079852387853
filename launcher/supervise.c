/* The loop of supervise.h: one poll over the signals and every lifeline, up to the next restart or
 * stop deadline. */
#include "launcher/supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define NS_PER_MS 1000000
#define LOOK_MS   1000 /* between two looks at what a life says of itself */

const char *const la_state_names[] = {"waiting", "running", "stopping", "backoff",
                                      "done",    "failed",  "stopped",  NULL};

struct loop {
    struct la_supervisor *s;
    int phase; /* being stopped */
    struct cm_deadline kill_at;
    char job[CM_UUID_TEXT];
};

void la_role_release(struct la_role *role)
{
    la_argv_release(&role->argv);
    la_argv_release(&role->env);
    cm_free(&role->log_path);
    cm_free(&role->scratch);
    la_lives_close(&role->lives);
}

static bool is_alive(const struct la_role *role)
{
    return role->state == LA_STATE_RUNNING || role->state == LA_STATE_STOPPING;
}

static void set_state(struct loop *l, struct la_role *role, enum la_state state)
{
    role->state = state;
    role->since_utc = cm_utc_now();
    if (l->s->changed)
        l->s->changed(l->s, l->s->arg);
}

static void role_ended(struct loop *l, struct la_role *role, int exit_code)
{
    struct la_supervisor *s = l->s;
    int64_t now = cm_now_ns();
    role->last_exit = exit_code;
    role->proc = (struct la_proc){.lifeline = -1};
    if (s->stopping) {
        set_state(l, role, LA_STATE_STOPPED);
        return;
    }
    la_lives_end(role->lives, exit_code);
    int64_t left = role->max_restarts < 0 ? -1 : role->max_restarts - role->restarts;
    const struct la_life life = {.once = role->once,
                                 .exit_code = exit_code,
                                 .ms = (now - role->started_ns) / NS_PER_MS,
                                 .failures_in_a_row = role->failures_in_a_row,
                                 .has_worked = role->has_worked};
    struct la_restart next = la_restart_decide(&s->backoff, &life, left);
    if (next.verdict == LA_AGAIN && role->once && !la_lives_try_again(role->lives, exit_code))
        next.verdict = LA_FAILED;
    role->failures_in_a_row = next.failures_in_a_row;
    role->has_worked = next.has_worked;
    if (next.verdict == LA_AGAIN) {
        role->restarts++;
        role->due_ns = now + next.delay_ms * NS_PER_MS;
        cm_log_warn("%s ended with code %d; restart %lld in %lld ms", role->name, exit_code,
                    (long long)role->restarts, (long long)next.delay_ms);
        la_lives_restart(role->lives, role->restarts, exit_code, next.delay_ms);
        set_state(l, role, LA_STATE_BACKOFF);
    } else if (next.verdict == LA_FAILED) {
        bool is_final = la_exit_is_final(exit_code);
        cm_log_error("%s ended with code %d%s and is not restarted", role->name, exit_code,
                     is_final ? ", which no restart mends," : "");
        if (is_final)
            la_lives_give_up(role->lives, exit_code);
        set_state(l, role, LA_STATE_FAILED);
    } else {
        set_state(l, role, LA_STATE_DONE);
    }
}

/* Children inherit them, and hand them on to ranks on other hosts by name. */
static cm_status begin_life(const struct loop *l, struct la_role *role)
{
    char job[CM_UUID_TEXT + LA_ROLE_NAME], life[24];
    snprintf(job, sizeof job, "%s-%s", l->job, role->name);
    snprintf(life, sizeof life, "%lld", (long long)role->restarts);
    if (setenv(LA_ENV_JOB, job, 1) || setenv(LA_ENV_LIFE, life, 1))
        return CM_FAIL_ERRNO("environment");
    la_lives_begin(role->lives, job, role->restarts);
    role->lost_at = cm_deadline_in_ms(-1);
    return CM_OK;
}

static void start_role(struct loop *l, struct la_role *role)
{
    struct la_command command = {.argv = role->argv.item,
                                 .env = role->env.item,
                                 .log_path = role->log_path,
                                 .scratch = role->scratch,
                                 .keep_fd = l->s->keep_fd};
    role->started_ns = cm_now_ns();
    cm_status st = begin_life(l, role);
    if (st == CM_OK)
        st = la_proc_start(&role->proc, &command);
    if (st != CM_OK) {
        cm_error_report(CM_LOG_ERROR, st, role->name);
        role_ended(l, role, st == CM_ENOTFOUND ? LA_EXIT_ABSENT : LA_EXIT_NOT_RUN);
        return;
    }
    cm_log_debug("%s started as %d", role->name, (int)role->proc.pid);
    set_state(l, role, LA_STATE_RUNNING);
}

static void start_due(struct loop *l)
{
    for (size_t i = 0; i < l->s->nroles && !l->s->stopping; i++) {
        struct la_role *role = &l->s->roles[i];
        if (role->state == LA_STATE_WAITING ||
            (role->state == LA_STATE_BACKOFF && role->due_ns <= cm_now_ns()))
            start_role(l, role);
    }
}

/* mpirun was seen to wait for ever for the daemon of a host that was cut off, its own ranks long
 * gone: a life that is lost has as long to end as one that is told to. */
static void end_lost(struct loop *l)
{
    for (size_t i = 0; i < l->s->nroles; i++) {
        struct la_role *role = &l->s->roles[i];
        if (role->state != LA_STATE_RUNNING || !la_lives_is_lost(role->lives))
            continue;
        if (role->lost_at.at_ns == INT64_MAX)
            role->lost_at = cm_deadline_in_ms(l->s->stop_timeout_ms);
        if (!cm_deadline_passed(role->lost_at))
            continue;
        cm_log_warn("%s: its ranks left %lld ms ago (see summary.json), but it has not ended: "
                    "killed",
                    role->name, (long long)l->s->stop_timeout_ms);
        la_proc_kill(&role->proc);
        role->lost_at = cm_deadline_in_ms(l->s->stop_timeout_ms);
    }
}

static void reap_ended(struct loop *l)
{
    struct la_supervisor *s = l->s;
    for (size_t i = 0; i < s->nroles; i++) {
        struct la_role *role = &s->roles[i];
        if (!is_alive(role))
            continue;
        pid_t guardians[LA_ROLES_MAX];
        size_t n = 0;
        for (size_t k = 0; k < s->nroles; k++)
            if (k != i && is_alive(&s->roles[k]))
                guardians[n++] = s->roles[k].proc.guardian;
        int status = 0;
        if (la_proc_ended(&role->proc, &status, guardians, n))
            role_ended(l, role, la_exit_code(status));
    }
}

/* Tells the lowest phase that still has living roles to stop, once; l->phase is that phase
 * afterwards. */
static void stop_next_phase(struct loop *l)
{
    struct la_supervisor *s = l->s;
    int lowest = -1;
    for (size_t i = 0; i < s->nroles; i++)
        if (is_alive(&s->roles[i]) && (lowest < 0 || s->roles[i].stop_phase < lowest))
            lowest = s->roles[i].stop_phase;
    if (lowest < 0 || lowest == l->phase)
        return;
    l->phase = lowest;
    l->kill_at = cm_deadline_in_ms(s->stop_timeout_ms);
    for (size_t i = 0; i < s->nroles; i++)
        if (s->roles[i].state == LA_STATE_RUNNING && s->roles[i].stop_phase == lowest) {
            la_proc_signal(&s->roles[i].proc, s->roles[i].stop_signal);
            set_state(l, &s->roles[i], LA_STATE_STOPPING);
        }
}

static void kill_alive(struct loop *l, bool all)
{
    for (size_t i = 0; i < l->s->nroles; i++)
        if (l->s->roles[i].state == LA_STATE_STOPPING || (all && is_alive(&l->s->roles[i])))
            la_proc_kill(&l->s->roles[i].proc);
}

static void stop_asked(struct loop *l, int sig)
{
    struct la_supervisor *s = l->s;
    if (s->stopping) {
        cm_log_warn("%s again: ending everything now", strsignal(sig));
        kill_alive(l, true);
        return;
    }
    cm_log_info("%s: stopping", strsignal(sig));
    s->stopping = true;
    for (size_t i = 0; i < s->nroles; i++)
        if (s->roles[i].state == LA_STATE_WAITING || s->roles[i].state == LA_STATE_BACKOFF) {
            s->roles[i].last_exit = LA_EXIT_PREEMPTED; /* it would have gone on */
            set_state(l, &s->roles[i], LA_STATE_STOPPED);
        }
}

/* False when no role runs or will. *wait_ms: until the next restart or deadline, -1 for none. */
static bool next_wait(const struct loop *l, int *wait_ms)
{
    bool busy = false;
    int64_t at_ns = l->s->stopping ? l->kill_at.at_ns : INT64_MAX;
    for (size_t i = 0; i < l->s->nroles; i++) {
        const struct la_role *role = &l->s->roles[i];
        busy = busy || is_alive(role) || role->state == LA_STATE_BACKOFF;
        if (role->state == LA_STATE_BACKOFF && role->due_ns < at_ns)
            at_ns = role->due_ns;
        int64_t look_ns = cm_deadline_in_ms(LOOK_MS).at_ns;
        if (role->state == LA_STATE_RUNNING && role->lives && look_ns < at_ns)
            at_ns = look_ns;
    }
    *wait_ms = at_ns == INT64_MAX ? -1 : cm_deadline_left_ms((struct cm_deadline){at_ns});
    return busy;
}

static void step(struct loop *l, int signals, int wait_ms)
{
    struct pollfd fds[LA_ROLES_MAX + 1] = {{.fd = signals, .events = POLLIN}};
    nfds_t n = 1;
    for (size_t i = 0; i < l->s->nroles; i++)
        if (is_alive(&l->s->roles[i]))
            fds[n++] = (struct pollfd){.fd = l->s->roles[i].proc.lifeline, .events = POLLIN};
    if (poll(fds, n, wait_ms) < 0)
        return;
    struct signalfd_siginfo info;
    if (fds[0].revents && read(signals, &info, sizeof info) == (ssize_t)sizeof info)
        stop_asked(l, (int)info.ssi_signo);
    reap_ended(l);
    end_lost(l);
    if (l->s->stopping) {
        stop_next_phase(l);
        if (cm_deadline_passed(l->kill_at)) {
            cm_log_warn("not stopped within %lld ms: killed", (long long)l->s->stop_timeout_ms);
            kill_alive(l, false);
            l->kill_at = cm_deadline_in_ms(-1);
        }
    }
}

/* TERM, INT, USR1, and HUP unless nohup(1) had it ignored, as a descriptor. */
static cm_status take_signals(int *signals, sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    struct sigaction hup;
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
        sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, before);
    *signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (*signals < 0) {
        sigprocmask(SIG_SETMASK, before, NULL);
        return CM_FAIL_ERRNO("supervisor: signalfd");
    }
    return CM_OK;
}

cm_status la_supervise(struct la_supervisor *s)
{
    if (s->nroles > LA_ROLES_MAX)
        return CM_FAIL(CM_EINVAL, "%zu roles, at most %d can be supervised", s->nroles,
                       LA_ROLES_MAX);
    struct loop l = {.s = s, .phase = -1, .kill_at = cm_deadline_in_ms(-1)};
    sigset_t before;
    int signals = -1, wait_ms = -1;
    cm_uuid_format(l.job, cm_uuid_make());
    s->stopping = false;
    CM_TRY(la_proc_init());
    CM_TRY(take_signals(&signals, &before));
    for (size_t i = 0; i < s->nroles; i++) {
        s->roles[i].state = LA_STATE_WAITING;
        s->roles[i].proc = (struct la_proc){.lifeline = -1};
        s->roles[i].last_exit = -1;
    }
    start_due(&l);
    while (next_wait(&l, &wait_ms)) {
        step(&l, signals, wait_ms);
        start_due(&l);
    }
    close(signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return CM_OK;
}
