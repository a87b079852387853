/* Optimisers against PyTorch's formulas, worked in double; groups; ranges cut anywhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/optimizer.h"

#define N 37

/* Two tensors: a.weight at 0 … 31, a.bias at 32 … 36. */
static struct nn_tensor tensors[] = {
    {.name = "a.weight",
     .role = NN_WEIGHT,
     .trained = true,
     .ndim = 4,
     .dim = {4, 2, 2, 2},
     .offset = 0,
     .n = 32},
    {.name = "a.bias", .role = NN_BIAS, .trained = true, .offset = 32, .n = 5},
};
static const struct nn_layout layout = {
    .ntensors = 2, .tensors = tensors, .nparam = N, .ntotal = N};

static double weight_at(int i)
{
    return 0.5 - 0.03 * i;
}

static double gradient_at(int i, int step)
{
    return sin(1 + i * 0.7 + step);
}

struct model {
    double w[N], first[N], second[N];
};

/* One step of PyTorch's algorithms in double. */
static void reference_step(const struct tr_train_config *c, struct model *m, int step)
{
    for (int i = 0; i < N; i++) {
        double g = gradient_at(i, step), w = m->w[i], u = g;
        g += c->l1 * ((w > 0) - (w < 0));
        if (c->decay == TR_DECAY_L2)
            g += c->weight_decay * w;
        else
            w -= c->lr * c->weight_decay * w;
        switch ((enum tr_optimizer_kind)c->optimizer) {
        case TR_SGD:
            m->first[i] = c->momentum * m->first[i] + g;
            u = c->nesterov ? g + c->momentum * m->first[i] : m->first[i];
            break;
        case TR_ADAM:
            m->first[i] = c->beta1 * m->first[i] + (1 - c->beta1) * g;
            m->second[i] = c->beta2 * m->second[i] + (1 - c->beta2) * g * g;
            u = m->first[i] / (1 - pow(c->beta1, step + 1)) /
                (sqrt(m->second[i] / (1 - pow(c->beta2, step + 1))) + c->eps);
            break;
        case TR_RMSPROP:
            m->first[i] = c->alpha * m->first[i] + (1 - c->alpha) * g * g;
            u = g / (sqrt(m->first[i]) + c->eps);
            m->second[i] = c->momentum * m->second[i] + u;
            u = c->momentum > 0 ? m->second[i] : u;
            break;
        case TR_ADAGRAD:
            m->first[i] += g * g;
            u = g / (sqrt(m->first[i]) + c->eps);
            break;
        case TR_MUON: /* test_muon.c has its own */
            fail();
        }
        m->w[i] = w - c->lr * u;
    }
}

static void run_steps(const struct tr_train_config *c, float *w, const size_t *cuts, size_t ncuts)
{
    struct tr_optimizer *o;
    assert_int_equal(tr_optimizer_open(&o, c, &layout), CM_OK);
    assert_int_equal(tr_optimizer_make_room(o), CM_OK);
    for (int step = 0; step < 20; step++) {
        float g[N];
        for (int i = 0; i < N; i++)
            g[i] = (float)gradient_at(i, step);
        struct tr_update u = {.lr = c->lr, .scale = 1, .epoch = step / 10.0, .step = step};
        for (size_t k = 0; k + 1 < ncuts; k++)
            tr_optimizer_apply(o, &u, w, g, cuts[k], cuts[k + 1]);
    }
    tr_optimizer_close(&o);
    assert_null(o);
}

static void compare(struct tr_train_config c)
{
    static const size_t whole[] = {0, N}, pieces[] = {0, 3, 31, 33, N};
    struct model m = {0};
    float w[N], cut[N];
    for (int i = 0; i < N; i++)
        m.w[i] = (double)(w[i] = cut[i] = (float)weight_at(i));
    for (int step = 0; step < 20; step++)
        reference_step(&c, &m, step);
    run_steps(&c, w, whole, 2);
    run_steps(&c, cut, pieces, 5);
    assert_memory_equal(w, cut, sizeof w);
    for (int i = 0; i < N; i++)
        if (fabs((double)w[i] - m.w[i]) > 2e-5 * (1 + fabs(m.w[i])))
            fail_msg("optimizer %d, element %d: %g, expected %g", c.optimizer, i, (double)w[i],
                     m.w[i]);
}

