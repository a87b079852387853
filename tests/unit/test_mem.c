#include "common/mem.h"

#include "tests/unit/expect.h"

static void test_memory_is_zeroed_and_freed_to_null(void **state)
{
    (void)state;
    int64_t *p;
    expect_ok(cm_alloc(&p, 100, sizeof *p, "numbers"));
    for (int i = 0; i < 100; i++)
        assert_int_equal(p[i], 0);
    cm_free(&p);
    assert_null(p);
    cm_free(&p);
}

static void test_alignment(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 63, 4096, (size_t)9 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p;
        expect_ok(cm_alloc_aligned(&p, sizes[i], 1, "an arena"));
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t j = 0; j < sizes[i]; j += 97)
            assert_int_equal(p[j], 0);
        cm_free(&p);
    }
    unsigned char *huge;
    expect_ok(cm_alloc_aligned(&huge, 9, 1 << 20, "an arena"));
    assert_int_equal((uintptr_t)huge % (2 << 20), 0);
    cm_free(&huge);
}

static void test_nothing_is_a_unique_pointer(void **state)
{
    (void)state;
    char *a, *b;
    expect_ok(cm_alloc(&a, 0, 8, "nothing"));
    expect_ok(cm_alloc(&b, 8, 0, "nothing"));
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    cm_free(&a);
    cm_free(&b);
}

static void test_sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    char *p = (char *)&state;
    expect_fault(CM_ENOMEM, "no memory for a tensor", cm_alloc(&p, SIZE_MAX / 2, 3, "a tensor"));
    assert_null(p);
    expect_fault(CM_ENOMEM, "a tensor", cm_alloc_aligned(&p, SIZE_MAX, 1, "a tensor"));
    assert_null(p);
    expect_fault(CM_ENOMEM, "a tensor", cm_realloc(&p, SIZE_MAX / 4, 8, "a tensor"));
}

static void test_realloc_keeps_the_bytes(void **state)
{
    (void)state;
    char *p = NULL;
    expect_ok(cm_realloc(&p, 4, 1, "a text"));
    memcpy(p, "abc", 4);
    expect_ok(cm_realloc(&p, 100000, 1, "a text"));
    assert_string_equal(p, "abc");
    const char *before = p;
    cm_mem_fail_at(1);
    expect_fault(CM_ENOMEM, "a text", cm_realloc(&p, 200000, 1, "a text"));
    assert_ptr_equal(p, before);
    assert_string_equal(p, "abc");
    cm_free(&p);
}

static void test_the_kth_allocation_fails(void **state)
{
    (void)state;
    char *a, *b, *c;
    cm_mem_fail_at(2);
    expect_ok(cm_alloc(&a, 1, 1, "a"));
    expect_fault(CM_ENOMEM, "b", cm_strdup(&b, "b"));
    assert_null(b);
    expect_ok(cm_alloc_aligned(&c, 1, 1, "c"));
    assert_int_equal(cm_mem_fail_at(0), 3);
    assert_int_equal(cm_mem_fail_at(0), 0);
    cm_free(&a);
    cm_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_zeroed_and_freed_to_null),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_nothing_is_a_unique_pointer),
        cmocka_unit_test(test_sizes_that_overflow_are_refused),
        cmocka_unit_test(test_realloc_keeps_the_bytes),
        cmocka_unit_test(test_the_kth_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
