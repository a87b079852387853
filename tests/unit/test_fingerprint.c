/* Which item of two fingerprints is not the same. */
#include "tests/unit/expect.h"
#include "trainer/fingerprint.h"

static void expect_lines(const char *a, const char *b, const char *of_a, const char *of_b)
{
    char x[TR_FINGERPRINT_LINE], y[TR_FINGERPRINT_LINE];
    assert_true(tr_fingerprint_differs(a, b, x, y));
    assert_string_equal(x, of_a);
    assert_string_equal(y, of_b);
}

static void the_first_line_that_differs_is_found(void **state)
{
    (void)state;
    expect_lines("cpu A\ncaches 1\n", "cpu B\ncaches 2\n", "cpu A", "cpu B");
    expect_lines("cpu A\ncaches 1\nbackend cpu\n", "cpu A\ncaches 12\nbackend cpu\n", "caches 1",
                 "caches 12");
    expect_lines("cpu A\n", "cpu A\ndevice H200\n", "", "device H200");
    expect_lines("cpu A\ndevice H200\n", "cpu A\n", "device H200", "");
    expect_lines("", "cpu A", "", "cpu A");
}

static void the_same_have_none(void **state)
{
    (void)state;
    char x[TR_FINGERPRINT_LINE], y[TR_FINGERPRINT_LINE];
    assert_false(tr_fingerprint_differs("", "", x, y));
    assert_false(tr_fingerprint_differs("cpu A\ncaches 1\n", "cpu A\ncaches 1\n", x, y));
}

static void a_long_line_is_cut(void **state)
{
    (void)state;
    char text[2 * TR_FINGERPRINT_LINE], x[TR_FINGERPRINT_LINE], y[TR_FINGERPRINT_LINE];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_true(tr_fingerprint_differs(text, "b", x, y));
    assert_int_equal(strlen(x), TR_FINGERPRINT_LINE - 1);
    assert_string_equal(y, "b");
    char other[sizeof text];
    memcpy(other, text, sizeof text);
    other[sizeof text - 2] = 'b'; /* beyond what is shown */
    assert_true(tr_fingerprint_differs(text, other, x, y));
    assert_string_equal(x, y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_line_that_differs_is_found),
        cmocka_unit_test(the_same_have_none),
        cmocka_unit_test(a_long_line_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
