/* What is plain text, a name, a format; and how foreign bytes are shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/text.h"

static bool is_plain(const char *s)
{
    return wi_text_is_plain(s, strlen(s));
}

static void test_plain(void **state)
{
    (void)state;
    assert_true(is_plain(""));
    assert_true(is_plain("a cat, \"~\""));
    assert_true(is_plain("K\xc3\xa4tzchen \xe7\x8c\xab \xf0\x9f\x90\x88"));
    assert_true(is_plain("\xc2\xa0")); /* the first past the controls */
    assert_true(wi_text_is_plain("cat\xff", 3));
}

/* Whatever could move a terminal's cursor: C0, DEL, and C1, whose CSI needs no ESC. */
static void test_controls_are_not_plain(void **state)
{
    (void)state;
    for (int c = 0; c < 0x20; c++)
        assert_false(wi_text_is_plain((const char[]){'a', (char)c}, 2));
    assert_false(is_plain("a\x7f"));
    for (int c = 0x80; c < 0xa0; c++)
        assert_false(wi_text_is_plain((const char[]){'a', (char)0xc2, (char)c, 'm'}, 4));
}

static void test_not_utf8(void **state)
{
    static const char *const cases[] = {"\x80", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xff"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_false(is_plain(cases[i]));
    assert_false(wi_text_is_plain("\xc3\xa4", 1)); /* n ends it, not the bytes behind */
}

static void test_name(void **state)
{
    (void)state;
    assert_true(wi_text_is_name("ann-2_b.c", 9, 9));
    assert_false(wi_text_is_name("ann-2_b.c", 9, 8));
    assert_false(wi_text_is_name("", 0, 8));
    assert_false(wi_text_is_name("..", 2, 8));
    assert_false(wi_text_is_name("a/b", 3, 8));
    assert_false(wi_text_is_name("a\0b", 3, 8));
    assert_false(wi_text_is_name("\xc3\xa4", 2, 8));
}

static void test_quote(void **state)
{
    char out[WI_QUOTED], many[64];
    (void)state;
    assert_string_equal(wi_text_quote(out, "cat", 3), "'cat'");
    assert_string_equal(wi_text_quote(out, "\x1b[m\xc2\x9b", 5), "'\\x1b[m\\xc2\\x9b'");
    memset(many, 0xff, sizeof(many));
    wi_text_quote(out, many, sizeof(many));
    assert_int_equal(strlen(out), 1 + 40 * 4 + 4);
    assert_string_equal(out + 1 + 40 * 4, "'...");
}

static void test_format(void **state)
{
    static const struct {
        const char *text;
        cm_status st;
    } cases[] = {
        {"1.0", CM_OK},          {"1.9999", CM_OK},    {"2.0", CM_EVERSION},  {"0.1", CM_EFORMAT},
        {"1", CM_EFORMAT},       {"1.", CM_EFORMAT},   {".0", CM_EFORMAT},    {"1.0 ", CM_EFORMAT},
        {"1.00000", CM_EFORMAT}, {"-1.0", CM_EFORMAT}, {"1.0.0", CM_EFORMAT}, {"", CM_EFORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *s = cases[i].text;
        if (wi_text_check_format(s, strlen(s), "entry", 1, 0) != cases[i].st)
            fail_msg("'%s'", s);
    }
    assert_int_equal(wi_text_check_format("2.7", 3, "entry", 1, 3), CM_EVERSION);
    assert_string_equal(cm_error_text(), "entry: format 2.7, this program reads 1.3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),    cmocka_unit_test(test_controls_are_not_plain),
        cmocka_unit_test(test_not_utf8), cmocka_unit_test(test_name),
        cmocka_unit_test(test_quote),    cmocka_unit_test(test_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
