/* The fastest of a library's ways for a product: each is run on operands of its own, once to warm
 * up and then timed by the device's clock. The ways come in the order that the library's heuristic
 * gives them, so the first is what would be taken without a search. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/vec.h"
#include "model/cuda/gpu.h"

#define MOST_WAYS 8
#define ROUNDS    3 /* of which the median counts */

struct contest {
    const struct nn_device *gpu;
    const struct nn_product *product;
    void *timer[ROUNDS + 1]; /* before, between and behind the rounds */
};

/* Operands in one block of the device's memory, each aligned; zeros. */
struct operands {
    char *block;
    size_t b, c, workspace; /* bytes in front of them; a is the first */
};

static int reserve(const struct contest *contest, size_t workspace, struct operands *o)
{
    const struct nn_product *p = contest->product;
    const struct nn_driver *driver = contest->gpu->driver;
    size_t width = nn_dtype_size(p->dtype), images = (size_t)p->n;
    size_t taps = (size_t)p->kernel * (size_t)p->kernel;
    size_t x = images * nn_shape_count(p->x) * width, y = images * nn_shape_count(p->y) * width;
    size_t w = (size_t)p->y.c * (size_t)p->x.c * taps;
    size_t filters = w * width, dw = w * (p->wide ? sizeof(float) : width);
    size_t a = p->pass == NN_PRODUCT_DATA ? y : x, b = p->pass == NN_PRODUCT_FILTER ? y : filters;
    size_t c = p->pass == NN_PRODUCT_FORWARD ? y : p->pass == NN_PRODUCT_DATA ? x : dw;
    void *block;
    o->b = nn_gpu_aligned(a);
    o->c = o->b + nn_gpu_aligned(b);
    o->workspace = o->c + nn_gpu_aligned(c);
    int code = driver->alloc(&block, o->workspace + workspace + 1);
    o->block = block;
    return code ? code : driver->zero(contest->gpu->stream, block, o->workspace);
}

static int read_timers(const struct contest *contest, double *median_s)
{
    double seconds[ROUNDS];
    int code = 0;
    for (int i = 0; i < ROUNDS && code == 0; i++)
        code = contest->gpu->driver->timer_between(contest->timer[i], contest->timer[i + 1],
                                                   &seconds[i]);
    if (code)
        return code;
    *median_s = cm_vec_median(seconds, ROUNDS);
    return 0;
}

/* *median_s: INFINITY where the way does not run, or finds no room. A fault is the GPU's. */
static cm_status time_plan(const struct contest *contest, const struct nn_product_plan *plan,
                           double *median_s)
{
    const struct nn_device *gpu = contest->gpu;
    const struct nn_driver *driver = gpu->driver;
    struct operands o = {0};
    int code = reserve(contest, plan->workspace, &o);
    for (int i = -1; i <= ROUNDS && code == 0; i++) { /* run, timer, run, timer, …, timer */
        if (i >= 0)
            code = driver->event_record(contest->timer[i], gpu->stream);
        if (code == 0 && i < ROUNDS)
            code = driver->product_run(gpu->stream, plan->handle, o.block, o.block + o.b,
                                       o.block + o.c, o.block + o.workspace);
    }
    cm_status st = gpu->backend.settle(&gpu->backend);
    if (st == CM_ETIMEDOUT) /* it may still be at work in that memory */
        return st;
    if (st == CM_OK && code == 0)
        code = read_timers(contest, median_s);
    if (code)
        *median_s = (double)INFINITY;
    if (o.block)
        (void)driver->release(o.block);
    return st;
}

/* Into *best: the fastest of those that were timed, else the first. *complete: all were. */
static cm_status run_contest(const struct contest *contest, const struct nn_engine_search *search,
                             struct nn_product_plan *best, int *code, bool *complete)
{
    const struct nn_driver *driver = contest->gpu->driver;
    void *stream = contest->gpu->stream;
    double best_s, seconds;
    *code = driver->product_open(stream, contest->product, NULL, 0, best);
    *complete = *code == 0 && !cm_deadline_passed(search->deadline);
    if (!*complete)
        return CM_OK;
    CM_TRY(time_plan(contest, best, &best_s));
    for (int rank = 1; rank < MOST_WAYS; rank++) {
        struct nn_product_plan plan;
        *complete = !cm_deadline_passed(search->deadline);
        if (!*complete || driver->product_open(stream, contest->product, NULL, rank, &plan) != 0)
            break;
        cm_status st = time_plan(contest, &plan, &seconds);
        bool faster = st == CM_OK && seconds < best_s;
        driver->product_close(faster ? best->handle : plan.handle);
        CM_TRY(st);
        if (faster) {
            *best = plan;
            best_s = seconds;
        }
    }
    *complete = *complete && best_s < (double)INFINITY;
    return CM_OK;
}

static cm_status keep(struct nn_engine_search *search, const char *key,
                      const struct nn_product_plan *plan)
{
    struct nn_engine engine = {.workspace = plan->workspace};
    snprintf(engine.key, sizeof engine.key, "%s", key);
    snprintf(engine.name, sizeof engine.name, "%s", plan->engine);
    search->ntimed++;
    return nn_engines_add(&search->found, &engine);
}

cm_status nn_gpu_search(const struct nn_device *gpu, const struct nn_product *product,
                        const char *key, struct nn_engine_search *search,
                        struct nn_product_plan *plan, int *code)
{
    const struct nn_driver *driver = gpu->driver;
    const struct nn_engine *found = nn_engines_find(&search->found, key);
    struct contest contest = {.gpu = gpu, .product = product};
    bool complete = false;
    cm_status st = CM_OK;
    *code = 0;
    if (found && driver->product_open(gpu->stream, product, found->name, 0, plan) == 0) {
        search->nknown++;
        return CM_OK;
    }
    for (int i = 0; i <= ROUNDS && st == CM_OK; i++)
        st = nn_gpu_check(gpu, driver->timer_open(&contest.timer[i]), "a timer");
    if (st == CM_OK)
        st = run_contest(&contest, search, plan, code, &complete);
    for (int i = 0; i <= ROUNDS; i++)
        if (contest.timer[i])
            (void)driver->event_close(contest.timer[i]);
    CM_TRY(st);
    if (complete)
        return keep(search, key, plan);
    search->nleft += *code == 0;
    return CM_OK;
}
