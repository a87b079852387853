/* flywheel bench train: images per second of the training step, and where its time goes, op by op,
 * beside the limit of this machine. Real data and the real step; nothing is saved. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/vec.h"
#include "model/backend.h"
#include "model/init.h"
#include "trainer/commands.h"
#include "trainer/engine.h"
#include "trainer/projection.h"

struct values {
    struct tr_common_args common;
    int64_t steps, warmup, project;
    bool ops;
};

static const struct cm_opt opts[] = {
    TR_COMMON_OPTS(struct values, common),
    {"steps", 'n', CM_OPT_INT, offsetof(struct values, steps), "N", "steps that count (5)"},
    {"warmup", 0, CM_OPT_INT, offsetof(struct values, warmup), "N", "steps before them (1)"},
    {"ops", 0, CM_OPT_FLAG, offsetof(struct values, ops), NULL,
     "time by op and, on a CPU, its share of the machine's limit (needs train.threads 1)"},
    {"project", 0, CM_OPT_INT, offsetof(struct values, project), "W",
     "calculate how long a step would wait for sums over W ranks with this one's work each, from "
     "when backward finishes its gradients (one GPU; without graphs, as steps of several ranks)"},
};

static const struct cm_command command = {
    .name = "flywheel bench train",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Measures the training step: images/s as the median of N steps.",
    .details = "On a GPU, where steps overlap, of five rounds of them. Under mpirun all ranks take "
               "part. The last line is one JSON object.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
};

#define ROUNDS 5 /* where steps overlap */

