#include "tests/parity/engine_steps.h"

#include <math.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/rng.h"
#include "model/init.h"
#include "tests/unit/expect.h"
#include "trainer/evaluate.h"

#define PIXELS (STEPS_SIDE * STEPS_SIDE * 3)

/* Convolutions with and without bias, pools, norms, a residual sum, dropout. */
static const char network[] =
    "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, \"height\": 8, \"width\": "
    "8}, \"preprocess\": {\"mean\": [0.5, 0.5, 0.5], \"std\": [0.25, 0.25, 0.25]}, \"nodes\": ["
    "{\"name\": \"conv1\", \"op\": \"conv\", \"out\": 8, \"kernel\": 3, \"pad\": 1},"
    "{\"name\": \"pool\", \"op\": \"maxpool\", \"kernel\": 2},"
    "{\"name\": \"norm1\", \"op\": \"batchnorm\", \"momentum\": 0.25},"
    "{\"name\": \"act1\", \"op\": \"gelu\"},"
    "{\"name\": \"conv2\", \"op\": \"conv\", \"out\": 8, \"kernel\": 3, \"pad\": 1},"
    "{\"name\": \"sum\", \"op\": \"add\", \"in\": [\"act1\", \"conv2\"]},"
    "{\"name\": \"act2\", \"op\": \"relu\"},"
    "{\"name\": \"flat\", \"op\": \"flatten\"},"
    "{\"name\": \"fc\", \"op\": \"linear\", \"out\": 4}]}";

/* ---- an engine ---- */

static void fill_samples(struct steps *s)
{
    for (uint32_t i = 0; i < sizeof s->images; i++)
        s->images[i] = (uint8_t)cm_rng_u32(1, CM_RNG_SYNTHETIC, 0, 0, i);
    for (uint32_t i = 0; i < STEPS_IMAGES; i++) {
        s->labels[i] = (int32_t)(i % 4);
        s->id[i] = STEPS_IMAGES - 1 - i;
        s->images[i * PIXELS] = (uint8_t)(60 * s->labels[i]); /* something to learn */
    }
}

struct steps *steps_prepare(struct nn_device *device, const char *const *sets)
{
    struct steps *s;
    struct cm_json *json;
    size_t nsets = 0;
    while (*sets[nsets])
        nsets++;
    expect_ok(cm_alloc(&s, 1, sizeof *s, "test"));
    expect_ok(cm_config_open(&s->file, NULL, sets, nsets));
    expect_ok(cm_config_read(s->file, &tr_model_section, &s->model));
    expect_ok(cm_config_read(s->file, &tr_train_section, &s->train));
    expect_ok(cm_config_read(s->file, &ar_config_section, &s->allreduce));
    expect_ok(ar_group_open(&s->group, &s->allreduce));
    expect_ok(cm_json_parse(&json, network, strlen(network), "test"));
    expect_ok(nn_spec_parse(&s->spec, json, "test"));
    cm_json_close(&json);
    expect_ok(nn_layout_open(&s->layout, s->spec));
    fill_samples(s);
    s->cfg = (struct tr_engine_config){.spec = s->spec,
                                       .layout = s->layout,
                                       .model = &s->model,
                                       .train = &s->train,
                                       .allreduce = &s->allreduce,
                                       .group = s->group,
                                       .nlanes = 2,
                                       .samples = {.n = STEPS_IMAGES,
                                                   .nrows = STEPS_IMAGES,
                                                   .images = s->images,
                                                   .labels = s->labels,
                                                   .id = s->id},
                                       .device = device};
    return s;
}

cm_status steps_start(struct steps *s)
{
    CM_TRY(tr_engine_open(&s->engine, &s->cfg));
    CM_TRY(nn_init_weights(tr_engine_weights(s->engine), s->layout, s->spec, 3, s->images,
                           STEPS_IMAGES));
    return tr_engine_prepare(s->engine);
}

struct steps *steps_open(struct nn_device *device, const char *const *sets)
{
    struct steps *s = steps_prepare(device, sets);
    expect_ok(steps_start(s));
    return s;
}

