#include "common/descriptors.h"

#include "tests/unit/expect.h"

#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

static void test_raise(void **state)
{
    struct rlimit limit = {.rlim_cur = 100, .rlim_max = 200};
    (void)state;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(cm_descriptors_raise(50), 100);
    assert_int_equal(cm_descriptors_raise(150), 150);
    assert_int_equal(cm_descriptors_raise(1000), 200);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_cur, 200);
}

/* After test_raise: 200 are to be had. */
static void test_lowest(void **state)
{
    int lowest = cm_descriptors_lowest(0), fd, last = -1;
    (void)state;
    assert_int_equal(cm_descriptors_lowest(0), lowest);
    assert_int_equal(dup(0), lowest);
    assert_int_equal(cm_descriptors_lowest(0), lowest + 1);
    while ((fd = dup(0)) >= 0)
        last = fd;
    assert_int_equal(last, 199);
    assert_int_equal(cm_descriptors_lowest(0), INT_MAX);
    for (; last >= lowest; last--)
        close(last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_raise), cmocka_unit_test(test_lowest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
