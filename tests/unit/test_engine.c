/* engine.h on a group of one: one step against the ref backend's plain sum, statistics of uneven
 * shards, and what a step that fails leaves behind. (Ranks: tests/integration/test_train.sh.) */
#include <math.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "model/init.h"
#include "tests/unit/expect.h"
#include "trainer/engine.h"

#define SIDE   6
#define PIXELS (SIDE * SIDE * 3)
#define IMAGES 40
#define MANY   4001 /* a prime: no shards of one size */

/* No batch norm: the gradient is the plain sum over images, however they are cut. */
static const char plain[] =
    "{\"name\": \"conv\", \"op\": \"conv\", \"out\": 5, \"kernel\": 3, "
    "\"pad\": 1}, {\"name\": \"act\", \"op\": \"relu\"}, {\"name\": \"pool\", \"op\": \"maxpool\", "
    "\"kernel\": 2}, {\"name\": \"flat\", \"op\": \"flatten\"}, {\"name\": \"fc\", \"op\": "
    "\"linear\", \"out\": 4}";
/* Batch norm of the input itself: its statistics are the images'. */
static const char normed[] =
    "{\"name\": \"bn\", \"op\": \"batchnorm\", \"momentum\": 0.5}, "
    "{\"name\": \"flat\", \"op\": \"flatten\"}, {\"name\": \"fc\", \"op\": \"linear\", \"out\": 4}";

struct bench {
    struct tr_model_config model;
    struct tr_train_config train;
    struct ar_config allreduce;
    struct cm_config *file;
    struct ar_group *group;
    struct nn_spec *spec;
    struct nn_layout *layout;
    struct tr_engine *engine;
    uint32_t nimages; /* of which the first so many are used */
    uint8_t images[MANY * PIXELS];
    int32_t labels[MANY];
    uint32_t id[MANY];
};

static void open_spec(struct bench *b, const char *nodes)
{
    char text[2048];
    struct cm_json *json;
    snprintf(text, sizeof text,
             "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, \"height\": 6, "
             "\"width\": 6}, \"preprocess\": {\"mean\": [0.5, 0.5, 0.5], \"std\": [0.25, 0.25, "
             "0.25]}, \"nodes\": [%s]}",
             nodes);
    expect_ok(cm_json_parse(&json, text, strlen(text), "test"));
    expect_ok(nn_spec_parse(&b->spec, json, "test"));
    cm_json_close(&json);
    expect_ok(nn_layout_open(&b->layout, b->spec));
}

static cm_status open_engine(struct bench *b, int nlanes)
{
    struct tr_engine_config cfg = {
        .spec = b->spec,
        .layout = b->layout,
        .model = &b->model,
        .train = &b->train,
        .allreduce = &b->allreduce,
        .group = b->group,
        .nlanes = nlanes,
        .samples = {.n = b->nimages, .images = b->images, .labels = b->labels, .id = b->id},
    };
    CM_TRY(tr_engine_open(&b->engine, &cfg));
    expect_ok(
        nn_init_weights(tr_engine_weights(b->engine), b->layout, b->spec, 3, b->images, IMAGES));
    return tr_engine_prepare(b->engine);
}

/* sets: settings of the config, "" ends them. */
static struct bench *open_bench_of(uint32_t nimages, const char *nodes, const char *const *sets,
                                   int nlanes)
{
    struct bench *b;
    size_t nsets = 0;
    while (*sets[nsets])
        nsets++;
    expect_ok(cm_alloc(&b, 1, sizeof *b, "bench"));
    b->nimages = nimages;
    expect_ok(cm_config_open(&b->file, NULL, sets, nsets));
    expect_ok(cm_config_read(b->file, &tr_model_section, &b->model));
    expect_ok(cm_config_read(b->file, &tr_train_section, &b->train));
    expect_ok(cm_config_read(b->file, &ar_config_section, &b->allreduce));
    expect_ok(ar_group_open(&b->group, &b->allreduce));
    for (uint32_t i = 0; i < MANY * PIXELS; i++)
        b->images[i] = (uint8_t)cm_rng_u32(1, CM_RNG_SYNTHETIC, 0, 0, i);
    for (uint32_t i = 0; i < nimages; i++) {
        b->labels[i] = (int32_t)(i % 4);
        b->id[i] = nimages - 1 - i; /* numbers of samples are not those of rows */
    }
    open_spec(b, nodes);
    expect_ok(open_engine(b, nlanes));
    return b;
}

