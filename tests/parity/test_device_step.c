/* The step's arithmetic on a device against the CPU's, bit for bit: the tree's additions, the sum
 * of squares, draws, updates, statistics. On the host as a GPU (driver_host.h), and on a GPU where
 * there is one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/rng.h"
#include "common/vec.h"
#include "model/cuda/gpu.h"
#include "model/muon.h"
#include "tests/parity/first_gpu.h"
#include "trainer/augment.h"
#include "trainer/optimizer.h"

#define N 70001 /* 18 blocks of 4,096, the last one short */

static void must(cm_status st)
{
    if (st != CM_OK)
        fail_msg("%s", cm_error_text());
}

static float number(uint32_t stream, size_t i)
{
    return 4 * cm_rng_unit(cm_rng_u32(7, CM_RNG_INIT, stream, 0, (uint32_t)i)) - 2;
}

static void fill(float *x, uint32_t stream, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = number(stream, i);
}

/* nbytes on the device, a copy of host (NULL: zeros). */
static void *there(struct nn_device *gpu, const void *host, size_t nbytes)
{
    void *p;
    must(gpu->backend.alloc(&gpu->backend, &p, nbytes, "test"));
    if (host)
        must(nn_device_copy(gpu, NULL, p, host, nbytes));
    return p;
}

static void fetch(struct nn_device *gpu, void *host, const void *p, size_t nbytes)
{
    must(nn_device_copy(gpu, NULL, host, p, nbytes));
}

static void drop(struct nn_device *gpu, void *p)
{
    gpu->backend.release(&gpu->backend, &p);
}

static void test_merge(void **state)
{
    struct nn_device *gpu = *state;
    static float a[N], b[N], got[N];
    fill(a, 1, N);
    fill(b, 2, N);
    float *x = there(gpu, a, sizeof a), *y = there(gpu, b, sizeof b);
    must(nn_device_merge(gpu, NULL, x, y, N, false));
    cm_vec_add(a, b, N);
    fetch(gpu, got, x, sizeof got);
    assert_memory_equal(got, a, sizeof a);
    must(nn_device_merge(gpu, NULL, x, y, N, true));
    must(nn_device_merge(gpu, NULL, y, NULL, N, true));
    cm_vec_add(a, b, N);
    cm_vec_round_bf16(a, N);
    cm_vec_round_bf16(b, N);
    fetch(gpu, got, x, sizeof got);
    assert_memory_equal(got, a, sizeof a);
    fetch(gpu, got, y, sizeof got);
    assert_memory_equal(got, b, sizeof b);
    drop(gpu, x);
    drop(gpu, y);
}

static void test_sum_squares(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 4095, 4096, 4097, 5 * 4096, 11 * 4096 + 3, N};
    struct nn_device *gpu = *state;
    static float a[N];
    fill(a, 3, N);
    float *x = there(gpu, a, sizeof a);
    double *space = there(gpu, NULL, 64 * sizeof(double)), *out = there(gpu, NULL, sizeof *out);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double got, want = cm_vec_sum_squares(a, sizes[i]);
        must(nn_device_sum_squares(gpu, NULL, out, x, sizes[i], space));
        fetch(gpu, &got, out, sizeof got);
        if (got != want)
            fail_msg("%zu squares: %.17g, the CPU has %.17g", sizes[i], got, want);
    }
    drop(gpu, x);
    drop(gpu, space);
    drop(gpu, out);
}

static void test_results(void **state)
{
    struct nn_device *gpu = *state;
    struct nn_result shard[8];
    double sum[24], tree[8];
    for (int i = 0; i < 8; i++) {
        shard[i] = (struct nn_result){.loss = 0.1 * (i + 1) * (i + 1), .correct = i, .count = 10};
        tree[i] = shard[i].loss;
    }
    for (int n = 8; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++)
            tree[i] = tree[2 * i] + tree[2 * i + 1];
    struct nn_result *shards = there(gpu, shard, sizeof shard);
    double *space = there(gpu, NULL, sizeof sum);
    must(nn_device_results(gpu, NULL, space, shards, 8));
    fetch(gpu, sum, space, sizeof sum);
    assert_memory_equal(&sum[0], &tree[0], sizeof *sum);
    assert_true(sum[1] == 28 && sum[2] == 80);
    drop(gpu, shards);
    drop(gpu, space);
}

