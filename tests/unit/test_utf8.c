#include "common/utf8.h"

#include "tests/unit/expect.h"

static void test_well_formed(void **state)
{
    (void)state;
    const char *list[] = {"a",
                          "\x7f",
                          "\xc2\x80",
                          "\xdf\xbf",
                          "\xe0\xa0\x80",
                          "\xed\x9f\xbf",
                          "\xee\x80\x80",
                          "\xef\xbf\xbf",
                          "\xf0\x90\x80\x80",
                          "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        size_t n = strlen(list[i]);
        assert_int_equal(cm_utf8_length(list[i], n), n);
        assert_int_equal(cm_utf8_length(list[i], n - 1), 0);
    }
    assert_int_equal(cm_utf8_length("", 1), 1);
}

static void test_malformed(void **state)
{
    (void)state;
    const char *list[] = {
        "\x80",             /* a trail byte alone */
        "\xc0\x80",         /* overlong NUL */
        "\xc1\xbf",         /* overlong */
        "\xe0\x9f\xbf",     /* overlong */
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",     /* a surrogate */
        "\xed\xbf\xbf",     /* a surrogate */
        "\xf4\x90\x80\x80", /* past U+10FFFF */
        "\xf5\x80\x80\x80",
        "\xff\xff\xff\xff",
        "\xc2\x20",     /* no trail byte */
        "\xe1\x80\x20", /* no second trail byte */
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        assert_int_equal(cm_utf8_length(list[i], strlen(list[i])), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_formed),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