static struct bench *open_bench(const char *nodes, const char *const *sets, int nlanes)
{
    return open_bench_of(IMAGES, nodes, sets, nlanes);
}

static void close_bench(struct bench *b)
{
    tr_engine_close(&b->engine);
    nn_layout_close(&b->layout);
    nn_spec_close(&b->spec);
    ar_group_close(&b->group);
    cm_config_close(&b->file);
    cm_free(&b);
}

static struct tr_outcome step(struct bench *b, int64_t number)
{
    struct tr_outcome outcome;
    expect_ok(tr_engine_step(b->engine, number, b->train.lr, 0, &outcome));
    return outcome;
}

static const float *tensor(const struct bench *b, const char *name)
{
    const struct nn_tensor *t = nn_layout_find(b->layout, name);
    assert_non_null(t);
    return tr_engine_weights(b->engine) + t->offset;
}

static bool same_weights(const struct bench *a, const struct bench *b)
{
    return memcmp(tr_engine_weights(a->engine), tr_engine_weights(b->engine),
                  a->layout->ntotal * sizeof(float)) == 0;
}

/* Plain gradient descent with a sum: the weights move by the gradient. */
#define DESCENT "train.momentum=0", "train.reduction=sum", "train.lr=0.01", "model.precision=fp32"

static void the_gradient_is_the_plain_sum_over_images(void **state)
{
    (void)state;
    static const char *const oracle_sets[] = {DESCENT, "train.batch=13", "train.shards=1",
                                              "model.device=ref", ""};
    static const char *const sets[] = {DESCENT, "train.batch=13", "train.shards=8", ""};
    for (int nlanes = 1; nlanes <= 4; nlanes *= 2) {
        struct bench *oracle = open_bench(plain, oracle_sets, 1);
        struct bench *b = open_bench(plain, sets, nlanes);
        assert_int_equal(tr_engine_nlanes(b->engine), nlanes);
        struct tr_outcome want = step(oracle, 0), got = step(b, 0);
        assert_int_equal(got.count, 13);
        assert_int_equal(got.correct, want.correct);
        assert_true(fabs(got.loss - want.loss) < 1e-4 * want.loss);
        const float *x = tr_engine_weights(b->engine), *y = tr_engine_weights(oracle->engine);
        /* 13 images' gradients, each a sum of 36 products at most, times lr */
        for (size_t i = 0; i < b->layout->ntotal; i++)
            assert_true(fabs((double)x[i] - (double)y[i]) < 1e-5);
        close_bench(b);
        close_bench(oracle);
    }
}

/* All of an odd number of images in one step, against one shard of the oracle: with few of them
 * most shards are empty, with many all are of two sizes. */
static void any_number_of_samples_gives_the_plain_sum(void **state)
{
    (void)state;
    static const char *const oracle_sets[] = {DESCENT,          "train.batch=5000", "train.lr=1e-4",
                                              "train.shards=1", "model.device=ref", ""};
    static const char *const sets[] = {DESCENT, "train.batch=5000", "train.lr=1e-4",
                                       "train.shards=8", ""};
    static const uint32_t sizes[] = {1, 7, MANY};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct bench *oracle = open_bench_of(sizes[k], plain, oracle_sets, 1);
        struct bench *b = open_bench_of(sizes[k], plain, sets, 2);
        struct tr_outcome want = step(oracle, 0), got = step(b, 0);
        assert_int_equal(got.count, sizes[k]);
        assert_int_equal(got.correct, want.correct);
        assert_true(fabs(got.loss - want.loss) < 1e-5 * want.loss);
        const float *x = tr_engine_weights(b->engine), *y = tr_engine_weights(oracle->engine);
        for (size_t i = 0; i < b->layout->ntotal; i++)
            assert_true(fabs((double)x[i] - (double)y[i]) < 1e-5);
        close_bench(b);
        close_bench(oracle);
    }
}