void steps_close(struct steps **s)
{
    tr_engine_close(&(*s)->engine);
    nn_layout_close(&(*s)->layout);
    nn_spec_close(&(*s)->spec);
    ar_group_close(&(*s)->group);
    cm_config_close(&(*s)->file);
    cm_free(s);
}

struct tr_outcome steps_run(struct steps *s, int64_t from, int64_t to)
{
    struct tr_outcome outcome = {0};
    int ahead = tr_engine_ahead(s->engine);
    for (int64_t step = from, next = from; step < to; step++) {
        for (; next < to && tr_engine_begun(s->engine) < ahead; next++)
            tr_engine_begin(s->engine, next, s->train.lr, 0);
        expect_ok(tr_engine_end(s->engine, &outcome));
    }
    assert_int_equal(tr_engine_begun(s->engine), 0);
    return outcome;
}

bool steps_same(struct steps *a, struct steps *b)
{
    struct tr_optimizer *x = tr_engine_optimizer(a->engine), *y = tr_engine_optimizer(b->engine);
    expect_ok(tr_engine_fetch(a->engine));
    expect_ok(tr_engine_fetch(b->engine));
    bool same = memcmp(tr_engine_weights(a->engine), tr_engine_weights(b->engine),
                       a->layout->ntotal * sizeof(float)) == 0;
    for (int i = 0; i < tr_optimizer_nslots(x); i++)
        same = same && memcmp(tr_optimizer_slot(x, i), tr_optimizer_slot(y, i),
                              a->layout->nparam * sizeof(float)) == 0;
    return same;
}

double steps_distance(struct steps *a, struct steps *b, const char **where)
{
    double worst = 0;
    *where = "none";
    expect_ok(tr_engine_fetch(a->engine));
    expect_ok(tr_engine_fetch(b->engine));
    for (size_t t = 0; t < a->layout->ntensors; t++) {
        const struct nn_tensor *tensor = &a->layout->tensors[t];
        const float *x = tr_engine_weights(a->engine) + tensor->offset;
        const float *y = tr_engine_weights(b->engine) + tensor->offset;
        double largest = 1e-3, difference = 0;
        for (size_t i = 0; i < tensor->n; i++) {
            largest = fmax(largest, fabs((double)x[i]));
            difference = fmax(difference, fabs((double)x[i] - (double)y[i]));
        }
        if (!(difference / largest <= worst)) { /* NaN too */
            worst = difference / largest;
            *where = tensor->name;
        }
    }
    return worst;
}

/* ---- against the CPU ---- */

static const char *const fp32[] = {"train.batch=16",       "train.shards=8",
                                   "train.lr=0.05",        "train.flip=alternate",
                                   "train.crop_pad=1",     "train.cutout=2",
                                   "train.clip_norm=1.5",  "train.label_smoothing=0.1",
                                   "model.precision=fp32", ""};

void test_losses_and_weights_are_the_cpus(void **state)
{
    struct steps *cpu = steps_open(NULL, fp32), *gpu = steps_open(*state, fp32);
    const char *where;
    double worst = 0;
    for (int64_t step = 0; step < 9; step++) { /* three epochs; three steps of two sizes each */
        struct tr_outcome want = steps_run(cpu, step, step + 1);
        struct tr_outcome got = steps_run(gpu, step, step + 1);
        double error = fabs(got.loss - want.loss) / want.loss;
        worst = fmax(worst, error);
        if (!(error < 1e-4) || got.count != want.count || got.correct != want.correct ||
            !(fabs(got.grad_norm - want.grad_norm) < 1e-3 * want.grad_norm))
            fail_msg("step %lld: loss %.9g norm %.6g of %lld, %lld right; the CPU's %.9g %.6g "
                     "%lld, %lld",
                     (long long)step, got.loss, got.grad_norm, (long long)got.count,
                     (long long)got.correct, want.loss, want.grad_norm, (long long)want.count,
                     (long long)want.correct);
    }
    double distance = steps_distance(cpu, gpu, &where);
    printf("losses within %.2g of the CPU's, weights after 9 steps within %.2g (%s)\n", worst,
           distance, where);
    /* fp32 sums of up to 576 products, through 9 steps of a network of 3 layers */
    assert_true(distance < 1e-3);
    steps_close(&cpu);
    steps_close(&gpu);
}