struct bench {
    struct tr_session session;
    struct tr_engine *engine;
    double *rates;          /* images/s by round */
    int64_t nrounds;        /* of the steps that count: one step each, or several that overlap */
    struct tr_op_time *sum; /* over the steps that count */
    int nrows;
    struct ar_config
        finest; /* with --project: the config's, but every op's gradients are a bucket */
    struct ar_piece *pieces; /* likewise: (npieces), medians */
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void add_times(struct bench *b)
{
    const struct tr_op_time *times = tr_engine_times(b->engine);
    for (int row = 0; row < b->nrows; row++) {
        b->sum[row].forward_s += times[row].forward_s;
        b->sum[row].backward_s += times[row].backward_s;
    }
}

/* The round that step `step` of n belongs to. Where steps overlap, one that the host finds done too
 * late makes the next one look short; over a round that is nothing. */
static int64_t round_of(const struct bench *b, int64_t step, int64_t n)
{
    return step * b->nrounds / n;
}

/* As a run does: the next step is begun before one is ended, where the engine can. */
static cm_status run_steps(struct bench *b, const struct values *v)
{
    int64_t all = v->warmup + v->steps, next = 0;
    double images = 0, seconds = 0;
    b->nrounds = tr_engine_ahead(b->engine) > 1 && v->steps > ROUNDS ? ROUNDS : v->steps;
    for (int64_t i = 0; i < all; i++) {
        struct tr_outcome outcome;
        for (; next < all && tr_engine_begun(b->engine) < tr_engine_ahead(b->engine); next++)
            tr_engine_begin(b->engine, next, b->session.train.lr, 0);
        CM_TRY(tr_engine_end(b->engine, &outcome));
        int64_t step = i - v->warmup;
        if (step < 0)
            continue;
        add_times(b);
        images += (double)outcome.count;
        seconds += outcome.seconds;
        int64_t round = round_of(b, step, v->steps);
        if (round_of(b, step + 1, v->steps) == round)
            continue;
        b->rates[round] = images / seconds;
        images = seconds = 0;
    }
    qsort(b->rates, (size_t)b->nrounds, sizeof *b->rates, by_value);
    return CM_OK;
}

/* times: (npieces, steps), of steps one at a time. */
static cm_status take_times(struct bench *b, const struct values *v, double *times)
{
    size_t n = tr_engine_npieces(b->engine), steps = (size_t)v->steps;
    for (size_t i = 0; i < steps; i++) {
        struct tr_outcome outcome;
        CM_TRY(tr_engine_step(b->engine, v->warmup + v->steps + (int64_t)i, b->session.train.lr, 0,
                              &outcome));
        CM_TRY(tr_engine_pieces(b->engine, b->pieces));
        for (size_t p = 0; p < n; p++)
            times[p * steps + i] = b->pieces[p].ready_s;
    }
    for (size_t p = 0; p < n; p++)
        b->pieces[p].ready_s = cm_vec_median(times + p * steps, steps);
    return CM_OK;
}

static cm_status time_pieces(struct bench *b, const struct values *v)
{
    size_t n = tr_engine_npieces(b->engine);
    double *times;
    CM_TRY(cm_alloc(&b->pieces, n, sizeof *b->pieces, "pieces of gradients"));
    CM_TRY(cm_alloc(&times, n * (size_t)v->steps, sizeof *times, "times of gradients"));
    cm_status st = take_times(b, v, times);
    cm_free(&times);
    return st;
}

/* Milliseconds per 1,000 images of this rank, and the share of the limit that arithmetic reaches;
 * limit 0: not known. */
static void print_op(const char *name, const char *kind, const struct tr_op_time *t, double images,
                     double flops, double limit)
{
    double forward = t->forward_s * 1e6 / images, backward = t->backward_s * 1e6 / images;
    printf("%-24s %-8s %9.2f %9.2f", name, kind, forward, backward);
    if (flops > 0 && t->forward_s + t->backward_s > 0) {
        double flops_per_s = flops * 1e3 / ((forward + backward) * 1e-3);
        printf(" %8.3f", flops_per_s * 1e-12);
        if (limit > 0)
            printf(" %6.1f %%", 100 * flops_per_s / limit);
    }
    printf("\n");
}

static double images_of(const struct bench *b, int64_t steps) /* of this rank */
{
    return (double)b->session.train.batch / ar_group_size(b->session.group) * (double)steps;
}

static cm_status print_ops(const struct bench *b, int64_t steps)
{
    const struct nn_plan *plan = tr_engine_plan(b->engine);
    double flops_per_s = 0, bytes_per_s, images = images_of(b, steps);
    if (b->session.device) {
        printf("%s, %s; each op waited for\n", nn_device_describe(b->session.device),
               nn_dtype_name(nn_plan_dtype(plan)));
    } else {
        CM_TRY(nn_cpu_measure_limits(nn_plan_dtype(plan), &flops_per_s, &bytes_per_s));
        printf("limits of one thread: %.3f TFLOP/s (%s), copy %.1f GB/s\n", flops_per_s * 1e-12,
               nn_dtype_name(nn_plan_dtype(plan)), bytes_per_s * 1e-9);
    }
    printf("%-24s %-8s %9s %9s %8s %8s\n", "op", "kind", "fwd ms", "bwd ms", "TFLOP/s", "limit");
    int nops = nn_plan_nops(plan);
    for (int op = 0; op < nops; op++) {
        const struct nn_op *o = nn_plan_op(plan, op);
        print_op(o->desc.name, nn_op_kind_name(o->desc.kind), &b->sum[op], images,
                 nn_plan_step_flops(plan, op), flops_per_s);
    }
    static const char *const extra[TR_TIMES_EXTRA] = {"input", "loss", "merge and finish",
                                                      "update and prepare"};
    for (int i = 0; i < TR_TIMES_EXTRA; i++)
        print_op(extra[i], "", &b->sum[nops + i], images, 0, 0);
    printf("(milliseconds per 1,000 images of one rank)\n");
    return CM_OK;
}

/* What products with weights (conv, linear) take of all ops' time, and reach. */
static void put_ops(struct cm_jw *w, const struct bench *b, int64_t steps)
{
    const struct nn_plan *plan = tr_engine_plan(b->engine);
    double all_s = 0, products_s = 0, flops = 0;
    for (int row = 0; row < b->nrows; row++) {
        double s = b->sum[row].forward_s + b->sum[row].backward_s;
        all_s += s;
        if (row >= nn_plan_nops(plan) || nn_plan_flops(plan, row) <= 0)
            continue;
        products_s += s;
        flops += nn_plan_step_flops(plan, row) * images_of(b, steps);
    }
    cm_jw_f64(w, "ops_s", all_s / (double)steps);
    cm_jw_f64(w, "products_share", all_s > 0 ? products_s / all_s : 0);
    cm_jw_f64(w, "products_tflop_per_s", products_s > 0 ? flops / products_s * 1e-12 : 0);
}

static void print_json(const struct bench *b, const struct values *v,
                       const struct tr_projection *projection)
{
    struct cm_jw w = {0};
    struct tr_sum_times sums = tr_engine_sum_times(b->engine);
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "bench", "train");
    cm_jw_string(&w, "network", b->session.spec->name);
    cm_jw_string(&w, "precision", nn_dtype_name(nn_plan_dtype(tr_engine_plan(b->engine))));
    cm_jw_i64(&w, "ranks", ar_group_size(b->session.group));
    cm_jw_i64(&w, "threads", tr_engine_nlanes(b->engine));
    if (b->session.device && !v->ops) /* those are enqueued one by one */
        cm_jw_string(&w, "graphs", tr_graphs_name(tr_engine_graphs(b->engine)));
    cm_jw_i64(&w, "batch", b->session.train.batch);
    cm_jw_i64(&w, "steps", v->steps);
    cm_jw_i64(&w, "rounds", b->nrounds);
    cm_jw_f64(&w, "images_per_s", b->rates[b->nrounds / 2]);
    cm_jw_f64(&w, "images_per_s_min", b->rates[0]);
    cm_jw_f64(&w, "images_per_s_max", b->rates[b->nrounds - 1]);
    cm_jw_f64(&w, "allreduce_busy_s", sums.busy_s);
    cm_jw_f64(&w, "allreduce_exposed_s", sums.exposed_s);
    if (v->ops)
        put_ops(&w, b, v->steps);
    if (projection->ranks)
        tr_projection_json(&w, projection);
    cm_jw_end(&w);
    char *text;
    size_t n;
    if (cm_jw_take(&w, &text, &n) == CM_OK)
        printf("%s\n", text);
    cm_free(&text);
}