/* Ranks' sums, on any number of ranks, neighbours first: ((0 1) (2 3)) (4 …). */
static void test_join(void **state)
{
    struct nn_device *gpu = *state;
    double rank[5][3], sum[3];
    for (int r = 0; r < 5; r++)
        for (int k = 0; k < 3; k++)
            rank[r][k] = 0.1 * (r + 1) * (k + 1);
    for (int n = 1; n <= 5; n++) {
        double *ranks = there(gpu, rank, sizeof rank), *out = there(gpu, NULL, sizeof sum);
        must(nn_device_join(gpu, NULL, out, ranks, n));
        fetch(gpu, sum, out, sizeof sum);
        for (int k = 0; k < 3; k++) {
            double left = n > 1 ? rank[0][k] + rank[1][k] : rank[0][k];
            double right = n > 3 ? rank[2][k] + rank[3][k] : rank[2][k];
            double want = n > 2 ? left + right : left;
            want = n > 4 ? want + rank[4][k] : want;
            assert_memory_equal(&sum[k], &want, sizeof want);
        }
        drop(gpu, ranks);
        drop(gpu, out);
    }
}

static void test_draw(void **state)
{
    enum { ROWS = 257, IMAGES = 64, FIRST = 100 };
    struct nn_device *gpu = *state;
    struct tr_train_config cfg = {.seed = 9, .flip = TR_FLIP_ALTERNATE, .crop_pad = 2, .cutout = 5};
    struct nn_step_values v = {.in = {.epoch = 3, .first = FIRST}};
    uint32_t id[ROWS], rows[IMAGES];
    int32_t labels[ROWS], got[IMAGES];
    struct nn_augment augment[IMAGES];
    for (uint32_t i = 0; i < ROWS; i++) {
        id[i] = ROWS - 1 - i;
        labels[i] = (int32_t)(i % 10);
    }
    struct nn_draw_args args = {.draw = {.seed = 9,
                                         .n = ROWS,
                                         .flip = NN_FLIP_ALTERNATE,
                                         .crop_pad = 2,
                                         .cutout = 5,
                                         .side = 32},
                                .n = IMAGES,
                                .first = 7,
                                .values = there(gpu, &v, sizeof v),
                                .id = there(gpu, id, sizeof id),
                                .all_labels = there(gpu, labels, sizeof labels),
                                .rows = there(gpu, NULL, sizeof rows),
                                .labels = there(gpu, NULL, sizeof got),
                                .augment = there(gpu, NULL, sizeof augment)};
    must(nn_device_draw(gpu, NULL, &args));
    fetch(gpu, rows, args.rows, sizeof rows);
    fetch(gpu, got, args.labels, sizeof got);
    fetch(gpu, augment, args.augment, sizeof augment);
    for (uint32_t i = 0; i < IMAGES; i++) {
        uint32_t row = id[cm_rng_permute(9, CM_RNG_SHUFFLE, 3, ROWS, FIRST + 7 + i)];
        struct nn_augment want = tr_augment(&cfg, 3, row, 32);
        assert_int_equal(rows[i], row);
        assert_int_equal(got[i], labels[row]);
        assert_memory_equal(&augment[i], &want, sizeof want);
    }
    const void *all[] = {args.values, args.id,     args.all_labels,
                         args.rows,   args.labels, args.augment};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        void *p;
        memcpy(&p, &all[i], sizeof p);
        drop(gpu, p);
    }
}

/* --- updates --- */

enum { TENSORS = 3, ARENA = 3072 };
static struct nn_tensor tensors[TENSORS] = {
    {.name = "a.weight", .trained = true, .offset = 0, .n = 1000},
    {.name = "b.weight", .trained = false, .offset = 1008, .n = 1000},
    {.name = "c.bias", .trained = true, .offset = 2016, .n = 1050}};
static const struct nn_layout layout = {
    .ntensors = TENSORS, .tensors = tensors, .nparam = ARENA, .ntotal = ARENA};

static struct nn_coefficients coefficients_of(const struct tr_train_config *cfg, double lr,
                                              int step)
{
    bool decoupled = cfg->decay == TR_DECAY_DECOUPLED;
    return (struct nn_coefficients){
        .lr = (float)lr,
        .decay = decoupled ? 0 : (float)cfg->weight_decay,
        .shrink = decoupled ? (float)(1 - lr * cfg->weight_decay) : 1,
        .l1 = (float)cfg->l1,
        .momentum = (float)cfg->momentum,
        .beta1 = (float)cfg->beta1,
        .beta2 = (float)(cfg->optimizer == TR_RMSPROP ? cfg->alpha : cfg->beta2),
        .eps = (float)cfg->eps,
        .correct1 = (float)(1 / (1 - pow(cfg->beta1, step + 1))),
        .correct2 = (float)(1 / (1 - pow(cfg->beta2, step + 1))),
        .nesterov = cfg->nesterov};
}