/* From one state and one gradient the update's bits are the CPU's (test_device_step); here: every
 * optimiser's state and groups reach the device. */
void test_updates_are_the_cpus(void **state)
{
    static const char usual[] = "train.groups=[{\"match\": \"*.bias\", \"lr_scale\": 3}, "
                                "{\"match\": \"conv1.weight\", \"until\": 2}]";
    static const char muon[] = "train.groups=[{\"match\": \"conv1.weight\", \"muon\": true, "
                               "\"momentum\": 0.6, \"until\": 2}, {\"match\": \"conv*.weight\", "
                               "\"muon\": true}, {\"match\": \"*.bias\", \"fade\": true, "
                               "\"until\": 3}]";
    static const char *const optimizers[] = {"sgd", "adam", "rmsprop", "adagrad", "muon"};
    for (int i = 0; i < 5; i++) {
        const char *groups = i < 4 ? usual : muon;
        char optimizer[64];
        snprintf(optimizer, sizeof optimizer, "train.optimizer=%s", optimizers[i]);
        const char *const sets[] = {optimizer,
                                    "train.batch=41",
                                    "train.shards=4",
                                    "train.lr=1e-3",
                                    "train.weight_decay=0.01",
                                    "model.precision=fp32",
                                    "train.eps=0.1", /* a gradient near 0 is not blown up */
                                    groups,
                                    ""};
        struct steps *cpu = steps_open(NULL, sets), *gpu = steps_open(*state, sets);
        const char *where;
        steps_run(cpu, 0, 4);
        steps_run(gpu, 0, 4);
        double distance = steps_distance(cpu, gpu, &where);
        if (!(distance < 1e-4))
            fail_msg("%s: %s differs by %g", optimizers[i], where, distance);
        for (int k = 0; k < tr_optimizer_nslots(tr_engine_optimizer(cpu->engine)); k++) {
            const float *x = tr_optimizer_slot(tr_engine_optimizer(cpu->engine), k);
            const float *y = tr_optimizer_slot(tr_engine_optimizer(gpu->engine), k);
            for (size_t j = 0; j < cpu->layout->nparam; j++)
                assert_true(fabs((double)x[j] - (double)y[j]) < 1e-4 + 1e-3 * fabs((double)x[j]));
        }
        steps_close(&cpu);
        steps_close(&gpu);
    }
}

/* Its arithmetic is test_device_step's; here: weights and average go there and come back, and the
 * steps after it see them. */
void test_look_aheads_are_the_cpus(void **state)
{
    static const char *const sets[] = {"train.batch=41",       "train.shards=4",
                                       "train.lr=0.01",        "train.average_decay=0.9",
                                       "model.precision=fp32", ""};
    struct steps *cpu = steps_open(NULL, sets), *gpu = steps_open(*state, sets);
    struct steps *both[] = {cpu, gpu};
    const char *where;
    size_t n = cpu->layout->ntotal;
    for (int i = 0; i < 2; i++) {
        float *average = tr_engine_average(both[i]->engine);
        for (size_t k = 0; k < n; k++)
            average[k] = 0.5f * tr_engine_weights(both[i]->engine)[k];
        expect_ok(tr_engine_prepare(both[i]->engine));
        steps_run(both[i], 0, 2);
        expect_ok(tr_engine_look_ahead(both[i]->engine, 0.25));
        steps_run(both[i], 2, 4);
        expect_ok(tr_engine_fetch(both[i]->engine));
    }
    double distance = steps_distance(cpu, gpu, &where);
    if (!(distance < 1e-4))
        fail_msg("%s differs by %g", where, distance);
    for (size_t k = 0; k < n; k++)
        assert_true(fabs((double)tr_engine_average(cpu->engine)[k] -
                         (double)tr_engine_average(gpu->engine)[k]) < 1e-4);
    expect_ok(tr_engine_look_ahead(gpu->engine, 1)); /* the weights become the average */
    expect_ok(tr_engine_fetch(gpu->engine));
    assert_memory_equal(tr_engine_weights(gpu->engine), tr_engine_average(gpu->engine),
                        n * sizeof(float));
    steps_close(&cpu);
    steps_close(&gpu);
}

