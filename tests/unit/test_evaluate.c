/* evaluate.h on a group of one: the score of any number of images is that of each image, counted
 * once. (Ranks: tests/integration/test_exact.sh.) */
#include "trainer/evaluate.h"

#include <math.h>

#include "common/log.h"
#include "model/backend.h"
#include "tests/unit/evaluate_fixture.h"

#define MANY 4001

static struct tr_evaluator *open_evaluator(const struct bench *b, int nlanes)
{
    struct tr_evaluator *e;
    const struct tr_evaluator_config cfg = {.spec = b->spec,
                                            .layout = b->layout,
                                            .backend = nn_backend_cpu(),
                                            .precision = NN_PRECISION_FP32,
                                            .group = b->group,
                                            .nlanes = nlanes};
    expect_ok(tr_evaluator_open(&e, &cfg));
    return e;
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
    expect_ok(nn_plan_infer(oracle, NULL, &batch, logits));
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
    struct bench *b = bench_open(MANY);
    struct tr_evaluator *e = open_evaluator(b, 2);
    struct nn_plan *oracle = open_oracle(b);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct tr_score score;
        double loss = 0;
        int64_t correct = 0;
        expect_ok(
            tr_evaluate(e, b->weights, b->images, b->labels, b->rows, sizes[k], predicted, &score));
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
    tr_evaluator_close(&e);
    bench_close(b);
}

static void lanes_change_no_bit_of_a_score(void **state)
{
    (void)state;
    struct tr_score first = {0}, score;
    struct bench *b = bench_open(MANY);
    for (int nlanes = 1; nlanes <= 4; nlanes++) {
        struct tr_evaluator *e = open_evaluator(b, nlanes);
        expect_ok(tr_evaluate(e, b->weights, b->images, b->labels, NULL, MANY, NULL, &score));
        if (nlanes == 1)
            first = score;
        assert_true(first.loss == score.loss && first.correct == score.correct);
        tr_evaluator_close(&e);
    }
    bench_close(b);
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
    expect_ok(nn_plan_infer(oracle, NULL, &batch, logits));
    for (int c = 0; c < CLASSES; c++)
        sum[c] += weight * (double)logits[c];
}

static void views_are_averaged(void **state)
{
    (void)state;
    enum { N = TR_EVAL_CHUNK + 3 };
    struct bench *b = bench_open(MANY);
    struct tr_evaluator *e = open_evaluator(b, 2);
    struct nn_plan *oracle = open_oracle(b);
    struct tr_score plain, views, alone;
    double loss = 0;
    int64_t correct = 0;
    expect_ok(tr_evaluate(e, b->weights, b->images, b->labels, NULL, N, NULL, &alone));
    expect_ok(tr_evaluate_views(e, b->weights, b->images, b->labels, N, &plain, &views));
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
    tr_evaluator_close(&e);
    bench_close(b);
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
