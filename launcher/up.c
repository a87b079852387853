/* `up`, `status`, `down` and `serve`: the tiers of one machine. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/args.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "launcher/dispatch.h"
#include "launcher/hosts.h"
#include "launcher/own_commands.h"
#include "launcher/roles.h"
#include "launcher/state.h"

#define LOCK_SLACK_MS 5000
#define COUNT(array)  (sizeof(array) / sizeof *(array))

struct options {
    const char *run;
    struct cm_opt_list sets;
    bool check, json;
    int64_t timeout_ms;
};

#define OPT(name_, letter_, type_, field_, argument_, help_)                                       \
    {                                                                                              \
        .name = name_, .letter = letter_, .type = type_,                                           \
        .offset = offsetof(struct options, field_), .argument = argument_, .help = help_           \
    }
#define OPT_RUN OPT("run", 0, CM_OPT_STRING, run, "DIR", "run directory, instead of the config's")
#define OPT_SET OPT("set", 0, CM_OPT_LIST, sets, "SECTION.KEY=VALUE", "override the config")

static const struct cm_opt up_opts[] = {
    OPT_RUN, OPT_SET,
    OPT("check", 0, CM_OPT_FLAG, check, NULL, "validate section cluster, print it, start nothing")};
static const struct cm_opt status_opts[] = {
    OPT_RUN, OPT("json", 0, CM_OPT_FLAG, json, NULL, "one JSON object")};
static const struct cm_opt down_opts[] = {
    OPT_RUN, OPT("timeout", 0, CM_OPT_INT, timeout_ms, "MS", "until what is left is killed")};

static const struct cm_section *const cluster_sections[] = {&la_cluster_section, NULL};
#define OTHER_SECTIONS                                                                             \
    "\n'flywheel train --help' explains the sections model, data, train, allreduce and store, "    \
    "'flywheel online --help'\nonline, 'flywheel-gateway --help' serve."

static const struct cm_command up_command = {
    .name = "flywheel up",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Supervises the tiers that section cluster asks for, until TERM or 'flywheel down'.",
    .details =
        "Each role has its own log under RUN/logs and is restarted with growing waits. TERM and "
        "INT take all down in order; a second one at once. Nothing outlives this command, "
        "not even when it is killed." OTHER_SECTIONS,
    .opts = up_opts,
    .nopts = COUNT(up_opts),
    .sections = cluster_sections};
static const struct cm_command serve_command = {
    .name = "flywheel serve",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Runs a gateway and cluster.workers workers (at least one) in the foreground.",
    .details = "TERM and INT end them in order; a second one at once." OTHER_SECTIONS,
    .opts = up_opts,
    .nopts = COUNT(up_opts),
    .sections = cluster_sections};
static const struct cm_command status_command = {
    .name = "flywheel status",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Shows what 'flywheel up' runs; 0 when all is well, else 1.",
    .opts = status_opts,
    .nopts = COUNT(status_opts)};
static const struct cm_command down_command = {
    .name = "flywheel down",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Ends 'flywheel up' and everything it started, and waits until all is gone.",
    .opts = down_opts,
    .nopts = COUNT(down_opts)};

/* ---- what the four have in common ---- */

struct setup {
    struct options opt;
    struct cm_config *cfg;
    struct la_cluster cluster;
    const char *config_path;
    char run_dir[CM_PATH];
    bool helped;
};

static cm_status open_setup(struct setup *s, const struct cm_command *command, int argc,
                            char **argv)
{
    char **operands = NULL;
    int n = 0;
    CM_TRY(cm_args_parse(command, argc, argv, &s->opt, &operands, &n, &s->helped));
    if (s->helped)
        return CM_OK;
    s->config_path = operands[0];
    CM_TRY(cm_config_open(&s->cfg, s->config_path, s->opt.sets.item, s->opt.sets.n));
    CM_TRY(cm_config_read(s->cfg, &la_cluster_section, &s->cluster));
    char dir[CM_PATH], cwd[CM_PATH];
    CM_TRY(cm_config_run_dir(s->cfg, s->opt.run, dir));
    if (!getcwd(cwd, sizeof cwd))
        return CM_FAIL_ERRNO("working directory");
    if (dir[0] != '/')
        return cm_path_join(s->run_dir, cwd, dir);
    memcpy(s->run_dir, dir, sizeof dir);
    return CM_OK;
}

/* --set and --run, for the tiers. */
static void tier_options(struct la_argv *a, const struct setup *s)
{
    for (size_t i = 0; i < s->opt.sets.n; i++) {
        la_argv_add(a, "--set");
        la_argv_add(a, s->opt.sets.item[i]);
    }
    if (s->opt.run) {
        la_argv_add(a, "--run");
        la_argv_add(a, s->opt.run);
    }
}

