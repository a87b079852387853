/* evaluate.h on a group of one: the score of any number of images is that of each image, counted
 * once. (Ranks: tests/integration/test_exact.sh.) */
#include "trainer/evaluate.h"

#include <math.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "model/backend.h"
#include "model/init.h"
#include "tests/unit/expect.h"

#define PIXELS  (6 * 6 * 3)
#define CLASSES 4
#define MANY    4001

static const char text[] =
    "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, \"height\": 6, \"width\": "
    "6}, "
    "\"preprocess\": {\"mean\": [0.5, 0.5, 0.5], \"std\": [0.25, 0.25, 0.25]}, \"nodes\": ["
    "{\"name\": \"conv\", \"op\": \"conv\", \"out\": 5, \"kernel\": 3}, {\"name\": \"act\", "
    "\"op\": "
    "\"relu\"}, {\"name\": \"flat\", \"op\": \"flatten\"}, {\"name\": \"fc\", \"op\": \"linear\", "
    "\"out\": 4}]}";

struct bench {
    struct ar_group *group;
    struct nn_spec *spec;
    struct nn_layout *layout;
    struct tr_evaluator *evaluator;
    float *weights;
    uint8_t images[MANY * PIXELS];
    int32_t labels[MANY];
    uint32_t rows[MANY];
};

static struct bench *open_bench(int nlanes)
{
    struct bench *b;
    struct ar_config allreduce;
    struct cm_config *file;
    struct cm_json *json;
    expect_ok(cm_alloc(&b, 1, sizeof *b, "bench"));
    expect_ok(cm_config_open(&file, NULL, NULL, 0));
    expect_ok(cm_config_read(file, &ar_config_section, &allreduce));
    cm_config_close(&file);
    expect_ok(ar_group_open(&b->group, &allreduce));
    expect_ok(cm_json_parse(&json, text, strlen(text), "test"));
    expect_ok(nn_spec_parse(&b->spec, json, "test"));
    cm_json_close(&json);
    expect_ok(nn_layout_open(&b->layout, b->spec));
    for (uint32_t i = 0; i < MANY * PIXELS; i++)
        b->images[i] = (uint8_t)cm_rng_u32(1, CM_RNG_SYNTHETIC, 0, 0, i);
    for (uint32_t i = 0; i < MANY; i++) {
        b->labels[i] = (int32_t)(i % CLASSES);
        b->rows[i] = MANY - 1 - i;
    }
    expect_ok(cm_alloc_aligned(&b->weights, b->layout->ntotal, sizeof(float), "weights"));
    expect_ok(nn_init_weights(b->weights, b->layout, b->spec, 3, b->images, 10));
    const struct tr_evaluator_config cfg = {.spec = b->spec,
                                            .layout = b->layout,
                                            .backend = nn_backend_cpu(),
                                            .precision = NN_PRECISION_FP32,
                                            .group = b->group,
                                            .nlanes = nlanes};
    expect_ok(tr_evaluator_open(&b->evaluator, &cfg));
    return b;
}

static void close_bench(struct bench *b)
{
    tr_evaluator_close(&b->evaluator);
    cm_free(&b->weights);
    nn_layout_close(&b->layout);
    nn_spec_close(&b->spec);
    ar_group_close(&b->group);
    cm_free(&b);
}

/* The ref backend, an image at a time. */
static struct nn_plan *open_oracle(const struct bench *b)
{
    struct nn_plan *plan;
    static const int batches[] = {1};
    const struct nn_plan_config cfg = {.backend = nn_backend_ref(),
                                       .precision = NN_PRECISION_FP32,
                                       .nshards = 1,
                                       .batches = batches,
                                       .nbatches = 1,
                                       .nlanes = 1,
                                       .threads = 1};
    expect_ok(nn_plan_open(&plan, b->spec, b->layout, &cfg));
    expect_ok(nn_plan_prepare_all(plan, b->weights));
    return plan;
}

/* -log softmax(logits)[label] */
static double loss_of(struct nn_plan *oracle, const struct bench *b, uint32_t row, int *top)
{
    float logits[CLASSES];
    double sum = 0;
    const struct nn_batch batch = {.n = 1, .images = b->images + (size_t)row * PIXELS};
    expect_ok(nn_plan_infer(oracle, &batch, logits));
    *top = 0;
    for (int c = 0; c < CLASSES; c++) {
        sum += exp((double)logits[c]);
        *top = logits[c] > logits[*top] ? c : *top;
    }
    return log(sum) - (double)logits[b->labels[row]];
}

