/* flywheel-gateway CONFIG: takes requests, batches them for workers, follows the champion. */
#include <unistd.h>

#include "common/log.h"
#include "serve/gateway.h"
#include "serve/serve_program.h"

struct options {
    struct sv_program_options common;
};

static const struct cm_opt opts[] = {SV_PROGRAM_OPTS(struct options, common)};

static const struct cm_command command = {
    .name = "flywheel-gateway",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Serve a run's champion over ZeroMQ and HTTP, with the help of flywheel-worker.",
    .details = "'flywheel serve CONFIG' starts it with its workers. RUN/serve.json tells where it\n"
               "listens. TERM lets it finish what it has; a second TERM ends it at once.",
    .opts = opts,
    .nopts = sizeof opts / sizeof opts[0],
    .sections = sv_program_sections,
};

static cm_status run(int argc, char **argv)
{
    struct options options = {0};
    struct sv_program p;
    char **operands;
    int noperands, stop_fd = -1;
    bool done;
    CM_TRY(cm_args_parse(&command, argc, argv, &options, &operands, &noperands, &done));
    if (done)
        return CM_OK;
    CM_TRY(sv_stop_signals(&stop_fd));
    cm_status st = sv_program_open(&p, operands[0], &options.common, &done);
    if (st == CM_OK && !done) {
        struct sv_gateway_config cfg = {
            .serve = &p.serve, .run_dir = p.run_dir, .store_dir = p.store_dir, .stop_fd = stop_fd};
        st = cm_log_detach(&cfg.lines);
        if (st == CM_OK)
            st = sv_gateway_run(&cfg);
    }
    sv_program_close(&p);
    close(stop_fd);
    return st;
}

int main(int argc, char **argv)
{
    cm_log_init("gateway");
    return cm_main_end(run(argc, argv));
}