static cm_status build_roles(struct la_role *roles, size_t *n, enum la_roles_kind kind,
                             const struct setup *s)
{
    char bin_dir[CM_PATH];
    struct la_argv options = {0};
    CM_TRY(la_bin_dir(bin_dir));
    tier_options(&options, s);
    cm_status st = la_argv_end(&options);
    struct la_tiers tiers = {.bin_dir = bin_dir,
                             .config = s->config_path,
                             .run_dir = s->run_dir,
                             .options = options.item,
                             .noptions = options.n};
    if (st == CM_OK)
        st = la_roles_build(roles, n, kind, &s->cluster, &tiers);
    la_argv_release(&options);
    return st;
}

/* ---- up ---- */

static cm_status prepare_redis(const struct setup *s)
{
    struct la_redis_address address;
    char dir[CM_PATH], path[CM_PATH], *text = NULL;
    CM_TRY(la_redis_address_parse(&address, s->cluster.redis));
    CM_TRY(la_redis_check_free(&address, s->cluster.redis));
    CM_TRY(cm_path_join(dir, s->run_dir, "redis"));
    CM_TRY(cm_path_join(path, dir, "redis.conf"));
    CM_TRY(cm_dir_make(dir));
    CM_TRY(la_redis_conf(&text, &address, dir));
    cm_status st = cm_file_replace(path, text, strlen(text));
    cm_free(&text);
    return st;
}

struct up {
    const struct setup *setup;
    double started_utc;
};

static void state_changed(const struct la_supervisor *s, void *arg)
{
    const struct up *up = arg;
    cm_status st = la_state_write(up->setup->run_dir, up->setup->config_path, s, up->started_utc);
    if (st != CM_OK) /* a full disk must not stop the service */
        cm_error_report(CM_LOG_WARN, st, "up.json is out of date");
}

/* When no role is left: the first that failed. What no restart mends has a code of its own again,
 * so that systemd (RestartPreventExitStatus) does not try either. */
static cm_status judge_roles(const struct la_supervisor *s)
{
    for (size_t i = 0; i < s->nroles && !s->stopping; i++) {
        const struct la_role *role = &s->roles[i];
        if (role->state != LA_STATE_FAILED)
            continue;
        cm_status st = !la_exit_is_final(role->last_exit) ? CM_EPEER
                       : role->last_exit == LA_EXIT_USAGE ? CM_ECONFIG
                                                          : CM_EUNSUPPORTED;
        return CM_FAIL(st, "role %s failed with code %d%s%s", role->name, role->last_exit,
                       role->log_path ? ": see " : "", role->log_path ? role->log_path : "");
    }
    return CM_OK;
}

static cm_status supervise_all(const struct setup *s, struct la_role *roles, size_t *n, int lock)
{
    char logs[CM_PATH];
    CM_TRY(cm_path_join(logs, s->run_dir, "logs"));
    CM_TRY(cm_dir_make(logs));
    CM_TRY(la_interface_check(s->cluster.interface));
    if (s->cluster.gateway)
        CM_TRY(la_state_check_gateway(s->run_dir));
    if (*s->cluster.redis)
        CM_TRY(prepare_redis(s));
    CM_TRY(build_roles(roles, n, LA_ROLES_ALL, s));
    struct up up = {.setup = s, .started_utc = cm_utc_now()};
    struct la_supervisor supervisor = {.roles = roles,
                                       .nroles = *n,
                                       .backoff = la_cluster_backoff(&s->cluster),
                                       .stop_timeout_ms = s->cluster.stop_timeout_ms,
                                       .keep_fd = lock,
                                       .changed = state_changed,
                                       .arg = &up};
    cm_log_info("%zu roles in %s, logs in %s", *n, s->run_dir, logs);
    CM_TRY(la_supervise(&supervisor));
    state_changed(&supervisor, &up);
    return judge_roles(&supervisor);
}

static cm_status up(const struct setup *s)
{
    struct la_role roles[LA_ROLES_MAX] = {0};
    size_t n = 0;
    int lock = -1;
    CM_TRY(cm_dir_make(s->run_dir));
    /* Guardians of an `up` that was killed give their commands so long, too. */
    CM_TRY(la_state_lock(&lock, s->run_dir, s->cluster.stop_timeout_ms + LOCK_SLACK_MS));
    cm_status st = supervise_all(s, roles, &n, lock);
    for (size_t i = 0; i < n; i++)
        la_role_release(&roles[i]);
    close(lock);
    return st;
}