static void lanes_and_timing_change_no_bit(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.batch=5", "train.shards=8", "train.lr=0.1", ""};
    struct bench *one = open_bench(plain, sets, 1);
    for (int64_t s = 0; s < 20; s++) /* two epochs and a half; three shards are empty */
        step(one, s);
    for (int nlanes = 1; nlanes <= 8; nlanes *= 2) {
        struct bench *b = open_bench(plain, sets, nlanes);
        tr_engine_set_timing(b->engine, true);
        for (int64_t s = 0; s < 20; s++)
            step(b, s);
        assert_true(same_weights(one, b));
        double forward_s = tr_engine_times(b->engine)[0].forward_s;
        assert_true(nlanes == 1 ? forward_s > 0 : forward_s == 0);
        close_bench(b);
    }
    close_bench(one);
}

/* Running statistics after the first step of n images, from the images themselves, in double:
 * momentum 0.5, from mean 0 and variance 1. */
static void expect_statistics(const struct bench *b, uint32_t n)
{
    const struct tr_order *order = tr_engine_order(b->engine);
    for (int c = 0; c < 3; c++) {
        double mean = 0, var = 0;
        for (uint32_t k = 0; k < 8; k++) {
            uint32_t first, count;
            tr_shard_range(n, 8, k, &first, &count);
            double sum = 0, squares = 0, m = (double)count * SIDE * SIDE;
            for (uint32_t i = first; i < first + count; i++) {
                const uint8_t *image = b->images + b->id[tr_order_sample(order, 0, i)] * PIXELS;
                for (int p = c; p < PIXELS; p += 3) {
                    double x = ((double)image[p] / 255 - 0.5) / 0.25;
                    sum += x;
                    squares += x * x;
                }
            }
            if (count == 0)
                continue;
            mean += count / (double)n * (sum / m);
            var += count / (double)n * ((squares - sum * sum / m) / (m - 1));
        }
        assert_true(fabs((double)tensor(b, "bn.running_mean")[c] - 0.5 * mean) < 1e-5);
        assert_true(fabs((double)tensor(b, "bn.running_var")[c] - (0.5 + 0.5 * var)) < 1e-5);
    }
}

/* Batches of 21 images on 8 shards: of two and of three. */
static void statistics_of_uneven_shards_are_weighted_by_images(void **state)
{
    (void)state;
    static const char *const sets[] = {DESCENT, "train.batch=21", "train.shards=8", ""};
    struct bench *b = open_bench(normed, sets, 2);
    step(b, 0);
    expect_statistics(b, 21);
    close_bench(b);
    static const char *const all[] = {DESCENT, "train.lr=0", "train.batch=5000", "train.shards=8",
                                      ""};
    static const uint32_t sizes[] = {1, 7, MANY};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        b = open_bench_of(sizes[k], normed, all, 2);
        step(b, 0);
        expect_statistics(b, sizes[k]);
        close_bench(b);
    }
}

static void a_loss_that_is_not_finite_changes_nothing(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.batch=13", "train.shards=8", ""};
    struct bench *b = open_bench(plain, sets, 2);
    struct tr_outcome outcome;
    size_t n = b->layout->ntotal, nparam = b->layout->nparam;
    float *weights = tr_engine_weights(b->engine), *before;
    float *buffer = tr_optimizer_slot(tr_engine_optimizer(b->engine), 0);
    step(b, 0);
    expect_ok(cm_alloc(&before, n + nparam, sizeof *before, "copies"));
    weights[nn_layout_find(b->layout, "conv.bias")->offset] = INFINITY;
    expect_ok(tr_engine_prepare(b->engine));
    memcpy(before, weights, n * sizeof *before);
    memcpy(before + n, buffer, nparam * sizeof *before);
    expect_fault(CM_ENUMERIC, "weight that is not finite: conv.bias",
                 tr_engine_step(b->engine, 1, 0.1, 0, &outcome));
    assert_non_null(strstr(cm_error_text(), "step 1"));
    assert_memory_equal(before, weights, n * sizeof *before);
    assert_memory_equal(before + n, buffer, nparam * sizeof *before);
    cm_free(&before);
    close_bench(b);
}

/* Every weight is finite; what the first of them make of the images is not. */
static void where_activations_overflow_is_told(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.batch=13", "train.shards=8", "model.precision=fp32",
                                       ""};
    struct bench *b = open_bench(plain, sets, 2);
    struct tr_outcome outcome;
    const struct nn_tensor *conv = nn_layout_find(b->layout, "conv.weight");
    for (size_t i = 0; i < conv->n; i++)
        tr_engine_weights(b->engine)[conv->offset + i] = 1e38f;
    expect_ok(tr_engine_prepare(b->engine));
    expect_fault(CM_ENUMERIC, "largest weight: 1e+38 in conv.weight",
                 tr_engine_step(b->engine, 1, 0.1, 0, &outcome));
    assert_non_null(strstr(cm_error_text(), "first gradient that is not finite: "));
    close_bench(b);
}