/* ---- against itself ---- */

static struct tr_score score_of(struct tr_evaluator *e, const struct steps *s, const float *weights)
{
    struct tr_score score;
    expect_ok(tr_evaluate(e, weights, s->images, s->labels, NULL, STEPS_IMAGES, NULL, &score));
    return score;
}

/* Without a fetch, whatever the host's copy is. */
void test_weights_are_scored_in_place(void **state)
{
    static const char *const sets[] = {"train.batch=41", "train.shards=4", "train.lr=0.01",
                                       "train.average_decay=0.9", ""};
    struct steps *s = steps_open(*state, sets);
    const struct tr_evaluator_config cfg = {.spec = s->spec,
                                            .layout = s->layout,
                                            .backend = nn_device_backend(*state),
                                            .precision = (enum nn_precision)s->model.precision,
                                            .group = s->group,
                                            .nlanes = 2,
                                            .device = *state};
    struct tr_evaluator *e;
    expect_ok(tr_evaluator_open(&e, &cfg));
    steps_run(s, 0, 2);
    expect_ok(tr_engine_look_ahead(s->engine, 0.25));
    for (size_t k = 0; k < s->layout->ntotal; k++)
        tr_engine_weights(s->engine)[k] = NAN;
    struct tr_score got = score_of(e, s, tr_engine_weights_in_place(s->engine));
    expect_ok(tr_engine_fetch(s->engine));
    struct tr_score want = score_of(e, s, tr_engine_weights(s->engine));
    assert_true(isfinite(got.loss) && got.loss > 0);
    assert_memory_equal(&got.loss, &want.loss, sizeof got.loss);
    tr_evaluator_close(&e);
    steps_close(&s);
}

void test_graphs_change_no_bit(void **state)
{
    static const char *const precisions[] = {"model.precision=fp32", "model.precision=bf16",
                                             "model.precision=fp16"};
    for (int i = 0; i < 3; i++) {
        const char *const sets[] = {"train.batch=16",          "train.shards=4", precisions[i],
                                    "allreduce.compress=true", "train.lr=0.05",  ""};
        struct steps *plain = steps_prepare(*state, sets), *graphs = steps_open(*state, sets);
        plain->cfg.no_graphs = true;
        expect_ok(steps_start(plain));
        for (int64_t step = 0; step < 12; step++) {
            struct tr_outcome a = steps_run(plain, step, step + 1);
            struct tr_outcome b = steps_run(graphs, step, step + 1);
            assert_memory_equal(&a.loss, &b.loss, sizeof a.loss);
            assert_int_equal(a.count, step % 3 == 2 ? 9 : 16);
            assert_int_equal(a.count, b.count);
        }
        assert_int_equal(tr_engine_graphs(graphs->engine), TR_GRAPHS_ON); /* none was given up */
        assert_true(steps_same(plain, graphs));
        steps_close(&plain);
        steps_close(&graphs);
    }
}

/* Against an engine that waits for each step: enqueued and captured, whole epochs and fp16's scale
 * that is far too large, so that steps are left out while the next one is under way. */
