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

/* Against a plain list, with hashes that all want the same few slots and wrap around the table's
 * end: nothing is lost or found that should not be, however often the oldest is forgotten. */
static void test_against_a_list(void **state)
{
    (void)state;
    enum { CAPACITY = 13, STEPS = 4000 };
    struct ol_dedup d;
    uint64_t list[CAPACITY], x = 88172645463325252u;
    size_t n = 0;
    expect_ok(ol_dedup_init(&d, CAPACITY));
    for (int step = 0; step < STEPS; step++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t hash = (x % 20) << 6 | (30 + x % 3); /* of 32 slots the last two and the first */
        bool known = false;
        for (size_t i = 0; i < n; i++)
            known = known || list[i] == hash;
        assert_int_equal(ol_dedup_has(&d, hash), known);
        ol_dedup_add(&d, hash);
        if (!known && n == CAPACITY)
            memmove(list, list + 1, --n * sizeof *list);
        if (!known)
            list[n++] = hash;
        for (size_t i = 0; i < n; i++)
            assert_true(ol_dedup_has(&d, list[i]));
        assert_int_equal(d.n, n);
    }
    ol_dedup_clear(&d);
    assert_false(ol_dedup_has(&d, list[0]));
    ol_dedup_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_window), cmocka_unit_test(test_fill),
                                       cmocka_unit_test(test_against_a_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
