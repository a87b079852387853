#include "allreduce/phases.h"

#include "tests/unit/expect.h"

#define MS 1000000

static void test_nothing_known(void **state)
{
    (void)state;
    struct ar_phases p = {0};
    assert_int_equal(ar_phases_median_ns(&p, "step"), 0);
    assert_int_equal(ar_phases_late_ms(&p, "step", 700), 700);
    ar_phases_enter(&p, "step", 5 * MS); /* not over yet */
    assert_int_equal(ar_phases_median_ns(&p, "step"), 0);
}

static void test_the_median_of_the_newest(void **state)
{
    (void)state;
    struct ar_phases p = {0};
    int64_t now = 0;
    const int64_t lengths[] = {3, 900, 1, 2, 4}; /* one outlier */
    for (size_t i = 0; i < 5; i++) {
        ar_phases_enter(&p, "step", now);
        now += lengths[i] * MS;
    }
    ar_phases_enter(&p, "evaluate", now);
    assert_int_equal(ar_phases_median_ns(&p, "step"), 3 * MS);
    for (int i = 0; i < AR_PHASE_VISITS; i++) {
        ar_phases_enter(&p, "step", now);
        now += 10 * MS;
    }
    ar_phases_enter(&p, "step", now);
    assert_int_equal(ar_phases_median_ns(&p, "step"), 10 * MS); /* the old ones are forgotten */
    assert_int_equal(ar_phases_median_ns(&p, "evaluate"), 0 * MS);
}

static void test_late_is_five_medians_or_the_floor(void **state)
{
    (void)state;
    struct ar_phases p = {0};
    ar_phases_enter(&p, "checkpoint", 0);
    ar_phases_enter(&p, "step", (int64_t)4000 * MS);
    assert_int_equal(ar_phases_late_ms(&p, "checkpoint", 10000), 20000);
    assert_int_equal(ar_phases_late_ms(&p, "checkpoint", 30000), 30000);
    assert_int_equal(ar_phases_late_ms(&p, "step", 10000), 10000);
}

static void test_more_kinds_than_room(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    struct ar_phases p = {0};
    for (int64_t i = 0; i < 10; i++)
        ar_phases_enter(&p, names[i], i * MS);
    assert_int_equal(ar_phases_median_ns(&p, "h"), MS);
    assert_int_equal(ar_phases_median_ns(&p, "i"), 0);
    assert_int_equal(ar_phases_late_ms(&p, "i", 10), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_known),
        cmocka_unit_test(test_the_median_of_the_newest),
        cmocka_unit_test(test_late_is_five_medians_or_the_floor),
        cmocka_unit_test(test_more_kinds_than_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