static cm_status open_engine(struct bench *b, const struct values *v)
{
    struct tr_session *s = &b->session;
    CM_TRY(tr_session_meet(s));
    struct tr_engine_config cfg = tr_session_engine(s);
    if (v->project) {
        if (!s->device || ar_group_size(s->group) > 1)
            return CM_FAIL(CM_EUSAGE, "--project times one rank on a GPU");
        b->finest = *cfg.allreduce;
        b->finest.bucket_kib = 1;
        cfg.allreduce = &b->finest;
        cfg.no_graphs = true; /* events inside one have no times */
    }
    CM_TRY(tr_engine_open(&b->engine, &cfg));
    if (v->ops && tr_engine_nlanes(b->engine) > 1)
        return CM_FAIL(CM_EUSAGE, "--ops tells ops apart on one thread: add --set train.threads=1");
    CM_TRY(nn_init_weights(tr_engine_weights(b->engine), s->layout, s->spec,
                           (uint64_t)s->train.seed, s->data.set.images, s->data.set.n_train));
    CM_TRY(tr_engine_prepare(b->engine));
    tr_engine_set_timing(b->engine, v->ops);
    b->nrows = nn_plan_nops(tr_engine_plan(b->engine)) + TR_TIMES_EXTRA;
    CM_TRY(cm_alloc(&b->sum, (size_t)b->nrows, sizeof *b->sum, "timings"));
    return cm_alloc(&b->rates, (size_t)v->steps, sizeof *b->rates, "rates");
}

static cm_status run_bench(struct bench *b, const struct values *v)
{
    CM_TRY(tr_session_load(&b->session, NULL));
    CM_TRY(ar_group_agree(b->session.group, open_engine(b, v), "preparing the network"));
    cm_status st = run_steps(b, v);
    if (st == CM_OK && v->project)
        st = time_pieces(b, v);
    if (st != CM_OK && ar_group_size(b->session.group) > 1)
        ar_group_abort(b->session.group, st, "measuring");
    CM_TRY(st);
    if (ar_group_rank(b->session.group) != 0)
        return CM_OK;
    if (v->ops)
        CM_TRY(print_ops(b, v->steps));
    printf("%s: %.0f images/s (%.0f … %.0f) on %d ranks x %d threads\n", b->session.spec->name,
           b->rates[b->nrounds / 2], b->rates[0], b->rates[b->nrounds - 1],
           ar_group_size(b->session.group), tr_engine_nlanes(b->engine));
    struct tr_projection projection = {.ranks = (int)v->project,
                                       .step_s = (double)b->session.train.batch /
                                                 b->rates[b->nrounds / 2],
                                       .pieces = b->pieces,
                                       .npieces = tr_engine_npieces(b->engine)};
    if (v->project)
        tr_projection_print(&projection);
    print_json(b, v, &projection);
    return CM_OK;
}

static cm_status check_values(const struct values *v)
{
    if (v->steps < 1 || v->warmup < 0)
        return CM_FAIL(CM_EUSAGE, "--steps must be at least 1, --warmup at least 0");
    if (v->project < 0 || v->project == 1 || v->project > TR_PROJECTION_RANKS)
        return CM_FAIL(CM_EUSAGE, "--project must be 2 … %d", TR_PROJECTION_RANKS);
    return CM_OK;
}

cm_status tr_command_bench(int argc, char **argv)
{
    struct values v = {.steps = 5, .warmup = 1};
    char **operands;
    int noperands;
    bool helped;
    /* "bench train CONFIG" and "bench CONFIG" are the same here: the other benches are other
     * programs. */
    bool named = argc > 1 && strcmp(argv[1], "train") == 0;
    cm_status st =
        cm_args_parse(&command, argc - named, argv + named, &v, &operands, &noperands, &helped);
    if (st == CM_OK && helped)
        return CM_OK;
    if (st == CM_OK)
        st = check_values(&v);
    if (st != CM_OK)
        return ar_group_decline(st);
    struct tr_session_options options = tr_session_options_of(&v.common, operands[0]);
    if (v.common.check)
        return tr_session_check(&options);
    struct bench b = {0};
    CM_TRY(tr_session_open(&b.session, &options));
    st = run_bench(&b, &v);
    tr_session_fail(&b.session, st, "measuring");
    tr_engine_close(&b.engine);
    cm_free(&b.pieces);
    cm_free(&b.sum);
    cm_free(&b.rates);
    tr_session_release(&b.session);
    return st;
}
