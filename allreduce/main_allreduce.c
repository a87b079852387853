/* flywheel-allreduce: is the sum between these ranks right, and how fast is it? Run it under mpirun
 * or srun. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "allreduce/group.h"
#include "allreduce/pattern.h"
#include "allreduce/tree.h"
#include "common/args.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

struct options {
    bool json;
    struct cm_opt_list sets;
    int64_t max_kib;
    double seconds;
};

#define AT(field) offsetof(struct options, field)
static const struct cm_opt opts[] = {
    {"json", 0, CM_OPT_FLAG, AT(json), NULL, "print the JSON object only"},
    {"set", 0, CM_OPT_LIST, AT(sets), "allreduce.KEY=VALUE", "set a key of the section allreduce"},
    {"max-kib", 0, CM_OPT_INT, AT(max_kib), "N", "bench: the largest vector (default 65536)"},
    {"seconds", 0, CM_OPT_FLOAT, AT(seconds), "S", "bench: time per size and method (default 0.3)"},
};

static const struct cm_section *const sections[] = {&ar_config_section, NULL};

static const struct cm_command command = {
    .name = "flywheel-allreduce",
    .operands = "bench|check",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Measures or checks the sum of vectors between ranks.",
    .details =
        "  bench  times of sizes from 4 KiB up, beside MPI_Allreduce in the same run:\n"
        "         algbw = bytes / time, busbw = algbw * 2 (W - 1) / W\n"
        "  check  integers whose sum is known, and floats that show the order: compared bit\n"
        "         for bit; the printed hash is the same for 1, 2, 4 and 8 ranks\n"
        "\n"
        "  flywheel bench allreduce --ranks 2\n"
        "  mpirun -np 2 --bind-to none flywheel-allreduce check\n"
        "\n"
        "The last line is one JSON object. Exit codes: 0 done, 1 failed, 2 usage.",
    .opts = opts,
    .nopts = sizeof opts / sizeof opts[0],
    .sections = sections,
};

/* ---- bench ---- */

struct row {
    size_t nbytes;
    double ours_s, native_s; /* of one sum, the slowest rank's */
};

static double bandwidth(const struct row *row, double seconds)
{
    return (double)row->nbytes / seconds / 1e9;
}

/* The slowest rank's time: what a job waits for. */
static cm_status slowest(struct ar_group *g, double mine, double *out)
{
    double *all;
    CM_TRY(cm_alloc(&all, (size_t)ar_group_size(g), sizeof *all, "ranks' times"));
    cm_status st = ar_group_gather(g, &mine, sizeof mine, all);
    *out = 0;
    for (int r = 0; st == CM_OK && r < ar_group_size(g); r++)
        *out = all[r] > *out ? all[r] : *out;
    cm_free(&all);
    return st;
}

static cm_status time_ours(struct ar_group *g, float *buf, size_t n, int times, double *seconds)
{
    int64_t begin_ns = cm_now_ns();
    for (int i = 0; i < times; i++)
        CM_TRY(ar_group_sum_f32(g, buf, n));
    *seconds = (double)(cm_now_ns() - begin_ns) / 1e9;
    return CM_OK;
}

typedef cm_status (*timer)(struct ar_group *g, float *buf, size_t n, int times, double *seconds);

/* Rounds of about a tenth of the wanted time; the fastest counts: the others measure who else runs
 * here. */
static cm_status measure(struct ar_group *g, timer time_sums, float *buf, size_t n, double wanted_s,
                         double *seconds)
{
    double trial_s = 0;
    CM_TRY(time_sums(g, buf, n, 1, &trial_s));
    CM_TRY(time_sums(g, buf, n, 2, &trial_s));
    CM_TRY(slowest(g, trial_s / 2, &trial_s));
    double fit = wanted_s / 10 / (trial_s + 1e-9);
    int times = fit < 1 ? 1 : fit > 2000 ? 2000 : (int)fit;
    *seconds = (double)INFINITY;
    for (int round = 0; round < 10; round++) {
        double mine_s = 0, round_s = 0;
        CM_TRY(time_sums(g, buf, n, times, &mine_s));
        CM_TRY(slowest(g, mine_s / times, &round_s));
        *seconds = round_s < *seconds ? round_s : *seconds;
    }
    return CM_OK;
}

