/* Error bits with a known rate, and when the detector speaks. */
#include "common/rng.h"
#include "online/drift.h"
#include "tests/unit/expect.h"

#define DELTA 0.002

/* Observes n bits of this error rate from place `from` of a stream; the first at which a rise was
 * found, or -1. */
static int feed(struct ol_drift *d, uint32_t from, int n, float rate)
{
    int at = -1;
    for (int i = 0; i < n; i++) {
        float u = cm_rng_unit(cm_rng_u32(7, CM_RNG_SYNTHETIC, 0, 0, from + (uint32_t)i));
        if (ol_drift_observe(d, DELTA, u < rate) && at < 0)
            at = i;
    }
    return at;
}

/* The buckets hold what the totals say. */
static void assert_consistent(const struct ol_drift *d)
{
    int64_t n = 0, errors = 0;
    for (int row = 0; row < OL_DRIFT_ROWS; row++) {
        assert_in_range(d->count[row], 0, OL_DRIFT_BUCKETS);
        n += (int64_t)d->count[row] << row;
        for (int i = 0; i < d->count[row]; i++)
            errors += d->sum[row][i];
    }
    assert_int_equal(n, d->n);
    assert_int_equal(errors, d->errors);
}

static void test_a_rise_is_found(void **state)
{
    (void)state;
    struct ol_drift d = {0};
    assert_int_equal(feed(&d, 0, 1000, 0.1f), -1);
    assert_int_equal(d.n, 1000);
    assert_in_range(feed(&d, 1000, 500, 0.5f), 10, 100);
    assert_in_range(d.n, 300, 700); /* little is left of before */
    assert_consistent(&d);
    assert_int_equal(feed(&d, 5000, 2000, 0.5f), -1);
}

static void test_a_small_rise_takes_longer(void **state)
{
    (void)state;
    struct ol_drift d = {0};
    assert_int_equal(feed(&d, 0, 4000, 0.1f), -1);
    assert_in_range(feed(&d, 4000, 4000, 0.2f), 100, 1000);
}

static void test_a_fall_is_none(void **state)
{
    (void)state;
    struct ol_drift d = {0};
    assert_int_equal(feed(&d, 0, 500, 0.5f), -1);
    assert_int_equal(feed(&d, 500, 2000, 0.05f), -1);
    assert_in_range(d.n, 1, 2100); /* but what came before is forgotten */
    assert_consistent(&d);
}

static void test_false_alarms(void **state)
{
    (void)state;
    int alarms = 0;
    for (uint32_t k = 0; k < 200; k++) {
        struct ol_drift d = {0};
        alarms += feed(&d, 10000 + 1000 * k, 1000, 0.1f) >= 0;
    }
    print_message("%d of 200 streams of 1,000 entries were called drifting\n", alarms);
    assert_in_range(alarms, 0, 6);
}

static void test_constant_streams(void **state)
{
    (void)state;
    for (int bit = 0; bit < 2; bit++) {
        struct ol_drift d = {0};
        for (int i = 0; i < 100000; i++)
            assert_false(ol_drift_observe(&d, DELTA, bit));
        assert_int_equal(d.n, 100000);
        assert_consistent(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rise_is_found),  cmocka_unit_test(test_a_small_rise_takes_longer),
        cmocka_unit_test(test_a_fall_is_none),   cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_constant_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
