/* The dedup window. */
#include "common/mem.h"
#include "online/dedup.h"
#include "tests/unit/expect.h"

static void test_window(void **state)
{
    (void)state;
    struct ol_dedup d;
    uint64_t list[3];
    expect_ok(ol_dedup_init(&d, 3));
    assert_false(ol_dedup_has(&d, 0));
    for (uint64_t h = 1; h <= 5; h++)
        ol_dedup_add(&d, h);
    assert_false(ol_dedup_has(&d, 2)); /* pushed out */
    assert_true(ol_dedup_has(&d, 3));
    ol_dedup_add(&d, 4); /* known: nothing moves */
    ol_dedup_list(&d, list);
    assert_int_equal(list[0], 3);
    assert_int_equal(list[1], 4);
    assert_int_equal(list[2], 5);
    ol_dedup_add(&d, 6);
    assert_false(ol_dedup_has(&d, 3));
    ol_dedup_release(&d);
    ol_dedup_release(&d);
}

/* Into a smaller window the newest come, into a larger one all; and it goes on as before. */
static void test_fill(void **state)
{
    (void)state;
    const uint64_t hash[] = {1, 2, 3, 4, 5};
    struct ol_dedup small, large;
    expect_ok(ol_dedup_init(&small, 2));
    expect_ok(ol_dedup_init(&large, 8));
    ol_dedup_fill(&small, hash, 5);
    ol_dedup_fill(&large, hash, 5);
    assert_false(ol_dedup_has(&small, 3));
    assert_true(ol_dedup_has(&small, 4));
    ol_dedup_add(&small, 6);
    assert_false(ol_dedup_has(&small, 4));
    assert_true(ol_dedup_has(&small, 5));
    assert_int_equal(large.n, 5);
    ol_dedup_fill(&small, NULL, 0);
    assert_int_equal(small.n, 0);
    assert_false(ol_dedup_has(&small, 5));
    ol_dedup_release(&small);
    ol_dedup_release(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_window), cmocka_unit_test(test_fill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
