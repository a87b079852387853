/* One rank of the all-reduce tests: fixture_allreduce MODE DIR [section.key=value ...];
 * test_allreduce.sh starts it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "allreduce/group.h"
#include "allreduce/pattern.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"

static cm_status leave_mark(const char *dir, const char *name, int rank)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.%d", dir, name, rank);
    FILE *f = fopen(path, "w");
    if (!f)
        return CM_FAIL_ERRNO("%s", path);
    fprintf(f, "%d\n", (int)getpid());
    return fclose(f) == 0 ? CM_OK : CM_FAIL_ERRNO("%s", path);
}

/* Sums until somebody dies. The marks appear when all ranks are in the loop. */
static cm_status loop(struct ar_group *g, const char *dir)
{
    float buf[1000];
    for (int64_t step = 1; step <= 20000; step++) {
        ar_group_set_phase(g, "loop", step);
        ar_pattern_integers(buf, 1000, ar_group_rank(g));
        CM_TRY(ar_group_sum_f32(g, buf, 1000));
        if (step == 5)
            CM_TRY(leave_mark(dir, "ready", ar_group_rank(g)));
        cm_sleep_us(2000);
    }
    return CM_FAIL(CM_ETIMEDOUT, "nobody died");
}

/* Rank 1 is alive, but does not come. */
static cm_status behind(struct ar_group *g)
{
    float x = 1;
    CM_TRY(ar_group_sum_f32(g, &x, 1));
    if (ar_group_rank(g) == 1) {
        ar_group_set_phase(g, "long checkpoint", 7);
        cm_sleep_us(30000000);
    }
    return ar_group_sum_f32(g, &x, 1);
}

static cm_status leaves(struct ar_group *g)
{
    float x = 1;
    CM_TRY(ar_group_sum_f32(g, &x, 1));
    if (ar_group_rank(g) == 1)
        ar_group_abort(g, CM_FAIL(CM_ECORRUPT, "batch 17 is torn"), "reading data");
    return ar_group_sum_f32(g, &x, 1);
}

static cm_status agree(struct ar_group *g)
{
    CM_TRY(ar_group_agree(g, CM_OK, "first"));
    bool last = ar_group_rank(g) == ar_group_size(g) - 1;
    cm_status mine = last ? CM_FAIL(CM_ENOSPC, "no room for v7") : CM_OK;
    cm_status st = ar_group_agree(g, mine, "saving");
    fprintf(stderr, "verdict %d %s: %s\n", ar_group_rank(g), cm_status_name(st), cm_error_text());
    return ar_group_agree(g, CM_OK, "the group still works");
}

static cm_status same(struct ar_group *g)
{
    CM_TRY(ar_group_same(g, "fingerprint", "cpu: A\nisa: avx2\n", "buy twins"));
    const char *mine =
        ar_group_rank(g) == 1 ? "cpu: A\nisa: avx512\nos: x" : "cpu: A\nisa: avx2\nos: x";
    cm_status st = ar_group_same(g, "fingerprint", mine, "buy twins");
    fprintf(stderr, "verdict %d %s: %s\n", ar_group_rank(g), cm_status_name(st), cm_error_text());
    return ar_group_agree(g, CM_OK, "the group still works");
}

/* ---- buckets that become ready late, in steps ---- */

#define STEPS   20
#define BUCKETS 50
#define LARGEST 40000

struct fill {
    float *buf;
    int rank;
};

static cm_status fill(void *ctx, int64_t n, int64_t delay_us)
{
    struct fill *f = ctx;
    cm_sleep_us(delay_us);
    ar_pattern_integers(f->buf, (size_t)n, f->rank);
    return CM_OK;
}

struct bucket {
    struct fill fill;
    struct ln_event *ready;
    size_t n;
};

static cm_status check_bucket(const struct bucket *b, int world, int64_t step)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->fill.buf[i] != ar_pattern_integer_sum(i, world))
            return CM_FAIL(CM_ECORRUPT, "step %" PRId64 ": element %zu of %zu is %g", step, i, b->n,
                           (double)b->fill.buf[i]);
    return CM_OK;
}