void test_steps_ahead_change_no_bit(void **state)
{
    static const char *const precisions[] = {"model.precision=fp32", "model.precision=fp16"};
    for (int i = 0; i < 4; i++) {
        const char *const sets[] = {"train.batch=16", "train.shards=4", precisions[i / 2],
                                    "train.lr=0.05",  "model.ahead=2",  ""};
        const char *const waiting[] = {"train.batch=16", "train.shards=4", precisions[i / 2],
                                       "train.lr=0.05",  "model.ahead=1",  ""};
        struct nn_step_state scaling = {.loss_scale = i / 2 ? NN_SCALE_MOST : 0};
        struct steps *both[2] = {steps_prepare(*state, waiting), steps_prepare(*state, sets)};
        struct tr_outcome end[2];
        for (int k = 0; k < 2; k++) {
            both[k]->cfg.no_graphs = i % 2;
            expect_ok(steps_start(both[k]));
            assert_int_equal(tr_engine_ahead(both[k]->engine), 1 + k);
            tr_engine_set_scaling(both[k]->engine, &scaling);
            expect_ok(tr_engine_prepare(both[k]->engine));
            steps_run(both[k], 0, 5);
            end[k] = steps_run(both[k], 5, 31);
        }
        assert_memory_equal(&end[0].loss, &end[1].loss, sizeof end[0].loss);
        assert_memory_equal(&end[0].scaling, &end[1].scaling, sizeof end[0].scaling);
        assert_true((end[0].scaling.skipped > 0) == (i / 2 == 1));
        assert_true(steps_same(both[0], both[1]));
        steps_close(&both[0]);
        steps_close(&both[1]);
    }
}

/* Bright images in step 2, in all others grey ones. */
static void one_bright_step(void *ctx, int64_t step, uint32_t first, uint32_t n, uint32_t *rows)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (first + i) % (STEPS_IMAGES / 2) + (step == 2 ? 0 : STEPS_IMAGES / 2);
}

/* A first layer so large that a batch's variance overflows, if its images are bright: the step
 * behind has finite gradients and statistics where the bad ones were. */
void test_what_stopped_is_named_with_a_step_behind_it(void **state)
{
    static const char *const precisions[] = {"model.precision=fp32", "model.precision=bf16"};
    for (int i = 0; i < 2; i++) {
        const char *const sets[] = {"train.batch=16", "train.shards=4", precisions[i],
                                    "train.lr=1e-3", ""};
        struct steps *s = steps_prepare(*state, sets), *twin = steps_prepare(*state, sets);
        struct steps *both[2] = {s, twin};
        struct tr_outcome outcome;
        for (int k = 0; k < 2; k++) {
            uint8_t *grey = both[k]->images + STEPS_IMAGES / 2 * PIXELS;
            for (size_t p = 0; p < sizeof s->images - STEPS_IMAGES / 2 * PIXELS; p++)
                grey[p] = (uint8_t)(127 + grey[p] % 2);
            both[k]->cfg.draw = one_bright_step;
            expect_ok(steps_start(both[k]));
            const struct nn_tensor *t = nn_layout_find(both[k]->layout, "conv1.weight");
            for (size_t j = 0; j < t->n; j++)
                tr_engine_weights(both[k]->engine)[t->offset + j] *= 1e20f;
            expect_ok(tr_engine_prepare(both[k]->engine));
            steps_run(both[k], 0, 2);
        }
        tr_engine_begin(s->engine, 2, 1e-3, 0);
        tr_engine_begin(s->engine, 3, 1e-3, 0);
        expect_fault(CM_ENUMERIC, "batch statistic that is not finite: norm1.running_var",
                     tr_engine_end(s->engine, &outcome));
        assert_non_null(strstr(cm_error_text(), "step 2"));
        assert_int_equal(tr_engine_begun(s->engine), 0);
        assert_true(steps_same(s, twin));
        expect_ok(tr_engine_prepare(s->engine));
        expect_ok(tr_engine_prepare(twin->engine));
        steps_run(s, 3, 6);
        steps_run(twin, 3, 6);
        assert_true(steps_same(s, twin));
        steps_close(&s);
        steps_close(&twin);
    }
}