/* Three steps of an optimiser on both sides. */
static void compare_update(struct nn_device *gpu, struct tr_train_config cfg)
{
    static float weights[ARENA], gradients[ARENA], got[ARENA];
    static const struct nn_span spans[2] = {{0, 1000}, {2016, 3066}};
    struct nn_step_values v = {.out = {.scale = 0.25f}};
    struct nn_coefficients c[2];
    struct tr_optimizer *cpu;
    must(tr_optimizer_open(&cpu, &cfg, &layout));
    must(tr_optimizer_make_room(cpu));
    fill(weights, 5, ARENA);
    struct nn_update_args args = {.optimizer = (enum nn_optimizer)cfg.optimizer,
                                  .momentum = cfg.momentum > 0,
                                  .n = ARENA,
                                  .weights = there(gpu, weights, sizeof weights),
                                  .first = there(gpu, NULL, sizeof weights),
                                  .second = there(gpu, NULL, sizeof weights),
                                  .nspans = 2,
                                  .spans = there(gpu, spans, sizeof spans),
                                  .values = there(gpu, &v, sizeof v)};
    for (int step = 0; step < 3; step++) {
        fill(gradients, 20 + (uint32_t)step, ARENA);
        c[0] = c[1] = coefficients_of(&cfg, 0.1, step);
        void *g = there(gpu, gradients, sizeof gradients), *k = there(gpu, c, sizeof c);
        args.gradients = g;
        args.coefficients = k;
        must(nn_device_update(gpu, NULL, &args));
        struct tr_update u = {.lr = 0.1, .scale = 0.25, .step = step};
        tr_optimizer_apply(cpu, &u, weights, gradients, 0, ARENA);
        fetch(gpu, got, args.weights, sizeof got);
        assert_memory_equal(got, weights, sizeof got);
        drop(gpu, g);
        drop(gpu, k);
    }
    for (int s = 0; s < tr_optimizer_nslots(cpu); s++) {
        fetch(gpu, got, s == 0 ? args.first : args.second, sizeof got);
        assert_memory_equal(got, tr_optimizer_slot(cpu, s), sizeof got);
    }
    drop(gpu, args.weights);
    drop(gpu, args.first);
    drop(gpu, args.second);
    tr_optimizer_close(&cpu);
    void *p;
    memcpy(&p, &args.spans, sizeof p);
    drop(gpu, p);
    memcpy(&p, &args.values, sizeof p);
    drop(gpu, p);
}

static void test_update(void **state)
{
    struct tr_train_config base = {.beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .alpha = 0.99,
                                   .eps = 1e-8,
                                   .weight_decay = 0.01,
                                   .l1 = 0.001};
    for (int kind = TR_SGD; kind <= TR_ADAGRAD; kind++)
        for (int variant = 0; variant < 4; variant++) {
            struct tr_train_config cfg = base;
            cfg.optimizer = kind;
            cfg.momentum = variant & 1 ? 0.85 : 0;
            cfg.nesterov = variant & 1;
            cfg.decay = variant & 2 ? TR_DECAY_DECOUPLED : TR_DECAY_L2;
            compare_update(*state, cfg);
        }
}

/* ---- Muon, and the average ---- */

/* Wide, tall and with products of several tiles and blocks of factors; a tensor that is not Muon's
 * between them, which stays. */
enum { MATRICES = 4, MUON_ARENA = 80000 };
static const struct nn_muon_matrix matrices[MATRICES] = {{.offset = 0, .rows = 9, .cols = 27},
                                                         {300, 70, 33, 2},
                                                         {3000, 80, 600, 3},
                                                         {60000, 130, 67, 4}};