static void print_row(const struct row *row, double bus)
{
    printf("%10.0f %12.1f %9.2f %9.2f %12.1f %9.2f %9.2f %7.2f\n", (double)row->nbytes / 1024,
           row->ours_s * 1e6, bandwidth(row, row->ours_s), bus * bandwidth(row, row->ours_s),
           row->native_s * 1e6, bandwidth(row, row->native_s), bus * bandwidth(row, row->native_s),
           row->native_s / row->ours_s);
    fflush(stdout);
}

static void write_row(struct cm_jw *w, const struct row *row, double bus)
{
    cm_jw_begin(w, NULL, '{');
    cm_jw_u64(w, "bytes", row->nbytes);
    cm_jw_f64(w, "seconds", row->ours_s);
    cm_jw_f64(w, "algbw_gb_s", bandwidth(row, row->ours_s));
    cm_jw_f64(w, "busbw_gb_s", bus * bandwidth(row, row->ours_s));
    cm_jw_f64(w, "mpi_seconds", row->native_s);
    cm_jw_f64(w, "mpi_busbw_gb_s", bus * bandwidth(row, row->native_s));
    cm_jw_end(w);
}

static cm_status bench(struct ar_group *g, const struct options *o, struct cm_jw *w)
{
    int world = ar_group_size(g);
    double bus = 2.0 * (world - 1) / world;
    bool table = ar_group_rank(g) == 0 && !o->json;
    size_t max_nbytes = (size_t)o->max_kib << 10;
    float *buf; /* zeros: their sum never overflows, however often it is taken */
    CM_TRY(ar_group_agree(g, cm_alloc_aligned(&buf, max_nbytes, 1, "bench vector"), "bench"));
    if (table)
        printf("%10s %12s %9s %9s %12s %9s %9s %7s\n%10s %12s %9s %9s %12s %9s %9s %7s\n", "size",
               "flywheel", "algbw", "busbw", "MPI", "algbw", "busbw", "faster", "KiB", "us", "GB/s",
               "GB/s", "us", "GB/s", "GB/s", "times");
    cm_jw_begin(w, "sizes", '[');
    cm_status st = CM_OK;
    for (size_t nbytes = 4096; nbytes <= max_nbytes; nbytes *= 4) {
        struct row row = {.nbytes = nbytes};
        size_t n = nbytes / sizeof(float);
        CM_GOTO(st, measure(g, time_ours, buf, n, o->seconds, &row.ours_s), out);
        CM_GOTO(st, measure(g, ar_group_time_native, buf, n, o->seconds, &row.native_s), out);
        if (table)
            print_row(&row, bus);
        write_row(w, &row, bus);
    }
out:
    cm_jw_end(w);
    cm_free(&buf);
    return st;
}

/* ---- check ---- */

static cm_status check_integers(struct ar_group *g, float *buf, size_t n)
{
    ar_pattern_integers(buf, n, ar_group_rank(g));
    CM_TRY(ar_group_sum_f32(g, buf, n));
    for (size_t i = 0; i < n; i++) {
        float want = ar_pattern_integer_sum(i, ar_group_size(g));
        if (buf[i] != want)
            return CM_FAIL(CM_ECORRUPT, "sum of %zu integers: element %zu is %.9g, not %.9g", n, i,
                           (double)buf[i], (double)want);
    }
    return CM_OK;
}

/* Floats on 8 virtual shards (or one per rank, where there are more), against the tree drawn on one
 * rank. */
static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static cm_status check_order(struct ar_group *g, bool compress, float *buf, float *want, size_t n)
{
    int world = ar_group_size(g), shards = world > 8 ? world : 8;
    struct ar_range mine = ar_rank_shards(shards, world, ar_group_rank(g));
    ar_pattern_tree(buf, n, mine, compress);
    CM_TRY(ar_group_sum_f32(g, buf, n));
    ar_pattern_tree(want, n, (struct ar_range){0, (size_t)shards}, compress);
    for (size_t i = 0; i < n; i++)
        if (bits_of(buf[i]) != bits_of(want[i]))
            return CM_FAIL(CM_ECORRUPT, "sum of %zu floats: element %zu is %.9g, not %.9g", n, i,
                           (double)buf[i], (double)want[i]);
    return CM_OK;
}

