/* Which training images stand beside feedback, and how many. */
#include "online/replay.h"
#include "tests/unit/expect.h"

/* 66 rows of classes 0, 2 and 3 (none of 1), class 0 nine times as often as the others. */
#define ROWS 66
static int32_t labels[200];
static uint32_t rows[ROWS];

static void make(struct ol_replay *r, bool balanced)
{
    for (uint32_t i = 0; i < 200; i++)
        labels[i] = 1; /* held out: no row of the training part */
    for (uint32_t i = 0; i < ROWS; i++) {
        rows[i] = 3 * i;
        labels[rows[i]] = i % 11 == 0 ? 2 : i % 11 == 1 ? 3 : 0;
    }
    expect_ok(ol_replay_init(r, labels, rows, ROWS, 4, balanced));
}

static void count(const struct ol_replay *r, int counts[4], uint32_t n)
{
    for (int c = 0; c < 4; c++)
        counts[c] = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t row = ol_replay_draw(r, 1, 0, k);
        assert_true(row < 200 && row % 3 == 0);
        counts[labels[row]]++;
    }
}

static void test_balanced(void **state)
{
    (void)state;
    struct ol_replay r;
    int counts[4];
    make(&r, true);
    count(&r, counts, 300);
    assert_int_equal(counts[0], 100);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 100);
    assert_int_equal(counts[3], 100);
    ol_replay_release(&r);
}

static void test_uniform(void **state)
{
    (void)state;
    struct ol_replay r;
    int counts[4];
    make(&r, false);
    count(&r, counts, 1100);
    assert_int_equal(counts[1], 0);
    assert_in_range(counts[0], 850, 950);
    assert_in_range(counts[2], 60, 140);
    ol_replay_release(&r);
}

/* Draws are a function of seed, epoch and number: other epochs and seeds show other images. */
static void test_pure(void **state)
{
    (void)state;
    struct ol_replay r;
    int other_epoch = 0, other_seed = 0;
    make(&r, true);
    for (uint32_t k = 0; k < 100; k++) {
        uint32_t row = ol_replay_draw(&r, 1, 0, k);
        assert_int_equal(row, ol_replay_draw(&r, 1, 0, k));
        other_epoch += row != ol_replay_draw(&r, 1, 1, k);
        other_seed += row != ol_replay_draw(&r, 2, 0, k);
    }
    assert_true(other_epoch > 50 && other_seed > 50);
    ol_replay_release(&r);
    ol_replay_release(&r);
}

static void test_epoch_size(void **state)
{
    (void)state;
    assert_int_equal(ol_replay_epoch_size(64, 3, 64), 256);
    assert_int_equal(ol_replay_epoch_size(65, 3, 64), 320);
    assert_int_equal(ol_replay_epoch_size(1, 0, 128), 128);
    assert_int_equal(ol_replay_epoch_size(128, 0, 128), 128);
    assert_int_equal(ol_replay_epoch_size(100, 0.1, 10), 110);
    assert_int_equal(ol_replay_epoch_size(3, 1.5, 1), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_balanced),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_pure),
        cmocka_unit_test(test_epoch_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
