/* What backward hides of sums over ranks: against numbers worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allreduce/overlap.h"

/* 10 us, a byte per ns, and three in memory. */
static const struct ar_link quick = {"quick", 1e-5, 1e9, 3e9}, slow = {"slow", 1e-5, 1e8, 3e9};

static void assert_us(double seconds, double us)
{
    assert_float_equal((float)(seconds * 1e6), (float)us, 1e-4f);
}

static void test_sums_cost_what_the_formula_says(void **state)
{
    (void)state;
    assert_us(ar_link_seconds(&quick, AR_ORDER_FAST, 4, 4000), 10 + 6);
    assert_us(ar_link_seconds(&quick, AR_ORDER_FIXED, 4, 4000), 20 + 6 + 3);
    assert_us(ar_link_seconds(&quick, AR_ORDER_FAST, 2, 4000), 10 + 4);
    assert_us(ar_link_seconds(&quick, AR_ORDER_FIXED, 8, 0), 20);
    assert_us(ar_link_seconds(&quick, AR_ORDER_FIXED, 1, 4000), 0);
}

/* sqrt(n latency rate), with n = 2^22 floats in 20 us + 9 ns a float (4 ranks, fixed):
 * 96,544 floats. */
static void test_bucket_is_the_best_of_the_formula(void **state)
{
    (void)state;
    size_t nbytes = (size_t)4 << 22, bucket = ar_link_bucket(&quick, AR_ORDER_FIXED, 4, nbytes);
    assert_in_range(bucket, 4 * 96540, 4 * 96548);
    assert_int_equal(ar_link_bucket(&quick, AR_ORDER_FIXED, 4, 4096), 4096);
    assert_int_equal(ar_link_bucket(&quick, AR_ORDER_FIXED, 1, nbytes), nbytes);
}

static const struct ar_piece pieces[] = {
    {4000, 100e-6}, {4000, 110e-6}, {4000, 120e-6}, {400, 200e-6}};

static void test_backward_hides_all_but_the_last(void **state)
{
    (void)state;
    /* 110 … 132, 132 … 148 and 200 … 210.6 us; the totals until 220.6 */
    struct ar_overlap found = ar_overlap(pieces, 4, 8000, &quick, AR_ORDER_FAST, 4);
    assert_int_equal(found.nbuckets, 3);
    assert_us(found.busy_s, 22 + 16 + 10.6 + 10);
    assert_us(found.exposed_s, 10.6 + 10);
    /* 20 + 18 + 9 from 120 on, 20 + 0.6 + 0.3, and the totals */
    found = ar_overlap(pieces, 4, 12000, &quick, AR_ORDER_FIXED, 4);
    assert_int_equal(found.nbuckets, 2);
    assert_us(found.busy_s, 47 + 20.9 + 10);
    assert_us(found.exposed_s, 20.9 + 10);
}

static void test_a_slow_link_is_behind(void **state)
{
    (void)state;
    /* 100 … 170 … 240 … 310 … 326 … 336 us */
    struct ar_overlap found = ar_overlap(pieces, 4, 1, &slow, AR_ORDER_FAST, 4);
    assert_int_equal(found.nbuckets, 4);
    assert_us(found.busy_s, 3 * 70 + 16 + 10);
    assert_us(found.exposed_s, 136);
    found = ar_overlap(pieces + 3, 1, 1, &slow, AR_ORDER_FAST, 4);
    assert_int_equal(found.nbuckets, 1);
    assert_us(found.exposed_s, 16 + 10);
    found = ar_overlap(pieces, 4, 1, &slow, AR_ORDER_FAST, 1);
    assert_us(found.exposed_s, 0);
}

static void test_no_statistics_take_no_time(void **state)
{
    static const struct ar_piece plain[] = {{4000, 100e-6}, {0, 300e-6}};
    (void)state;
    struct ar_overlap found = ar_overlap(plain, 2, 1, &quick, AR_ORDER_FIXED, 4);
    assert_int_equal(found.nbuckets, 1);
    assert_us(found.busy_s, 29 + 10);
    assert_us(found.exposed_s, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_cost_what_the_formula_says),
        cmocka_unit_test(test_bucket_is_the_best_of_the_formula),
        cmocka_unit_test(test_backward_hides_all_but_the_last),
        cmocka_unit_test(test_a_slow_link_is_behind),
        cmocka_unit_test(test_no_statistics_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
