/* The gate against numbers worked out by hand and by search. */
#include <math.h>

#include "online/gate.h"
#include "tests/unit/expect.h"

#define assert_near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

static void test_statistic_without_margin_is_mcnemar(void **state)
{
    (void)state;
    /* (b - c) / sqrt(b + c) */
    assert_near(ol_gate_statistic(1000, 9, 4, 0), 5 / sqrt(13), 1e-9);
    assert_near(ol_gate_statistic(1000, 0, 16, 0), -4, 1e-9);
    assert_near(ol_gate_statistic(1000, 0, 0, 0), 0, 0);
}

/* -2 log likelihood of (b, c, n) under p_b = q + m, p_c = q. */
static double cost(double n, double b, double c, double m, double q)
{
    double rest = n - b - c;
    return -(b * log(q + m) + (c > 0 ? c * log(q) : 0) + rest * log(1 - 2 * q - m));
}

/* The closed form's q is the maximum of the likelihood, found here by a finer and finer search. */
static void test_statistic_uses_the_likeliest_q(void **state)
{
    (void)state;
    static const double cases[][4] = {
        {1000, 20, 10, 0.01}, {400, 3, 7, 0.05}, {5000, 120, 90, 0.003}, {268, 5, 1, 0.01}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double n = cases[k][0], b = cases[k][1], c = cases[k][2], m = cases[k][3];
        double lo = 1e-12, hi = (1 - m) / 2 - 1e-12;
        for (int i = 0; i < 300; i++) { /* golden section */
            double x = hi - (hi - lo) * 0.6180339887, y = lo + (hi - lo) * 0.6180339887;
            if (cost(n, b, c, m, x) < cost(n, b, c, m, y))
                hi = y;
            else
                lo = x;
        }
        double want = (b - c - n * m) / sqrt(n * (2 * lo + m * (1 - m)));
        assert_near(ol_gate_statistic((int64_t)n, (int64_t)b, (int64_t)c, m), want, 1e-5);
    }
}

static void test_least_holdout(void **state)
{
    (void)state;
    static const double margins[] = {0.003, 0.01, 0.05, 0.3};
    for (size_t i = 0; i < 4; i++) {
        int64_t n = ol_gate_least_holdout(margins[i]);
        assert_true(ol_gate_statistic(n, 0, 0, margins[i]) <= -OL_GATE_Z);
        assert_true(ol_gate_statistic(n - 1, 0, 0, margins[i]) > -OL_GATE_Z);
    }
    assert_int_equal(ol_gate_least_holdout(0.01), 268);
    assert_int_equal(ol_gate_least_holdout(0), 0);
}

/* How often a candidate that is worse by exactly the margin passes: about 5 %. */
static void test_level(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    int passed = 0, trials = 4000;
    const double p_worse = 0.06, p_better = 0.03;
    for (int t = 0; t < trials; t++) {
        int64_t b = 0, c = 0;
        for (int i = 0; i < 500; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            double u = (double)(x >> 11) * 0x1p-53;
            b += u < p_worse;
            c += u >= p_worse && u < p_worse + p_better;
        }
        passed += ol_gate_statistic(500, b, c, p_worse - p_better) <= -OL_GATE_Z;
    }
    assert_in_range(passed, trials * 35 / 1000, trials * 65 / 1000);
}

/* 1,000 images of 4 classes; the champion is right everywhere. */
#define N 1000
struct world {
    int32_t label[N], champion[N], candidate[N];
    struct ol_gate_case holdout;
    struct ol_gate_limits limits;
    struct ol_gate_verdict v;
};

static void make(struct world *w)
{
    memset(w, 0, sizeof *w);
    for (int i = 0; i < N; i++)
        w->label[i] = w->champion[i] = w->candidate[i] = i % 4;
    w->holdout = (struct ol_gate_case){.n = N,
                                       .nclasses = 5, /* the fifth has no image */
                                       .label = w->label,
                                       .champion = w->champion,
                                       .candidate = w->candidate};
    w->limits = (struct ol_gate_limits){
        .margin = 0.02, .recall_drop = 0.03, .recall_floor = 0, .max_update = 0.5, .min_gain = 0};
    w->v.update = 0.1;
    w->v.feedback_champion = 0.4;
    w->v.feedback_candidate = 0.8;
}

