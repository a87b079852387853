#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allreduce/tree.h"

static void test_partners_are_neighbours_first(void **state)
{
    (void)state;
    assert_true(ar_is_power_of_two(1) && ar_is_power_of_two(8));
    assert_false(ar_is_power_of_two(0) || ar_is_power_of_two(3) || ar_is_power_of_two(-4));
    assert_int_equal(ar_tree_levels(1), 0);
    assert_int_equal(ar_tree_levels(8), 3);
    assert_int_equal(ar_tree_partner(2, 0), 3);
    assert_int_equal(ar_tree_partner(2, 1), 0);
    assert_int_equal(ar_tree_partner(2, 2), 6);
}

/* What a rank gives away at a level is what its partner keeps, and at the end the ranks share all
 * of it. */
static void test_ranges_partition(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 100, 1000, 4097, 65536, 1000003};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (int world = 1; world <= 16; world *= 2) {
            int levels = ar_tree_levels(world);
            size_t total = 0;
            for (int r = 0; r < world; r++) {
                for (int l = 0; l < levels; l++) {
                    struct ar_range all = ar_tree_range(sizes[k], r, l);
                    struct ar_range keep = ar_tree_range(sizes[k], r, l + 1);
                    struct ar_range give = ar_tree_range(sizes[k], ar_tree_partner(r, l), l + 1);
                    assert_int_equal(ar_range_count(keep) + ar_range_count(give),
                                     ar_range_count(all));
                    assert_true(keep.end == give.begin || give.end == keep.begin);
                    assert_true(ar_range_count(keep) == 0 || keep.begin % 16 == 0);
                }
                total += ar_range_count(ar_tree_range(sizes[k], r, levels));
            }
            assert_int_equal(total, sizes[k]);
        }
}

/* The drawing in tree.h: after level 0 ranks 0 and 2 hold the first half, after level 1 rank 2 its
 * second quarter. */
static void test_ranges_are_as_drawn(void **state)
{
    (void)state;
    assert_int_equal(ar_tree_range(64, 2, 0).end, 64);
    assert_int_equal(ar_tree_range(64, 2, 1).begin, 0);
    assert_int_equal(ar_tree_range(64, 2, 1).end, 32);
    assert_int_equal(ar_tree_range(64, 2, 2).begin, 16);
    assert_int_equal(ar_tree_range(64, 1, 2).begin, 32);
    assert_int_equal(ar_tree_range(64, 3, 2).begin, 48);
}

static void test_shards_and_samples(void **state)
{
    (void)state;
    assert_int_equal(ar_rank_shards(8, 4, 3).begin, 6);
    assert_int_equal(ar_rank_shards(8, 4, 3).end, 8);
    size_t next = 0;
    for (int s = 0; s < 8; s++) {
        struct ar_range r = ar_shard_samples(13, 8, s);
        assert_int_equal(r.begin, next);
        assert_in_range(ar_range_count(r), 1, 2);
        next = r.end;
    }
    assert_int_equal(next, 13);
    assert_int_equal(ar_range_count(ar_shard_samples(1, 8, 0)), 0); /* empty shards are legal */
}

static void test_buckets_come_from_the_end(void **state)
{
    (void)state;
    static const size_t offset[] = {0, 100, 110, 150, 400, 410};
    struct ar_bucket b[5];
    assert_int_equal(ar_bucket_cut(b, offset, 5, 50), 3);
    assert_int_equal(b[0].range.begin, 150); /* 10, not yet; 260: closed, past the limit */
    assert_int_equal(b[0].range.end, 410);
    assert_int_equal(b[0].first_tensor, 3);
    assert_int_equal(b[1].range.begin, 100);
    assert_int_equal(b[1].first_tensor, 1);
    assert_int_equal(b[2].range.begin, 0);
    assert_int_equal(b[2].range.end, 100);

    assert_int_equal(ar_bucket_cut(b, offset, 5, 1000000), 1); /* all in one */
    assert_int_equal(b[0].range.begin, 0);
    assert_int_equal(ar_bucket_cut(b, offset, 5, 0), 5); /* a tensor each */
    assert_int_equal(ar_bucket_cut(b, offset, 0, 50), 0);
}

static double cost(size_t n, size_t b, double latency_s, double rate)
{
    return (double)n / (double)b * latency_s + (double)b / rate;
}

static void test_bucket_limits_are_the_best(void **state)
{
    (void)state;
    size_t n = 8000000, b = ar_bucket_limit(n, 40e-6, 1e9);
    assert_in_range(b, 565000, 566000);
    assert_true(cost(n, b, 40e-6, 1e9) < cost(n, b / 2, 40e-6, 1e9));
    assert_true(cost(n, b, 40e-6, 1e9) < cost(n, b * 2, 40e-6, 1e9));
    assert_int_equal(ar_bucket_limit(n, 1e-9, 1e6), 16384);
    assert_int_equal(ar_bucket_limit(100, 1e-9, 1e6), 100);
    assert_int_equal(ar_bucket_limit(n, 1, 1e9), n); /* one bucket */
    assert_int_equal(ar_bucket_limit(n, 1e-6, -1), n);
    assert_int_equal(ar_bucket_limit(n, 0.0 / 0.0, 1e9), n);
    assert_int_equal(ar_bucket_limit(n, 1e-6, 1 / 0.0), n);
    assert_int_equal(ar_bucket_limit(0, 1e-6, 1e9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partners_are_neighbours_first),
        cmocka_unit_test(test_ranges_partition),
        cmocka_unit_test(test_ranges_are_as_drawn),
        cmocka_unit_test(test_shards_and_samples),
        cmocka_unit_test(test_buckets_come_from_the_end),
        cmocka_unit_test(test_bucket_limits_are_the_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