static cm_status one_step(struct ar_group *g, struct ln_lane *lane, struct bucket *buckets,
                          int64_t step)
{
    int rank = ar_group_rank(g), world = ar_group_size(g);
    ar_step_begin(g, step);
    for (uint32_t k = 0; k < BUCKETS; k++) {
        struct bucket *b = &buckets[k];
        /* Sizes are the same on all ranks, delays are not. */
        uint32_t size = cm_rng_u32(1, CM_RNG_SYNTHETIC, (uint32_t)step, 0, k);
        uint32_t delay = cm_rng_u32(1, CM_RNG_SYNTHETIC, (uint32_t)step, (uint32_t)rank + 1, k);
        b->n = cm_rng_below(size, LARGEST + 1) >> (k % 8);
        ln_lane_run(lane, fill, &b->fill, (int64_t)b->n, cm_rng_below(delay, 300));
        ln_lane_record(lane, b->ready);
        ar_step_bucket(g, b->fill.buf, b->n, b->ready);
    }
    struct ar_tail tail = {.sum = {rank + 1, 0.5}, .bits = step == STEPS / 2 ? 1u << rank : 0};
    CM_TRY(ar_step_end(g, &tail));
    for (int k = 0; k < BUCKETS; k++)
        CM_TRY(check_bucket(&buckets[k], world, step));
    uint32_t bits = step == STEPS / 2 ? (1u << world) - 1 : 0;
    if (tail.sum[0] != world * (world + 1) / 2.0 || tail.sum[1] != 0.5 * world || tail.bits != bits)
        return CM_FAIL(CM_ECORRUPT, "step %" PRId64 ": tail %g %g %x", step, tail.sum[0],
                       tail.sum[1], tail.bits);
    return CM_OK;
}

static cm_status buckets(struct ar_group *g)
{
    static struct bucket all[BUCKETS];
    struct ln_lane *lane = NULL;
    cm_status st = ln_lane_open(&lane, &(struct ln_config){.name = "lane", .core = -1});
    for (int k = 0; st == CM_OK && k < BUCKETS; k++) {
        all[k].fill.rank = ar_group_rank(g);
        CM_GOTO(st, ln_event_open(&all[k].ready), out);
        CM_GOTO(st, cm_alloc(&all[k].fill.buf, LARGEST, sizeof(float), "bucket"), out);
    }
    for (int64_t step = 1; st == CM_OK && step <= STEPS; step++)
        st = one_step(g, lane, all, step);
out:
    ln_lane_close(&lane);
    for (int k = 0; k < BUCKETS; k++) {
        ln_event_close(&all[k].ready);
        cm_free(&all[k].fill.buf);
    }
    return st;
}

/* ---- what waiting costs ---- */

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Rank 0 comes 3 s late to a sum; the others wait in it, and say what share of a core that took. */
static cm_status idle(struct ar_group *g)
{
    float x = 1;
    CM_TRY(ar_group_sum_f32(g, &x, 1));
    double cpu_before_s = cpu_s();
    int64_t begin_ns = cm_now_ns();
    if (ar_group_rank(g) == 0)
        cm_sleep_us(3000000);
    CM_TRY(ar_group_sum_f32(g, &x, 1));
    fprintf(stderr, "idle %d %.3f %%\n", ar_group_rank(g),
            100 * (cpu_s() - cpu_before_s) / ((double)(cm_now_ns() - begin_ns) / 1e9));
    return CM_OK;
}

static cm_status run(struct ar_group *g, const char *mode, const char *dir)
{
    CM_TRY(leave_mark(dir, "pid", ar_group_rank(g)));
    if (strcmp(mode, "loop") == 0)
        return loop(g, dir);
    if (strcmp(mode, "behind") == 0)
        return behind(g);
    if (strcmp(mode, "leaves") == 0)
        return leaves(g);
    if (strcmp(mode, "agree") == 0)
        return agree(g);
    if (strcmp(mode, "same") == 0)
        return same(g);
    if (strcmp(mode, "buckets") == 0)
        return buckets(g);
    if (strcmp(mode, "idle") == 0)
        return idle(g);
    return CM_FAIL(CM_EUSAGE, "mode '%s'", mode);
}

int main(int argc, char **argv)
{
    cm_log_init("fixture");
    if (argc < 3)
        return cm_main_end(CM_FAIL(CM_EUSAGE, "fixture_allreduce MODE DIR [key=value ...]"));
    cm_status st;
    struct cm_config *file = NULL;
    struct ar_group *g = NULL;
    struct ar_config cfg;
    const char *sets[16];
    size_t nsets = 0;
    for (int i = 3; i < argc && nsets < 16; i++)
        sets[nsets++] = argv[i];
    CM_GOTO(st, cm_config_open(&file, NULL, sets, nsets), out);
    CM_GOTO(st, cm_config_read(file, &ar_config_section, &cfg), out);
    CM_GOTO(st, ar_group_open(&g, &cfg), out);
    cm_log_set_rank(ar_group_rank(g));
    st = run(g, argv[1], argv[2]);
out:
    ar_group_close(&g);
    cm_config_close(&file);
    return cm_main_end(st);
}
