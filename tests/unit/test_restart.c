/* The restart policy: verdicts, the doubling of waits and its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "launcher/restart.h"

static const struct la_backoff backoff = {.initial_ms = 100, .max_ms = 1000, .healthy_ms = 5000};

static struct la_restart decide(bool once, int exit_code, int64_t ms, int failures_in_a_row,
                                int64_t restarts_left)
{
    const struct la_life life = {
        .once = once, .exit_code = exit_code, .ms = ms, .failures_in_a_row = failures_in_a_row};
    return la_restart_decide(&backoff, &life, restarts_left);
}

static void test_once_is_done(void **state)
{
    (void)state;
    assert_int_equal(decide(true, 0, 10, 0, 3).verdict, LA_DONE);
    assert_int_equal(decide(true, 75, 10, 0, 3).verdict, LA_DONE);
    assert_int_equal(decide(false, 0, 10, 0, -1).verdict, LA_AGAIN);
    assert_int_equal(decide(false, 75, 10, 0, -1).verdict, LA_AGAIN);
}

static void test_failures(void **state)
{
    (void)state;
    assert_int_equal(decide(true, 1, 10, 0, 0).verdict, LA_FAILED);
    assert_int_equal(decide(true, 137, 10, 0, 1).verdict, LA_AGAIN);
    assert_int_equal(decide(false, LA_EXIT_NOT_RUN, 10, 0, -1).verdict, LA_AGAIN);
    static const int final[] = {LA_EXIT_USAGE, LA_EXIT_UNFIT, LA_EXIT_ABSENT};
    for (size_t i = 0; i < sizeof final / sizeof *final; i++) {
        assert_int_equal(decide(true, final[i], 10, 0, 9).verdict, LA_FAILED);
        assert_int_equal(decide(false, final[i], 10, 0, -1).verdict, LA_FAILED);
    }
}

static void test_waits_double_up_to_the_longest(void **state)
{
    (void)state;
    const int64_t wanted[] = {100, 200, 400, 800, 1000, 1000};
    int row = 0;
    for (int i = 0; i < 6; i++) {
        struct la_restart next = decide(false, 1, 10, row, -1);
        assert_int_equal(next.delay_ms, wanted[i]);
        row = next.failures_in_a_row;
        assert_int_equal(row, i + 1);
    }
    struct la_restart late = decide(false, 1, 10, 2000000000, -1);
    assert_int_equal(late.delay_ms, 1000);
}

static void test_a_healthy_life_ends_the_row(void **state)
{
    (void)state;
    struct la_restart next = decide(false, 1, 5000, 7, -1);
    assert_int_equal(next.delay_ms, 100);
    assert_int_equal(next.failures_in_a_row, 1);
    assert_int_equal(decide(false, 1, 4999, 7, -1).failures_in_a_row, 8);
}

/* A disk or GPU that is away for a minute, under a role that has run for days. */
static void test_what_has_worked_is_tried_again(void **state)
{
    (void)state;
    struct la_restart well = decide(false, 137, 5000, 0, -1);
    assert_true(well.has_worked);
    struct la_life life = {.exit_code = LA_EXIT_UNFIT, .ms = 10, .has_worked = well.has_worked};
    for (int i = 1; i <= 5; i++) {
        struct la_restart next = la_restart_decide(&backoff, &life, -1);
        assert_int_equal(next.verdict, LA_AGAIN);
        assert_int_equal(next.failures_in_a_row, i);
        assert_true(next.has_worked);
        life.failures_in_a_row = next.failures_in_a_row;
    }
    assert_int_equal(la_restart_decide(&backoff, &life, 0).verdict, LA_FAILED);
    assert_false(decide(false, 1, 4999, 0, -1).has_worked);
    /* Long, but it was the search that ended in this. */
    assert_int_equal(decide(false, LA_EXIT_UNFIT, 5000, 0, -1).verdict, LA_FAILED);
}

static void test_exit_codes_as_shells_number_them(void **state)
{
    (void)state;
    assert_int_equal(la_exit_code(3 << 8), 3);
    assert_int_equal(la_exit_code(9), 137);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_is_done),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_waits_double_up_to_the_longest),
        cmocka_unit_test(test_a_healthy_life_ends_the_row),
        cmocka_unit_test(test_what_has_worked_is_tried_again),
        cmocka_unit_test(test_exit_codes_as_shells_number_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