/* A lane's fault comes out of the step, and the next step is as if it had not been. */
static void a_step_that_fails_changes_nothing(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.batch=13", "train.shards=8", ""};
    struct bench *b = open_bench(plain, sets, 2), *other = open_bench(plain, sets, 2);
    struct tr_outcome outcome;
    uint32_t row = b->id[tr_order_sample(tr_engine_order(b->engine), 0, 4)];
    b->labels[row] = 99;
    expect_fault(CM_EINVAL, "99", tr_engine_step(b->engine, 0, 0.1, 0, &outcome));
    b->labels[row] = other->labels[row];
    for (int64_t s = 0; s < 4; s++) {
        step(b, s);
        step(other, s);
    }
    assert_true(same_weights(b, other));
    close_bench(b);
    close_bench(other);
}

static void control_bits_come_back(void **state)
{
    (void)state;
    static const char *const sets[] = {""};
    struct bench *b = open_bench(plain, sets, 1); /* the batch is larger than the data */
    struct tr_outcome outcome;
    expect_ok(tr_engine_step(b->engine, 0, 0.1, 5, &outcome));
    assert_int_equal(outcome.bits, 5);
    assert_int_equal(outcome.count, IMAGES);
    close_bench(b);
}

static void without_a_whole_batch_there_is_no_engine(void **state)
{
    (void)state;
    static const char *const sets[] = {""};
    struct bench *b = open_bench(plain, sets, 1);
    tr_engine_close(&b->engine);
    b->train.drop_last = true;
    expect_fault(CM_ECONFIG, "drop_last", open_engine(b, 1));
    close_bench(b);
}

/* draw gives all positions of a step, whatever lanes ask for them. */
static void mirror(void *ctx, int64_t number, uint32_t first, uint32_t n, uint32_t *rows)
{
    const struct bench *b = ctx;
    uint32_t epoch = (uint32_t)(number / tr_order_steps_per_epoch(tr_engine_order(b->engine)));
    for (uint32_t i = 0; i < n; i++)
        rows[i] = b->id[tr_order_sample(tr_engine_order(b->engine), epoch, first + i)];
}

static void samples_can_be_drawn_by_the_caller(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.batch=13", "train.shards=4", ""};
    struct bench *usual = open_bench(plain, sets, 2), *drawn = open_bench(plain, sets, 4);
    tr_engine_close(&drawn->engine);
    struct tr_engine_config cfg = {
        .spec = drawn->spec,
        .layout = drawn->layout,
        .model = &drawn->model,
        .train = &drawn->train,
        .allreduce = &drawn->allreduce,
        .group = drawn->group,
        .nlanes = 4,
        .samples = {.n = IMAGES, .images = drawn->images, .labels = drawn->labels},
        .draw = mirror,
        .draw_ctx = drawn,
    };
    expect_ok(tr_engine_open(&drawn->engine, &cfg));
    memcpy(tr_engine_weights(drawn->engine), tr_engine_weights(usual->engine),
           usual->layout->ntotal * sizeof(float));
    expect_ok(tr_engine_prepare(drawn->engine));
    for (int64_t s = 0; s < 9; s++) {
        step(usual, s);
        step(drawn, s);
    }
    assert_true(same_weights(usual, drawn));
    close_bench(usual);
    close_bench(drawn);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gradient_is_the_plain_sum_over_images),
        cmocka_unit_test(any_number_of_samples_gives_the_plain_sum),
        cmocka_unit_test(lanes_and_timing_change_no_bit),
        cmocka_unit_test(statistics_of_uneven_shards_are_weighted_by_images),
        cmocka_unit_test(a_loss_that_is_not_finite_changes_nothing),
        cmocka_unit_test(where_activations_overflow_is_told),
        cmocka_unit_test(a_step_that_fails_changes_nothing),
        cmocka_unit_test(control_bits_come_back),
        cmocka_unit_test(without_a_whole_batch_there_is_no_engine),
        cmocka_unit_test(samples_can_be_drawn_by_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