static void test_muon(void **state)
{
    struct nn_device *gpu = *state;
    static float w[MUON_ARENA], g[MUON_ARENA], b[MUON_ARENA], got[MUON_ARENA], space[300000];
    struct nn_coefficients c[5];
    struct nn_step_values v = {.out = {.scale = 0.25f}};
    struct nn_muon_work *work;
    for (int i = 0; i < 5; i++)
        c[i] = (struct nn_coefficients){
            .lr = 0.1f * (float)(i + 1), .momentum = 0.6f, .nesterov = i % 2, .muon = i != 1};
    fill(w, 30, MUON_ARENA);
    fill(b, 31, MUON_ARENA);
    must(nn_device_muon_open(gpu, &work, matrices, MATRICES));
    struct nn_update_args args = {.weights = there(gpu, w, sizeof w),
                                  .first = there(gpu, b, sizeof b),
                                  .values = there(gpu, &v, sizeof v)};
    for (uint32_t step = 0; step < 4; step++) {
        bool skip = step == 3;
        fill(g, 32 + step, MUON_ARENA);
        c[4].frozen = step == 2;
        v.out.skip = skip;
        void *gradients = there(gpu, g, sizeof g), *k = there(gpu, c, sizeof c);
        void *values;
        args.gradients = gradients;
        args.coefficients = k;
        memcpy(&values, &args.values, sizeof values);
        must(nn_device_copy(gpu, NULL, values, &v, sizeof v));
        must(nn_device_muon(work, NULL, &args));
        for (int i = 0; i < MATRICES; i++) {
            const struct nn_coefficients *own = &c[matrices[i].span];
            assert_true(nn_muon_space(&matrices[i]) <= sizeof space / sizeof *space);
            if (!skip && !own->frozen)
                nn_muon_step(&matrices[i], own, 0.25f, w, g, b, space);
        }
        fetch(gpu, got, args.weights, sizeof got);
        assert_memory_equal(got, w, sizeof got);
        fetch(gpu, got, args.first, sizeof got);
        assert_memory_equal(got, b, sizeof got);
        drop(gpu, gradients);
        drop(gpu, k);
    }
    nn_device_muon_close(&work);
    assert_null(work);
    drop(gpu, args.weights);
    drop(gpu, args.first);
    void *values;
    memcpy(&values, &args.values, sizeof values);
    drop(gpu, values);
}

static void test_average(void **state)
{
    static const double keeps[] = {0, 0.77378, 1};
    struct nn_device *gpu = *state;
    static float w[N], average[N], got[N];
    fill(w, 40, N);
    fill(average, 41, N);
    float *x = there(gpu, w, sizeof w), *y = there(gpu, average, sizeof average);
    for (size_t i = 0; i < sizeof keeps / sizeof *keeps; i++) {
        fill(w, 42, N);
        must(nn_device_copy(gpu, NULL, x, w, sizeof w));
        must(nn_device_average(gpu, NULL, y, x, N, keeps[i]));
        cm_vec_axpby(average, (float)(1 - keeps[i]), w, (float)keeps[i], N);
        fetch(gpu, got, y, sizeof got);
        assert_memory_equal(got, average, sizeof got);
        fetch(gpu, got, x, sizeof got);
        assert_memory_equal(got, average, sizeof got);
    }
    drop(gpu, x);
    drop(gpu, y);
}

static void test_skip_leaves_all(void **state)
{
    struct nn_device *gpu = *state;
    static const struct nn_span span = {0, 16};
    float w[16], got[16];
    struct nn_step_values v = {.out = {.scale = 1, .skip = 1, .count = 4}};
    struct nn_coefficients c = {.lr = 1, .shrink = 1};
    double momentum = 0.1;
    fill(w, 6, 16);
    float *weights = there(gpu, w, sizeof w);
    void *values = there(gpu, &v, sizeof v), *spans = there(gpu, &span, sizeof span);
    void *k = there(gpu, &c, sizeof c), *m = there(gpu, &momentum, sizeof momentum);
    struct nn_update_args update = {.n = 16,
                                    .weights = weights,
                                    .gradients = weights,
                                    .nspans = 1,
                                    .spans = spans,
                                    .coefficients = k,
                                    .values = values};
    struct nn_statistics_args statistics = {.weights = weights,
                                            .gradients = weights,
                                            .n = 16,
                                            .nspans = 1,
                                            .spans = spans,
                                            .momentum = m,
                                            .values = values};
    must(nn_device_update(gpu, NULL, &update));
    must(nn_device_statistics(gpu, NULL, &statistics));
    fetch(gpu, got, weights, sizeof got);
    assert_memory_equal(got, w, sizeof w);
    v.out.skip = 0;
    must(nn_device_copy(gpu, NULL, values, &v, sizeof v));
    must(nn_device_statistics(gpu, NULL, &statistics));
    float want[16];
    memcpy(want, w, sizeof w);
    cm_vec_axpby(want, (float)(0.1 / 4), w, (float)(1 - 0.1), 16);
    fetch(gpu, got, weights, sizeof got);
    assert_memory_equal(got, want, sizeof want);
    void *all[] = {weights, values, spans, k, m};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        drop(gpu, all[i]);
}

static int run_on(struct nn_device *device)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_merge, device),
        cmocka_unit_test_prestate(test_sum_squares, device),
        cmocka_unit_test_prestate(test_results, device),
        cmocka_unit_test_prestate(test_join, device),
        cmocka_unit_test_prestate(test_draw, device),
        cmocka_unit_test_prestate(test_update, device),
        cmocka_unit_test_prestate(test_muon, device),
        cmocka_unit_test_prestate(test_average, device),
        cmocka_unit_test_prestate(test_skip_leaves_all, device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return on_host_and_gpu(run_on);
}