/* What a version would hold goes from one engine into another, in the middle of an epoch. */
void test_reruns_and_resumes_change_no_bit(void **state)
{
    static const char *const sets[] = {"train.batch=16",       "train.shards=4",
                                       "model.precision=fp16", "train.optimizer=adam",
                                       "train.lr=1e-3",        ""};
    struct steps *whole = steps_open(*state, sets), *first = steps_open(*state, sets);
    struct steps *second = steps_open(*state, sets);
    struct tr_outcome want = steps_run(whole, 0, 8), end;
    struct tr_outcome at = steps_run(first, 0, 5);
    expect_ok(tr_engine_fetch(first->engine));
    struct tr_optimizer *from = tr_engine_optimizer(first->engine);
    struct tr_optimizer *to = tr_engine_optimizer(second->engine);
    memcpy(tr_engine_weights(second->engine), tr_engine_weights(first->engine),
           first->layout->ntotal * sizeof(float));
    for (int i = 0; i < tr_optimizer_nslots(from); i++)
        memcpy(tr_optimizer_slot(to, i), tr_optimizer_slot(from, i),
               first->layout->nparam * sizeof(float));
    tr_engine_set_scaling(second->engine, &at.scaling);
    expect_ok(tr_engine_prepare(second->engine));
    end = steps_run(second, 5, 8);
    assert_memory_equal(&end.scaling, &want.scaling, sizeof want.scaling);
    assert_true(steps_same(whole, second));
    steps_run(first, 5, 8);
    assert_true(steps_same(whole, first));
    steps_close(&whole);
    steps_close(&first);
    steps_close(&second);
}

/* A scale far too large: steps are left out until it fits; then it counts clean steps, and grows.
 */
void test_fp16_skips_and_grows(void **state)
{
    static const char *const sets[] = {"train.batch=41",       "train.shards=4",
                                       "model.precision=fp16", "train.reduction=sum",
                                       "train.lr=1e-3",        ""};
    struct steps *s = steps_open(*state, sets), *start = steps_open(*state, sets);
    struct nn_step_state scaling = {.loss_scale = NN_SCALE_MOST};
    struct tr_outcome outcome;
    tr_engine_set_scaling(s->engine, &scaling);
    expect_ok(tr_engine_prepare(s->engine));
    outcome = steps_run(s, 0, 1);
    assert_int_equal(outcome.scaling.skipped, 1);
    assert_true(outcome.scaling.loss_scale == NN_SCALE_MOST / 2);
    assert_true(isfinite(outcome.loss));
    assert_true(steps_same(s, start)); /* statistics too */
    int64_t step = 1;
    while (outcome.scaling.clean == 0 && step < 30)
        outcome = steps_run(s, step, step + 1), step++;
    assert_int_equal(outcome.scaling.clean, 1);
    assert_false(steps_same(s, start));
    scaling = outcome.scaling;
    scaling.loss_scale = 64;
    scaling.clean = NN_SCALE_GROWTH - 1;
    tr_engine_set_scaling(s->engine, &scaling);
    expect_ok(tr_engine_prepare(s->engine));
    outcome = steps_run(s, step, step + 1);
    assert_true(outcome.scaling.loss_scale == 128);
    assert_int_equal(outcome.scaling.clean, 0);
    steps_close(&s);
    steps_close(&start);
}

