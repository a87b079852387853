/* The fastest of a library's ways for a product: each is built once, run once to warm up, and then
 * timed by the device's clock, all on the same operands. The ways come in the order that the
 * library's heuristic gives them, so the first is what would be taken without a search. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/vec.h"
#include "model/cuda/gpu.h"

#define MOST_WAYS  8  /* that are timed */
#define MOST_NAMES 24 /* of which some may not work */
#define ROUNDS     3  /* of which the median counts */

struct contest {
    const struct nn_device *gpu;
    const struct nn_product *product;
    void *timer[ROUNDS + 1]; /* before, between and behind the rounds */
    /* Operands in one block of the device's memory, each aligned; zeros. NULL: no room to time. */
    char *block;
    size_t b, c;      /* bytes in front of them; a is the first */
    void *space;      /* for the ways, one after the other; NULL: none yet */
    size_t workspace; /* bytes of it */
};

/* ---- what the ways work with ---- */

static void reserve_operands(struct contest *contest)
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
    contest->b = nn_gpu_aligned(a);
    contest->c = contest->b + nn_gpu_aligned(b);
    void *block = NULL;
    if (driver->alloc(&block, contest->c + c) != 0)
        return;
    contest->block = block;
    (void)driver->zero(contest->gpu->stream, block, contest->c + c); /* else the runs tell */
}

static int reserve_workspace(struct contest *contest, size_t nbytes)
{
    const struct nn_driver *driver = contest->gpu->driver;
    if (contest->space && nbytes <= contest->workspace)
        return 0;
    if (contest->space)
        (void)driver->release(contest->space);
    contest->space = NULL;
    contest->workspace = nbytes;
    return driver->alloc(&contest->space, nbytes + 1);
}

static cm_status open_timers(struct contest *contest)
{
    const struct nn_device *gpu = contest->gpu;
    for (int i = 0; i <= ROUNDS; i++)
        CM_TRY(nn_gpu_check(gpu, gpu->driver->timer_open(&contest->timer[i]), "a timer"));
    return CM_OK;
}

/* at_work: the GPU may still be, in that memory, which then stays. */
static void close_contest(struct contest *contest, bool at_work)
{
    const struct nn_driver *driver = contest->gpu->driver;
    for (int i = 0; i <= ROUNDS; i++)
        if (contest->timer[i])
            (void)driver->event_close(contest->timer[i]);
    if (contest->block && !at_work)
        (void)driver->release(contest->block);
    if (contest->space && !at_work)
        (void)driver->release(contest->space);
}

/* ---- timing ---- */

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
static cm_status time_plan(struct contest *contest, const struct nn_product_plan *plan,
                           double *median_s)
{
    const struct nn_device *gpu = contest->gpu;
    const struct nn_driver *driver = gpu->driver;
    char *a = contest->block;
    *median_s = (double)INFINITY;
    if (!a || reserve_workspace(contest, plan->workspace) != 0)
        return CM_OK;
    int code = 0;
    for (int i = -1; i <= ROUNDS && code == 0; i++) { /* run, timer, run, timer, …, timer */
        if (i >= 0)
            code = driver->event_record(contest->timer[i], gpu->stream);
        if (code == 0 && i < ROUNDS)
            code = driver->product_run(gpu->stream, plan->handle, a, a + contest->b, a + contest->c,
                                       contest->space);
    }
    CM_TRY(gpu->backend.settle(&gpu->backend));
    if (code == 0)
        code = read_timers(contest, median_s);
    if (code)
        *median_s = (double)INFINITY;
    return CM_OK;
}

/* Times the way that engine names, and takes it if it is faster than *best. *works: it is one. */
static cm_status challenge(struct contest *contest, const char *engine,
                           struct nn_product_plan *best, double *best_s, bool *works)
{
    const struct nn_driver *driver = contest->gpu->driver;
    struct nn_product_plan plan;
    double seconds;
    *works = driver->product_open(contest->gpu->stream, contest->product, engine, &plan) == 0;
    if (!*works)
        return CM_OK;
    cm_status st = time_plan(contest, &plan, &seconds);
    bool faster = st == CM_OK && seconds < *best_s;
    driver->product_close(faster ? best->handle : plan.handle);
    if (faster) {
        *best = plan;
        *best_s = seconds;
    }
    return st;
}

/* Two heuristics of a library may name one way. */
static bool was_named(char (*engine)[NN_ENGINE_TEXT], int i)
{
    for (int k = 0; k < i; k++)
        if (strcmp(engine[k], engine[i]) == 0)
            return true;
    return false;
}

/* Into *best: the fastest of those that were timed, else the first. *seconds: its own, if all were
 * timed; else 0. */
static cm_status run_contest(struct contest *contest, const struct nn_engine_search *search,
                             struct nn_product_plan *best, double *seconds, int *code)
{
    const struct nn_driver *driver = contest->gpu->driver;
    void *stream = contest->gpu->stream;
    char engine[1 + MOST_NAMES][NN_ENGINE_TEXT];
    double best_s;
    *code = driver->product_open(stream, contest->product, NULL, best);
    bool complete = *code == 0 && !cm_deadline_passed(search->deadline);
    if (!complete)
        return CM_OK;
    reserve_operands(contest);
    CM_TRY(time_plan(contest, best, &best_s));
    memcpy(engine[0], best->engine, sizeof engine[0]);
    int n = 1 + driver->product_ways(stream, contest->product, engine + 1, MOST_NAMES);
    for (int i = 1, nways = 1; i < n && nways < MOST_WAYS && complete; i++) {
        bool works = false;
        complete = !cm_deadline_passed(search->deadline);
        if (complete && !was_named(engine, i))
            CM_TRY(challenge(contest, engine[i], best, &best_s, &works));
        nways += works;
    }
    if (complete && best_s < (double)INFINITY)
        *seconds = best_s;
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
                        struct nn_product_plan *plan, double *seconds, int *code)
{
    const struct nn_driver *driver = gpu->driver;
    const struct nn_engine *found = nn_engines_find(&search->found, key);
    struct contest contest = {.gpu = gpu, .product = product};
    *code = 0;
    *seconds = 0;
    if (found && driver->product_open(gpu->stream, product, found->name, plan) == 0) {
        search->nknown++;
        return CM_OK;
    }
    cm_status st = open_timers(&contest);
    if (st == CM_OK)
        st = run_contest(&contest, search, plan, seconds, code);
    close_contest(&contest, st == CM_ETIMEDOUT);
    CM_TRY(st);
    if (*seconds > 0)
        return keep(search, key, plan);
    search->nleft += *code == 0;
    return CM_OK;
}
