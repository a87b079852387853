/* Sample order and shard arithmetic: every sample once per epoch, whatever the cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/shard.h"

static void every_sample_once_per_epoch(void **state)
{
    (void)state;
    const struct tr_order o = {.seed = 7, .n = 1003, .batch = 100};
    assert_int_equal(tr_order_steps_per_epoch(&o), 11);
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        uint8_t seen[1003] = {0};
        for (int64_t step = epoch * 11; step < (epoch + 1) * 11; step++) {
            struct tr_slice s = tr_order_slice(&o, step);
            assert_int_equal(s.epoch, epoch);
            for (uint32_t i = 0; i < s.n; i++)
                seen[tr_order_sample(&o, epoch, s.first + i)]++;
        }
        for (size_t i = 0; i < sizeof seen; i++)
            assert_int_equal(seen[i], 1);
    }
}

static void epochs_differ_and_seeds_differ(void **state)
{
    (void)state;
    const struct tr_order a = {.seed = 7, .n = 1000, .batch = 100};
    const struct tr_order b = {.seed = 8, .n = 1000, .batch = 100};
    int same_epoch = 0, same_seed = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        same_epoch += tr_order_sample(&a, 0, i) == tr_order_sample(&a, 1, i);
        same_seed += tr_order_sample(&a, 0, i) == tr_order_sample(&b, 0, i);
    }
    assert_true(same_epoch < 10); /* one is expected by chance */
    assert_true(same_seed < 10);
}

static void drop_last_leaves_out_the_rest(void **state)
{
    (void)state;
    const struct tr_order o = {.n = 1003, .batch = 100, .drop_last = true};
    assert_int_equal(tr_order_steps_per_epoch(&o), 10);
    assert_int_equal(tr_order_slice(&o, 10).epoch, 1);
    assert_int_equal(tr_order_slice(&o, 9).n, 100);
}

static void fractions_of_epochs_round_up(void **state)
{
    (void)state;
    const struct tr_order o = {.n = 50000, .batch = 1024, .drop_last = true};
    assert_int_equal(tr_order_total_steps(&o, 9.9), 476); /* airbench94's own number */
    assert_int_equal(tr_order_total_steps(&o, 2), 96);
}

static void shards_cover_a_batch(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 70; b++)
        for (uint32_t shards = 1; shards <= 16; shards *= 2) {
            uint32_t next = 0;
            for (uint32_t k = 0; k < shards; k++) {
                uint32_t first, count;
                tr_shard_range(b, shards, k, &first, &count);
                assert_int_equal(first, next);
                next += count;
            }
            assert_int_equal(next, b);
        }
}

/* The plan opens primitives for these sizes only: a size that is missing would stop a run in its
 * last batch. */
static void sizes_list_every_size_that_occurs(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 60; n++)
        for (uint32_t batch = 1; batch < 20; batch++)
            for (int drop = 0; drop < 2; drop++) {
                const struct tr_order o = {.n = n, .batch = batch, .drop_last = drop};
                int sizes[TR_SHARD_SIZES];
                int nsizes = tr_shard_sizes(&o, 4, sizes);
                for (int i = 1; i < nsizes; i++)
                    assert_true(sizes[i - 1] < sizes[i]);
                for (int64_t step = 0; step < tr_order_steps_per_epoch(&o); step++)
                    for (uint32_t k = 0; k < 4; k++) {
                        uint32_t first, count;
                        bool listed = false;
                        tr_shard_range(tr_order_slice(&o, step).n, 4, k, &first, &count);
                        for (int i = 0; i < nsizes; i++)
                            listed |= sizes[i] == (int)count;
                        assert_true(listed || count == 0);
                    }
            }
}

static void rank_counts_are_checked(void **state)
{
    (void)state;
    uint32_t shards;
    assert_int_equal(tr_shard_count(&shards, false, 4, 8), CM_OK);
    assert_int_equal(shards, 8);
    assert_int_equal(tr_shard_count(&shards, false, 3, 8), CM_ECONFIG);
    assert_non_null(strstr(cm_error_text(), "3 ranks"));
    assert_int_equal(tr_shard_count(&shards, false, 16, 8), CM_ECONFIG);
    assert_int_equal(tr_shard_count(&shards, false, 2, 6), CM_ECONFIG);
    assert_non_null(strstr(cm_error_text(), "train.shards: 6"));
}

static void in_the_fast_order_every_rank_is_a_shard(void **state)
{
    (void)state;
    uint32_t shards;
    assert_int_equal(tr_shard_count(&shards, true, 3, 8), CM_OK);
    assert_int_equal(shards, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_once_per_epoch),
        cmocka_unit_test(epochs_differ_and_seeds_differ),
        cmocka_unit_test(drop_last_leaves_out_the_rest),
        cmocka_unit_test(fractions_of_epochs_round_up),
        cmocka_unit_test(shards_cover_a_batch),
        cmocka_unit_test(sizes_list_every_size_that_occurs),
        cmocka_unit_test(rank_counts_are_checked),
        cmocka_unit_test(in_the_fast_order_every_rank_is_a_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