static cm_status check(struct ar_group *g, const struct ar_config *cfg, const struct options *o,
                       struct cm_jw *w)
{
    static const size_t sizes[] = {0,    1,    2,    15,   16,    17,     31,     33,
                                   1000, 4095, 4096, 4097, 65537, 262144, 524289, 1200011};
    enum { NSIZES = sizeof sizes / sizeof sizes[0] };
    size_t largest = sizes[NSIZES - 1];
    float *buf = NULL, *want = NULL;
    cm_status st = cm_alloc_aligned(&buf, largest, sizeof *buf, "check vector");
    if (st == CM_OK)
        st = cm_alloc_aligned(&want, largest, sizeof *want, "check vector");
    CM_GOTO(st, ar_group_agree(g, st, "check"), out);
    bool fixed = cfg->order == AR_ORDER_FIXED;
    for (int i = 0; i < NSIZES; i++) {
        if (!cfg->compress) /* the integers are exact in fp32, not in bf16 */
            st = check_integers(g, buf, sizes[i]);
        if (st == CM_OK && fixed)
            st = check_order(g, cfg->compress, buf, want, sizes[i]);
        CM_GOTO(st, ar_group_agree(g, st, "check"), out);
    }
    if (ar_group_rank(g) == 0 && !o->json)
        printf("%d sizes up to %zu values: the sums are right on %d ranks\n", NSIZES, largest,
               ar_group_size(g));
    if (fixed) {
        char sha256[CM_SHA256_TEXT];
        CM_GOTO(st, cm_sha256(sha256, buf, largest * sizeof *buf), out);
        cm_jw_string(w, "sha256", sha256);
    }
    cm_jw_i64(w, "sizes", NSIZES);
out:
    cm_free(&want);
    cm_free(&buf);
    return st;
}

/* ---- */

static cm_status run(struct ar_group *g, const struct ar_config *cfg, const struct options *o,
                     const char *what)
{
    struct cm_jw w = {0};
    char *text = NULL;
    size_t n = 0;
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "command", what);
    cm_jw_i64(&w, "ranks", ar_group_size(g));
    cm_jw_i64(&w, "hosts_ranks", ar_group_local_size(g));
    cm_jw_bool(&w, "compress", cfg->compress);
    cm_status st = strcmp(what, "bench") == 0 ? bench(g, o, &w) : check(g, cfg, o, &w);
    CM_GOTO(st, st, out);
    cm_jw_end(&w);
    CM_GOTO(st, cm_jw_take(&w, &text, &n), out);
    if (ar_group_rank(g) == 0)
        puts(text);
out:
    cm_free(&text);
    cm_jw_release(&w);
    return st;
}

static cm_status check_options(const struct options *o, const char *what)
{
    if (strcmp(what, "bench") != 0 && strcmp(what, "check") != 0)
        return CM_FAIL(CM_EUSAGE, "'%s' is neither bench nor check", what);
    if (o->max_kib < 4 || o->max_kib > 1 << 22 || !(o->seconds > 0))
        return CM_FAIL(CM_EUSAGE, "--max-kib is 4 to 4194304, --seconds more than 0");
    return CM_OK;
}

static cm_status start(int argc, char **argv)
{
    struct options o = {.max_kib = 65536, .seconds = 0.3};
    char **operands;
    int noperands;
    bool helped;
    struct cm_config *file = NULL;
    struct ar_group *g = NULL;
    struct ar_config cfg;
    cm_status st = cm_args_parse(&command, argc, argv, &o, &operands, &noperands, &helped);
    if (st == CM_OK && helped)
        return CM_OK;
    if (st == CM_OK)
        st = check_options(&o, operands[0]);
    if (st == CM_OK)
        st = cm_config_open(&file, NULL, o.sets.item, o.sets.n);
    if (st == CM_OK)
        st = cm_config_read(file, &ar_config_section, &cfg);
    CM_GOTO(st, st == CM_OK ? ar_group_open(&g, &cfg) : ar_group_decline(st), out);
    cm_log_set_rank(ar_group_rank(g));
    ar_group_set_phase(g, operands[0], 0);
    st = run(g, &cfg, &o, operands[0]);
    if (st != CM_OK)
        cm_error_report(CM_LOG_ERROR, st, NULL); /* before the first rank goes */
out:
    ar_group_close(&g);
    cm_config_close(&file);
    return st;
}

int main(int argc, char **argv)
{
    cm_log_init("allreduce");
    return cm_main_end(start(argc, argv));
}
