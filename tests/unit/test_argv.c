/* The list of strings: growth, and every allocation failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "launcher/argv.h"

static void build(struct la_argv *a)
{
    for (int i = 0; i < 40; i++)
        la_argv_addf(a, "argument %d", i);
    la_argv_add(a, "last");
}

static void test_grows_and_ends_with_null(void **state)
{
    (void)state;
    struct la_argv a = {0};
    build(&a);
    assert_int_equal(la_argv_end(&a), CM_OK);
    assert_int_equal(a.n, 41);
    assert_string_equal(a.item[39], "argument 39");
    assert_string_equal(a.item[40], "last");
    assert_null(a.item[41]);
    struct la_argv b = {0};
    la_argv_add_all(&b, a.item, 2);
    assert_int_equal(b.n, 2);
    assert_string_equal(b.item[1], "argument 1");
    la_argv_release(&b);
    la_argv_release(&a);
    la_argv_release(&a);
}

static void test_an_argument_too_long_is_an_error(void **state)
{
    (void)state;
    static char big[9000];
    memset(big, 'x', sizeof big - 1);
    struct la_argv a = {0};
    la_argv_addf(&a, "%s", big);
    la_argv_add(&a, "after");
    assert_int_equal(la_argv_end(&a), CM_EINVAL);
    assert_int_equal(a.n, 0);
    la_argv_release(&a);
}

static void test_every_failed_allocation_is_told(void **state)
{
    (void)state;
    cm_mem_fail_at(0);
    struct la_argv a = {0};
    build(&a);
    la_argv_release(&a);
    long total = cm_mem_fail_at(0);
    assert_true(total > 41);
    for (long k = 1; k <= total; k++) {
        cm_mem_fail_at(k);
        build(&a);
        assert_int_equal(la_argv_end(&a), CM_ENOMEM);
        la_argv_release(&a);
    }
    cm_mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_ends_with_null),
        cmocka_unit_test(test_an_argument_too_long_is_an_error),
        cmocka_unit_test(test_every_failed_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