static void lose(struct world *w, int from, int count, int step)
{
    for (int i = 0; i < count; i++)
        w->candidate[from + i * step] = (w->label[from + i * step] + 1) % 4;
}

static void expect_reason(struct world *w, enum ol_gate_reason reason)
{
    ol_gate_judge(&w->v, &w->limits, &w->holdout);
    if (w->v.reason != reason)
        fail_msg("%s, expected %s: %s", ol_gate_reason_name(w->v.reason),
                 ol_gate_reason_name(reason), w->v.text);
    assert_true(w->v.text[0]);
}

static void test_judge(void **state)
{
    (void)state;
    static struct world w;
    make(&w);
    expect_reason(&w, OL_GATE_PASSED);
    assert_int_equal(w.v.worse + w.v.better, 0);

    make(&w); /* a few lost, spread over classes */
    lose(&w, 0, 8, 1);
    expect_reason(&w, OL_GATE_PASSED);
    assert_int_equal(w.v.worse, 8);
    assert_near(w.v.candidate_accuracy, 0.992, 1e-9);

    make(&w); /* 20 lost are just the margin */
    lose(&w, 0, 20, 1);
    expect_reason(&w, OL_GATE_ACCURACY);

    make(&w); /* 9 of 250 of one class: in the margin, not in the class's */
    lose(&w, 2, 9, 4);
    expect_reason(&w, OL_GATE_RECALL);
    assert_int_equal(w.v.worst_class, 2);
    assert_near(w.v.worst_drop, 0.036, 1e-9);

    make(&w);
    w.v.update = 0.6;
    expect_reason(&w, OL_GATE_UPDATE);
    w.v.update = (double)NAN;
    expect_reason(&w, OL_GATE_UPDATE);

    make(&w);
    w.v.feedback_candidate = 0.39;
    expect_reason(&w, OL_GATE_FEEDBACK);
    w.limits.min_gain = -0.05;
    expect_reason(&w, OL_GATE_PASSED);
    w.limits.min_gain = 0.5;
    expect_reason(&w, OL_GATE_FEEDBACK);
}

/* A floor stops what falls below it, not what comes up from below. */
static void test_recall_floor(void **state)
{
    (void)state;
    static struct world w;
    make(&w);
    w.limits.recall_floor = 0.98;
    lose(&w, 1, 6, 4); /* 244 of 250 */
    expect_reason(&w, OL_GATE_RECALL);
    memcpy(w.champion, w.candidate, sizeof w.champion);
    expect_reason(&w, OL_GATE_PASSED);
    w.candidate[1] = w.label[1];
    expect_reason(&w, OL_GATE_PASSED);
}

/* Of a class of few images a fall is chance until it is shown: one or two are not enough. */
static void test_few_images_of_a_class(void **state)
{
    (void)state;
    static struct world w;
    make(&w);
    for (int i = 0; i < 5; i++) /* the fifth class has five images */
        w.label[i * 4] = w.champion[i * 4] = w.candidate[i * 4] = 4;
    w.candidate[0] = w.candidate[4] = 0; /* 40 % of its recall */
    expect_reason(&w, OL_GATE_PASSED);
    w.limits.recall_floor = 0.9;
    expect_reason(&w, OL_GATE_PASSED);
    w.candidate[8] = 0;
    w.limits.recall_floor = 0;
    expect_reason(&w, OL_GATE_RECALL);
    assert_int_equal(w.v.worst_class, 4);
    w.limits.recall_drop = 1;
    w.limits.recall_floor = 0.9;
    expect_reason(&w, OL_GATE_RECALL);
    assert_int_equal(ol_gate_smallest_class(w.label, N, 6), 5);
    assert_int_equal(ol_gate_smallest_class(w.label, 0, 6), 0);
}