static void formulas_are_pytorchs(void **state)
{
    (void)state;
    const struct tr_train_config base = {.lr = 0.01,
                                         .momentum = 0.9,
                                         .beta1 = 0.9,
                                         .beta2 = 0.999,
                                         .alpha = 0.99,
                                         .eps = 1e-8,
                                         .weight_decay = 0.1};
    for (int kind = TR_SGD; kind <= TR_ADAGRAD; kind++)
        for (int decay = TR_DECAY_L2; decay <= TR_DECAY_DECOUPLED; decay++)
            for (int momentum = 0; momentum < 2; momentum++) {
                struct tr_train_config c = base;
                c.optimizer = kind;
                c.decay = decay;
                c.momentum = momentum ? 0.9 : 0;
                c.l1 = decay ? 0.01 : 0;
                compare(c);
                c.nesterov = momentum && kind == TR_SGD;
                compare(c);
            }
}

static struct cm_json *groups_of(struct tr_train_config *c, const char *text)
{
    struct cm_json *json;
    assert_int_equal(cm_json_parse(&json, text, strlen(text), "groups"), CM_OK);
    c->groups = json;
    return json;
}

static void groups_change_rate_decay_and_end(void **state)
{
    (void)state;
    static const size_t whole[] = {0, N};
    struct tr_train_config c = {.lr = 0.01};
    struct cm_json *json =
        groups_of(&c, "[{\"match\": \"*.bias\", \"lr_scale\": 2, \"until\": 1}]");
    float w[N] = {0};
    run_steps(&c, w, whole, 2);
    double weight = 0, bias = 0;
    for (int step = 0; step < 20; step++) {
        weight -= 0.01 * gradient_at(0, step);
        if (step < 10)
            bias -= 0.02 * gradient_at(32, step);
    }
    assert_true(fabs((double)w[0] - weight) < 1e-6);
    assert_true(fabs((double)w[32] - bias) < 1e-6);
    cm_json_close(&json);
}

static void groups_change_momentum_and_fade(void **state)
{
    (void)state;
    static const size_t whole[] = {0, N};
    struct tr_train_config c = {.lr = 0.01, .momentum = 0.9};
    struct cm_json *json = groups_of(
        &c, "[{\"match\": \"*.bias\", \"momentum\": 0.5, \"until\": 1.5, \"fade\": true}]");
    float w[N] = {0};
    run_steps(&c, w, whole, 2);
    double weight = 0, bias = 0, b = 0, b5 = 0;
    for (int step = 0; step < 20; step++) {
        b = 0.9 * b + gradient_at(0, step);
        weight -= 0.01 * b;
        b5 = 0.5 * b5 + gradient_at(32, step);
        if (step < 15)
            bias -= 0.01 * (1 - step / 15.0) * b5;
    }
    assert_true(fabs((double)w[0] - weight) < 1e-6);
    assert_true(fabs((double)w[32] - bias) < 1e-6);
    cm_json_close(&json);
}

