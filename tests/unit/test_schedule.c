/* Learning-rate schedules against values worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trainer/schedule.h"

static void expect(const struct tr_train_config *cfg, int64_t step, double want)
{
    double got = tr_schedule_factor(cfg, step, 100, 10);
    if (fabs(got - want) > 1e-12)
        fail_msg("schedule %d, step %lld: %.15g, expected %.15g", cfg->schedule, (long long)step,
                 got, want);
}

static void each_schedule_has_its_shape(void **state)
{
    (void)state;
    struct tr_train_config c = {.schedule = TR_CONSTANT};
    expect(&c, 99, 1);

    c = (struct tr_train_config){.schedule = TR_STEP, .gamma = 0.1, .step_epochs = 3};
    expect(&c, 29, 1);
    expect(&c, 30, 0.1);
    expect(&c, 60, pow(0.1, 2));

    c = (struct tr_train_config){.schedule = TR_TIME, .time_decay = 0.5};
    expect(&c, 0, 1);
    expect(&c, 20, 1 / (1 + 0.5 * 2));

    c = (struct tr_train_config){.schedule = TR_EXPONENTIAL, .gamma = 0.9};
    expect(&c, 19, 0.9);
    expect(&c, 20, 0.81);

    c = (struct tr_train_config){.schedule = TR_COSINE, .final_factor = 0.2};
    expect(&c, 0, 1);
    expect(&c, 50, 0.6);
    expect(&c, 100, 0.2);

    c = (struct tr_train_config){.schedule = TR_LINEAR, .final_factor = 0};
    expect(&c, 0, 1);
    expect(&c, 25, 0.75);
}

static void warm_up_comes_first(void **state)
{
    (void)state;
    struct tr_train_config c = {
        .schedule = TR_LINEAR, .warmup = 2, .warmup_from = 0.2, .final_factor = 0.07};
    expect(&c, 0, 0.2);
    expect(&c, 10, 0.6);
    expect(&c, 20, 1);
    expect(&c, 60, 1 - 0.5 * 0.93);
    expect(&c, 100, 0.07);
}

static void plateau_falls_after_patience(void **state)
{
    (void)state;
    const struct tr_train_config c = {.schedule = TR_PLATEAU, .gamma = 0.5, .patience = 2};
    struct tr_plateau p;
    tr_plateau_init(&p);
    const double losses[] = {1.0, 0.9, 0.9, 0.95, 0.91, 0.8};
    const double factors[] = {1, 1, 1, 1, 0.5, 0.5};
    for (size_t i = 0; i < 6; i++) {
        tr_plateau_observe(&p, &c, losses[i]);
        assert_true(p.factor == factors[i]);
    }
    assert_true(p.best == 0.8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_schedule_has_its_shape),
        cmocka_unit_test(warm_up_comes_first),
        cmocka_unit_test(plateau_falls_after_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