/* A thousand champions, each as bad as the margin allows against the one before: the anchor stops
 * them within one margin of where they began. */
static void test_losses_do_not_add_up(void **state)
{
    (void)state;
    static struct world w;
    static int32_t anchor[N];
    int passed = 0;
    make(&w);
    w.limits.recall_drop = 1;
    memcpy(anchor, w.champion, sizeof anchor);
    for (int round = 0; round < 100; round++) {
        lose(&w, round * 8, 8, 1); /* 0.8 %, of a margin of 2 % */
        ol_gate_judge(&w.v, &w.limits, &w.holdout);
        assert_int_equal(w.v.reason, OL_GATE_PASSED);
        struct ol_gate_case against = w.holdout;
        against.champion = anchor;
        ol_gate_judge_anchor(&w.v, &w.limits, &against);
        if (w.v.reason != OL_GATE_PASSED)
            break;
        passed++;
        memcpy(w.champion, w.candidate, sizeof w.champion);
    }
    assert_int_equal(passed, 1);
    assert_int_equal(w.v.reason, OL_GATE_ANCHOR);
    assert_non_null(strstr(w.v.text, "best champion so far"));
}

/* What was refused stays refused for its own reason, and a class may not sink by steps either. */
static void test_anchor_and_recall(void **state)
{
    (void)state;
    static struct world w;
    static int32_t anchor[N];
    make(&w);
    memcpy(anchor, w.champion, sizeof anchor);
    lose(&w, 2, 7, 4); /* 7 of 250 of class 2: less than the 3 % */
    memcpy(w.champion, w.candidate, sizeof w.champion);
    lose(&w, 30, 3, 4); /* 3 more */
    struct ol_gate_case against = w.holdout;
    against.champion = anchor;
    expect_reason(&w, OL_GATE_PASSED);
    ol_gate_judge_anchor(&w.v, &w.limits, &against);
    assert_int_equal(w.v.reason, OL_GATE_ANCHOR);
    assert_non_null(strstr(w.v.text, "class 2"));
    w.v.reason = OL_GATE_UPDATE;
    ol_gate_judge_anchor(&w.v, &w.limits, &against);
    assert_int_equal(w.v.reason, OL_GATE_UPDATE);
}

/* On so many images a candidate without any loss that changes 5 % of the answers just passes. */
static void test_fair_holdout(void **state)
{
    (void)state;
    static const double margins[] = {0.003, 0.01, 0.02};
    for (size_t i = 0; i < 3; i++) {
        int64_t n = ol_gate_fair_holdout(margins[i], 0.05), half = n * 25 / 1000;
        assert_near(ol_gate_statistic(n, half, half, margins[i]), -OL_GATE_Z, 0.15);
        assert_true(n >= ol_gate_least_holdout(margins[i]));
    }
    assert_int_equal(ol_gate_fair_holdout(0.3, 0.05), ol_gate_least_holdout(0.3));
    assert_int_equal(ol_gate_fair_holdout(0, 0.05), 0);
}

static void test_reasons_have_names(void **state)
{
    (void)state;
    for (int r = 0; r < OL_GATE_REASONS; r++) {
        enum ol_gate_reason back;
        assert_true(ol_gate_reason_parse(&back, ol_gate_reason_name((enum ol_gate_reason)r)));
        assert_int_equal(back, r);
    }
    enum ol_gate_reason none;
    assert_false(ol_gate_reason_parse(&none, "maybe"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statistic_without_margin_is_mcnemar),
        cmocka_unit_test(test_statistic_uses_the_likeliest_q),
        cmocka_unit_test(test_least_holdout),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_recall_floor),
        cmocka_unit_test(test_few_images_of_a_class),
        cmocka_unit_test(test_losses_do_not_add_up),
        cmocka_unit_test(test_anchor_and_recall),
        cmocka_unit_test(test_fair_holdout),
        cmocka_unit_test(test_reasons_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