void test_a_bad_weight_is_named(void **state)
{
    static const char *const precisions[] = {"model.precision=fp32", "model.precision=fp16"};
    for (int i = 0; i < 2; i++) {
        const char *const sets[] = {"train.batch=16", "train.shards=4", precisions[i], ""};
        struct steps *s = steps_open(*state, sets), *twin = steps_open(*state, sets);
        struct tr_outcome outcome;
        steps_run(s, 0, 2);
        steps_run(twin, 0, 2);
        expect_ok(tr_engine_fetch(s->engine));
        float *weight =
            tr_engine_weights(s->engine) + nn_layout_find(s->layout, "fc.weight")->offset + 3;
        float good = *weight;
        *weight = (float)NAN;
        expect_ok(tr_engine_prepare(s->engine));
        for (int64_t step = 2; step < 4; step++) { /* plain, then captured or stopped */
            expect_fault(CM_ENUMERIC, "weight that is not finite: fc.weight",
                         tr_engine_step(s->engine, step, 0.1, 0, &outcome));
            assert_true(isnan(outcome.loss));
        }
        *weight = good; /* all else is as it was before the steps */
        struct nn_step_state scaling = steps_run(twin, 2, 2).scaling;
        tr_engine_set_scaling(s->engine, &scaling);
        tr_engine_set_scaling(twin->engine, &scaling);
        expect_ok(tr_engine_prepare(s->engine));
        expect_ok(tr_engine_fetch(twin->engine));
        expect_ok(tr_engine_prepare(twin->engine));
        steps_run(s, 2, 4);
        steps_run(twin, 2, 4);
        assert_true(steps_same(s, twin));
        steps_close(&s);
        steps_close(&twin);
    }
}

/* One shard for the rank, whatever train.shards says: one lane, one tree node; the same bits again,
 * captured or not. */
void test_fast_is_the_cpus(void **state)
{
    static const char *const sets[] = {"train.batch=16",
                                       "train.shards=8",
                                       "train.lr=0.05",
                                       "allreduce.order=fast",
                                       "model.precision=fp32",
                                       "model.engine_search_s=0",
                                       ""};
    struct steps *cpu = steps_open(NULL, sets), *gpu = steps_open(*state, sets);
    struct steps *plain = steps_prepare(*state, sets);
    const char *where;
    plain->cfg.no_graphs = true;
    expect_ok(steps_start(plain));
    assert_int_equal(tr_engine_nlanes(gpu->engine), 1);
    struct tr_outcome want = steps_run(cpu, 0, 9), got = steps_run(gpu, 0, 9);
    steps_run(plain, 0, 9);
    double distance = steps_distance(cpu, gpu, &where);
    printf("fast: loss %.9g, the CPU's %.9g; weights within %.2g (%s)\n", got.loss, want.loss,
           distance, where);
    assert_true(fabs(got.loss - want.loss) < 1e-3 * want.loss && distance < 1e-3);
    assert_true(steps_same(gpu, plain));
    steps_close(&cpu);
    steps_close(&gpu);
    steps_close(&plain);
}

/* Draws what the epoch's order would. */
static void mirror(void *ctx, int64_t step, uint32_t first, uint32_t n, uint32_t *rows)
{
    const struct steps *s = ctx;
    const struct tr_order *order = tr_engine_order(s->engine);
    uint32_t epoch = (uint32_t)(step / tr_order_steps_per_epoch(order));
    for (uint32_t i = 0; i < n; i++)
        rows[i] = s->id[tr_order_sample(order, epoch, first + i)];
}

static void too_far(void *ctx, int64_t step, uint32_t first, uint32_t n, uint32_t *rows)
{
    mirror(ctx, step, first, n, rows);
    if (n > 0)
        rows[n - 1] = STEPS_IMAGES;
}

void test_drawn_samples_are_the_callers(void **state)
{
    static const char *const sets[] = {"train.batch=16",    "train.shards=8",
                                       "train.flip=random", "model.precision=fp32",
                                       "train.lr=0.05",     ""};
    struct steps *usual = steps_open(*state, sets), *drawn = steps_prepare(*state, sets);
    struct tr_outcome outcome;
    drawn->cfg.draw = mirror;
    drawn->cfg.draw_ctx = drawn;
    expect_ok(steps_start(drawn));
    steps_run(usual, 0, 7);
    steps_run(drawn, 0, 7);
    assert_true(steps_same(usual, drawn));
    tr_engine_close(&drawn->engine);
    drawn->cfg.draw = too_far;
    expect_ok(steps_start(drawn));
    expect_fault(CM_EINVAL, "image 41 of 41", tr_engine_step(drawn->engine, 0, 0.1, 0, &outcome));
    steps_close(&usual);
    steps_close(&drawn);
}
