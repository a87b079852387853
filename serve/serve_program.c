#include "serve/serve_program.h"

#include <signal.h>
#include <sys/signalfd.h>

#include "parameter/store_config.h"

const struct cm_section *const sv_program_sections[] = {&sv_config_section, &ps_config_section,
                                                        NULL};
#define NSECTIONS (sizeof sv_program_sections / sizeof sv_program_sections[0] - 1)

static cm_status check(const struct cm_config *config, struct sv_program *p,
                       struct ps_config *store)
{
    void *values[] = {&p->serve, store};
    char device[CM_CONFIG_STRING];
    int64_t turn;
    int sizes[SV_BATCH_SIZES], n;
    for (size_t i = 0; i < NSECTIONS; i++)
        CM_TRY(cm_config_read(config, sv_program_sections[i], values[i]));
    CM_TRY(sv_config_device(&p->serve, 0, device, &turn));
    return sv_config_batches(&p->serve, sizes, &n);
}

cm_status sv_program_open(struct sv_program *p, const char *path,
                          const struct sv_program_options *options, bool *checked)
{
    struct ps_config store;
    cm_status st;
    *p = (struct sv_program){0};
    *checked = options->check;
    CM_GOTO(st, cm_config_open(&p->config, path, options->sets.item, options->sets.n), out);
    CM_GOTO(st, check(p->config, p, &store), out);
    CM_GOTO(st, cm_config_run_dir(p->config, options->run, p->run_dir), out);
    CM_GOTO(st, cm_path_join(p->store_dir, p->run_dir, store.dir), out);
    if (options->check)
        st = cm_config_print(p->config, sv_program_sections, NSECTIONS);
out:
    if (st != CM_OK)
        sv_program_close(p);
    return st;
}

void sv_program_close(struct sv_program *p)
{
    cm_config_close(&p->config);
}

cm_status sv_stop_signals(int *fd)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return CM_FAIL_ERRNO("sigprocmask");
    *fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return *fd < 0 ? CM_FAIL_ERRNO("signalfd") : CM_OK;
}