static void any_number_of_images_is_scored_exactly(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 7, TR_EVAL_CHUNK, TR_EVAL_CHUNK + 1, MANY};
    static int32_t predicted[MANY];
    struct bench *b = open_bench(2);
    struct nn_plan *oracle = open_oracle(b);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct tr_score score;
        double loss = 0;
        int64_t correct = 0;
        expect_ok(tr_evaluate(b->evaluator, b->weights, b->images, b->labels, b->rows, sizes[k],
                              predicted, &score));
        for (uint32_t i = 0; i < sizes[k]; i++) {
            int top;
            loss += loss_of(oracle, b, b->rows[i], &top);
            correct += top == b->labels[b->rows[i]];
            assert_int_equal(predicted[i], top);
        }
        assert_int_equal(score.count, sizes[k]);
        assert_int_equal(score.correct, correct);
        if (sizes[k] == 0)
            continue;
        assert_true(fabs(score.loss - loss / sizes[k]) < 1e-5);
        assert_true(score.accuracy == (double)correct / sizes[k]);
    }
    nn_plan_close(&oracle);
    close_bench(b);
}

static void lanes_change_no_bit_of_a_score(void **state)
{
    (void)state;
    struct tr_score first = {0}, score;
    for (int nlanes = 1; nlanes <= 4; nlanes++) {
        struct bench *b = open_bench(nlanes);
        expect_ok(
            tr_evaluate(b->evaluator, b->weights, b->images, b->labels, NULL, MANY, NULL, &score));
        if (nlanes == 1)
            first = score;
        assert_true(first.loss == score.loss && first.correct == score.correct);
        close_bench(b);
    }
}

/* The mean by hand: each view made of bytes, and shown as it is. Rows and columns beyond the border
 * are mirrored about it. */
static uint8_t pixel(const uint8_t *image, int row, int column, int c)
{
    row = row < 0 ? -row : row > 5 ? 10 - row : row;
    column = column < 0 ? -column : column > 5 ? 10 - column : column;
    return image[(row * 6 + column) * 3 + c];
}

static void add_view(struct nn_plan *oracle, const uint8_t *image, int shift, bool mirror,
                     double weight, double *sum)
{
    uint8_t shifted[PIXELS], shown[PIXELS];
    float logits[CLASSES];
    for (int i = 0; i < PIXELS; i++)
        shifted[i] = pixel(image, i / 18 + shift, i / 3 % 6 + shift, i % 3);
    for (int i = 0; i < PIXELS; i++)
        shown[i] = mirror ? shifted[i / 18 * 18 + (5 - i / 3 % 6) * 3 + i % 3] : shifted[i];
    const struct nn_batch batch = {.n = 1, .images = shown};
    expect_ok(nn_plan_infer(oracle, &batch, logits));
    for (int c = 0; c < CLASSES; c++)
        sum[c] += weight * (double)logits[c];
}

static void views_are_averaged(void **state)
{
    (void)state;
    enum { N = TR_EVAL_CHUNK + 3 };
    struct bench *b = open_bench(2);
    struct nn_plan *oracle = open_oracle(b);
    struct tr_score plain, views, alone;
    double loss = 0;
    int64_t correct = 0;
    expect_ok(tr_evaluate(b->evaluator, b->weights, b->images, b->labels, NULL, N, NULL, &alone));
    expect_ok(tr_evaluate_views(b->evaluator, b->weights, b->images, b->labels, N, &plain, &views));
    for (int i = 0; i < N; i++) {
        const uint8_t *image = b->images + i * PIXELS;
        double sum[CLASSES] = {0}, total = 0;
        int top = 0;
        for (int mirror = 0; mirror < 2; mirror++) {
            add_view(oracle, image, 0, mirror, 0.25, sum);
            add_view(oracle, image, -1, mirror, 0.125, sum);
            add_view(oracle, image, 1, mirror, 0.125, sum);
        }
        for (int c = 0; c < CLASSES; c++) {
            total += exp(sum[c]);
            top = sum[c] > sum[top] ? c : top;
        }
        loss += log(total) - sum[b->labels[i]];
        correct += top == b->labels[i];
    }
    assert_true(plain.loss == alone.loss && plain.correct == alone.correct);
    assert_true(fabs(views.loss - loss / N) < 1e-5);
    assert_int_equal(views.correct, correct);
    assert_int_equal(views.count, N);
    assert_true(views.loss != plain.loss);
    nn_plan_close(&oracle);
    close_bench(b);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_images_is_scored_exactly),
        cmocka_unit_test(lanes_change_no_bit_of_a_score),
        cmocka_unit_test(views_are_averaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