static cm_status print_check(const struct setup *s)
{
    const struct cm_section *sections[] = {&la_cluster_section};
    return cm_config_print(s->cfg, sections, 1);
}

int la_command_up(int argc, char **argv)
{
    struct setup s = {0};
    cm_status st = open_setup(&s, &up_command, argc, argv);
    if (st == CM_OK && !s.helped)
        st = s.opt.check ? print_check(&s) : up(&s);
    cm_config_close(&s.cfg);
    return cm_main_end(st);
}

/* ---- serve ---- */

static cm_status serve(const struct setup *s)
{
    struct la_role roles[LA_ROLES_MAX] = {0};
    size_t n = 0;
    CM_TRY(la_state_check_gateway(s->run_dir));
    cm_status st = build_roles(roles, &n, LA_ROLES_SERVE, s);
    struct la_supervisor supervisor = {.roles = roles,
                                       .nroles = n,
                                       .backoff = la_cluster_backoff(&s->cluster),
                                       .stop_timeout_ms = s->cluster.stop_timeout_ms,
                                       .keep_fd = -1};
    if (st == CM_OK)
        st = la_supervise(&supervisor);
    if (st == CM_OK)
        st = judge_roles(&supervisor);
    for (size_t i = 0; i < n; i++)
        la_role_release(&roles[i]);
    return st;
}

int la_command_serve(int argc, char **argv)
{
    struct setup s = {0};
    cm_status st = open_setup(&s, &serve_command, argc, argv);
    if (st == CM_OK && !s.helped)
        st = s.opt.check ? print_check(&s) : serve(&s);
    cm_config_close(&s.cfg);
    return cm_main_end(st);
}

/* ---- status ---- */

int la_command_status(int argc, char **argv)
{
    struct setup s = {0};
    struct la_state_view view = {0};
    bool healthy = false;
    cm_status st = open_setup(&s, &status_command, argc, argv);
    if (st == CM_OK && !s.helped) {
        st = la_state_read(&view, s.run_dir);
        if (st == CM_OK)
            st = la_state_print(&view, s.opt.json, &healthy);
    }
    la_state_release(&view);
    cm_config_close(&s.cfg);
    if (st != CM_OK || s.helped)
        return cm_main_end(st);
    return healthy ? 0 : 1;
}

/* ---- down ---- */

/* Waits for the lock: there is no event for "the last holder is gone", so it looks 20 times a
 * second. */
static bool wait_free(const char *run_dir, int64_t ms)
{
    struct cm_deadline deadline = cm_deadline_in_ms(ms);
    while (!la_state_is_free(run_dir)) {
        if (cm_deadline_passed(deadline))
            return false;
        cm_sleep_us(50000);
    }
    return true;
}

/* Signals that very process: the number is pinned by a descriptor before its start time is
 * compared. */
static cm_status signal_up(const struct la_state_view *view, int sig)
{
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)view->pid, 0);
    if (fd < 0)
        return errno == ESRCH ? CM_OK : CM_FAIL_ERRNO("pid %lld", (long long)view->pid);
    cm_status st = CM_OK;
    if (la_process_ticks((pid_t)view->pid) == view->ticks &&
        syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) && errno != ESRCH)
        st = CM_FAIL_ERRNO("pid %lld: signal %d", (long long)view->pid, sig);
    close(fd);
    return st;
}

static cm_status down(const struct setup *s)
{
    if (la_state_is_free(s->run_dir)) {
        cm_log_info("%s: nothing runs there", s->run_dir);
        return CM_OK;
    }
    struct la_state_view view = {0};
    CM_TRY(la_state_read(&view, s->run_dir));
    /* Three phases at most, each with its own deadline inside `up`. */
    int64_t timeout =
        s->opt.timeout_ms > 0 ? s->opt.timeout_ms : 3 * s->cluster.stop_timeout_ms + 5000;
    cm_status st = view.running ? signal_up(&view, SIGTERM) : CM_OK;
    if (st == CM_OK && !wait_free(s->run_dir, timeout)) {
        cm_log_warn("not down after %lld ms: killing", (long long)timeout);
        st = signal_up(&view, SIGKILL);
        if (st == CM_OK && !wait_free(s->run_dir, 15000))
            st = CM_FAIL(CM_ETIMEDOUT, "%s: something survives SIGKILL (a process in the kernel?)",
                         s->run_dir);
    }
    la_state_release(&view);
    return st;
}

int la_command_down(int argc, char **argv)
{
    struct setup s = {0};
    cm_status st = open_setup(&s, &down_command, argc, argv);
    if (st == CM_OK && !s.helped)
        st = down(&s);
    cm_config_close(&s.cfg);
    return cm_main_end(st);
}
