/* Who is named when ranks differ. (That a flipped bit is found: tests/integration/test_exact.sh.)
 */
#include "tests/unit/expect.h"
#include "trainer/audit.h"

static void expect_text(const uint64_t *hash, int ranks, const char *expected)
{
    char text[256];
    tr_audit_explain(text, sizeof text, hash, ranks);
    assert_string_equal(text, expected);
}

static void the_minority_is_named(void **state)
{
    (void)state;
    expect_text((uint64_t[]){7, 7, 9, 7}, 4, "rank 2 differs from ranks 0, 1, 3");
    expect_text((uint64_t[]){9, 7, 7}, 3, "rank 0 differs from ranks 1, 2");
    expect_text((uint64_t[]){1, 5, 5, 2, 5}, 5, "ranks 0, 3 differ from ranks 1, 2, 4");
}

static void without_a_majority_nobody_is_blamed(void **state)
{
    (void)state;
    expect_text((uint64_t[]){7, 9}, 2, "rank 0 differs from rank 1: no majority says who is right");
    expect_text((uint64_t[]){7, 7, 9, 9}, 4,
                "ranks 0, 1 differ from ranks 2, 3: no majority says who is right");
    expect_text((uint64_t[]){1, 2, 3}, 3,
                "rank 0 differs from ranks 1, 2: no majority says who is right");
}

static void many_ranks_are_cut_to_size(void **state)
{
    (void)state;
    uint64_t hash[400] = {[399] = 1};
    char text[256];
    tr_audit_explain(text, sizeof text, hash, 400);
    assert_memory_equal(text, "rank 399 differs from ranks 0, 1, 2", 35);
    tr_audit_explain(text, 10, hash, 400);
    assert_string_equal(text, "rank 399 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_minority_is_named),
        cmocka_unit_test(without_a_majority_nobody_is_blamed),
        cmocka_unit_test(many_ranks_are_cut_to_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
