/* flywheel-worker CONFIG --id K: computes the gateway's batches. */
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "common/log.h"
#include "serve/infer_worker.h"
#include "serve/serve_program.h"
#include "wire/worker.h"

struct options {
    struct sv_program_options common;
    int64_t id;
    const char *endpoint;
};

static const struct cm_opt opts[] = {
    SV_PROGRAM_OPTS(struct options, common),
    {"id", 0, CM_OPT_INT, offsetof(struct options, id), "K",
     "number of this worker on its host: of its GPU, and for people"},
    {"endpoint", 0, CM_OPT_STRING, offsetof(struct options, endpoint), "ENDPOINT",
     "of the gateway for workers; RUN/serve.json tells it otherwise"},
};

static const struct cm_command command = {
    .name = "flywheel-worker",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Compute batches for a run's gateway.",
    .details = "Any number of workers may come and go at any time. TERM lets it finish its batch.",
    .opts = opts,
    .nopts = sizeof opts / sizeof opts[0],
    .sections = sv_program_sections,
};

/* Cores that this process may use, divided among the workers that section cluster starts here. */
static int threads(const struct sv_program *p)
{
    const struct cm_json *cluster = cm_config_raw(p->config, "cluster");
    int64_t workers = 1, threads = p->serve.intra_threads;
    cpu_set_t cores;
    if (threads > 0)
        return (int)threads;
    if (!cluster || !cm_json_get(cluster, "workers") ||
        cm_json_need_i64(cluster, "cluster", "workers", 1, 1024, &workers) != CM_OK)
        workers = 1;
    int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    return n > workers ? n / (int)workers : 1;
}

static cm_status run_worker(const struct sv_program *p, const struct options *options, int stop_fd)
{
    char host[64] = "localhost", name[WI_WORKER_NAME];
    if (gethostname(host, sizeof host - 1) < 0)
        cm_log_debug("this host has no name");
    snprintf(name, sizeof name, "%s:%lld", host, (long long)options->id);
    struct sv_worker_config cfg = {.serve = &p->serve,
                                   .run_dir = p->run_dir,
                                   .endpoint = options->endpoint,
                                   .store_dir = p->store_dir,
                                   .name = name,
                                   .number = options->id,
                                   .threads = threads(p),
                                   .stop_fd = stop_fd};
    struct cm_lines *lines;
    bool stuck;
    CM_TRY(cm_log_detach(&lines));
    cm_status st = sv_worker_run(&cfg, &stuck);
    if (stuck)
        _exit(cm_main_end(st));
    return st;
}

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
    cm_log_set_rank((int)options.id);
    CM_TRY(sv_stop_signals(&stop_fd));
    cm_status st = sv_program_open(&p, operands[0], &options.common, &done);
    if (st == CM_OK && !done)
        st = run_worker(&p, &options, stop_fd);
    sv_program_close(&p);
    close(stop_fd);
    return st;
}

int main(int argc, char **argv)
{
    cm_log_init("worker");
    return cm_main_end(run(argc, argv));
}