/* Its tensor as model/muon.h says, in whichever range it begins; the other one by sgd. */
static void muon_has_its_tensor_whole(void **state)
{
    (void)state;
    static const size_t whole[] = {0, N}, pieces[] = {0, 3, 31, 33, N};
    struct tr_train_config c = {
        .optimizer = TR_MUON, .lr = 0.01, .momentum = 0.9, .nesterov = true, .l1 = 0.5};
    struct cm_json *json = groups_of(&c, "[{\"match\": \"a.weight\", \"muon\": true, "
                                         "\"lr_scale\": 2, \"momentum\": 0.6, \"until\": 1.5}]");
    const struct nn_muon_matrix matrix = {.rows = 4, .cols = 8};
    const struct nn_coefficients own = {
        .lr = (float)(0.01 * 2), .momentum = 0.6f, .nesterov = true};
    float w[N], cut[N], want[N], alone[N], b[N] = {0}, space[1000];
    assert_true(nn_muon_space(&matrix) <= 1000);
    for (int i = 0; i < N; i++)
        w[i] = cut[i] = want[i] = alone[i] = (float)weight_at(i);
    run_steps(&c, w, whole, 2);
    run_steps(&c, cut, pieces, 5);
    for (int step = 0; step < 15; step++) {
        float g[N];
        for (int i = 0; i < N; i++)
            g[i] = (float)gradient_at(i, step);
        nn_muon_step(&matrix, &own, 1, want, g, b, space);
    }
    c.optimizer = TR_SGD;
    c.groups = NULL;
    run_steps(&c, alone, whole, 2);
    assert_memory_equal(w, cut, sizeof w);
    assert_memory_equal(w, want, 32 * sizeof *w);
    assert_memory_equal(w + 32, alone + 32, 5 * sizeof *w);
    cm_json_close(&json);
}

static void bad_groups_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        int optimizer;
        double momentum;
    } bad[] = {
        {"[{\"match\": \"nothing*\"}]", "\"nothing*\" matches no trained tensor", TR_SGD, 0},
        {"[{\"lr_scale\": 2}]", "train.groups[0]: 'match' is missing", TR_SGD, 0},
        {"[{\"match\": \"*\"}, {\"match\": \"*\", \"lr\": 2}]", "train.groups[1]: unknown key 'lr'",
         TR_SGD, 0},
        {"[3]", "train.groups[0]: must be an object", TR_SGD, 0},
        {"[{\"match\": \"*.weight\", \"muon\": true}]",
         "train.groups[0]: muon needs train.optimizer \"muon\"", TR_ADAM, 0.9},
        {"[{\"match\": \"*\", \"muon\": true}]", "'a.bias' is none", TR_MUON, 0.9},
        {"[{\"match\": \"*.weight\", \"muon\": true, \"weight_decay\": 0.1}]",
         "weight_decay means nothing to muon", TR_MUON, 0.9},
        {"[{\"match\": \"*.weight\", \"muon\": true}]", "needs train.momentum above 0", TR_MUON, 0},
        {"[{\"match\": \"*.weight\"}]", "needs a group that says which tensors", TR_MUON, 0.9},
        {"[]", "needs a group that says which tensors", TR_MUON, 0.9},
        {"[{\"match\": \"*\", \"momentum\": 0.5}]", "with train.momentum above 0", TR_SGD, 0},
        {"[{\"match\": \"*\", \"momentum\": 0.5}]", "momentum is for sgd", TR_ADAM, 0.9},
        {"[{\"match\": \"*\", \"momentum\": 1}]", "momentum 1 is not in", TR_SGD, 0.9},
        {"[{\"match\": \"*\", \"fade\": true}]", "fade needs until", TR_SGD, 0.9},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tr_train_config c = {
            .lr = 0.1, .optimizer = bad[i].optimizer, .momentum = bad[i].momentum};
        struct cm_json *json = groups_of(&c, bad[i].text);
        struct tr_optimizer *o;
        assert_int_equal(tr_optimizer_open(&o, &c, &layout), CM_ECONFIG);
        assert_null(o);
        if (!strstr(cm_error_text(), bad[i].says))
            fail_msg("\"%s\" does not say \"%s\"", cm_error_text(), bad[i].says);
        cm_json_close(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas_are_pytorchs),
        cmocka_unit_test(groups_change_rate_decay_and_end),
        cmocka_unit_test(groups_change_momentum_and_fade),
        cmocka_unit_test(muon_has_its_tensor_whole),
        cmocka_unit_test(bad_groups_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
