/* Ids as bytes and text, and the Redis keys made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "wire/id.h"
#include "wire/keys.h"

static void test_prediction_id(void **state)
{
    struct cm_uuid random;
    struct wi_id id, later, back;
    char text[WI_ID_TEXT], later_text[WI_ID_TEXT];
    (void)state;

    for (int i = 0; i < 16; i++)
        random.byte[i] = (uint8_t)(0xf0 + i);
    id = wi_prediction_id(1763785203.125, random);
    wi_id_format(text, id);
    /* 1763785203125 ms = 0x19aa9ca5db5 */
    assert_string_equal(text, "019aa9ca5db5f0f1f2f3f4f5fcfdfeff");
    assert_true(wi_prediction_utc(id) == 1763785203.125);
    later = wi_prediction_id(1763785203.126, random);
    wi_id_format(later_text, later);
    assert_true(strcmp(text, later_text) < 0);
    assert_false(wi_id_equal(id, later));
    assert_true(wi_id_parse(&back, text, 32) && wi_id_equal(back, id));
    assert_true(wi_prediction_utc(wi_prediction_id(-5, random)) == 0);
}

static void test_parse(void **state)
{
    struct wi_id id;
    (void)state;
    assert_true(wi_id_parse(&id, "00000000000000000000000000000000", 32) && wi_id_is_zero(id));
    assert_true(wi_id_parse(&id, "ABCDEF00000000000000000000000000", 32));
    assert_int_equal(id.byte[0], 0xab);
    assert_false(wi_id_is_zero(id));
    assert_false(wi_id_parse(&id, "ABCDEF0000000000000000000000000", 31));
    assert_false(wi_id_parse(&id, "ABCDEF000000000000000000000000000", 33));
    assert_false(wi_id_parse(&id, "gBCDEF00000000000000000000000000", 32));
    assert_false(wi_id_parse(&id, "0x000000000000000000000000000000", 32));
    assert_false(wi_id_parse(&id, "", 0));
}

static void test_keys(void **state)
{
    static const char *const bad[] = {
        "",
        ".x",
        "a b",
        "a:b",
        "a*",
        "a/b",
        "\xc3\xa9",
        "01234567890123456789012345678901234567890123456789012345678901234" /* 65 bytes */};
    char key[WI_KEY], name[WI_OPERATOR];
    struct wi_id id = {{0xab}};
    (void)state;

    assert_true(wi_key_feedback(key, "Ann-7_x.y"));
    assert_string_equal(key, "fw:feedback:Ann-7_x.y");
    assert_true(wi_key_operator(name, key, strlen(key)));
    assert_string_equal(name, "Ann-7_x.y");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(wi_key_feedback(key, bad[i]));
    assert_false(wi_key_operator(name, "fw:feedback:", 12));
    assert_false(wi_key_operator(name, "fw:feedback:a\0b", 15));
    assert_false(wi_key_operator(name, "fw:feed", 7));
    assert_false(wi_key_operator(name, "fw:capture:ann", 14));
    wi_key_capture(key, id);
    assert_string_equal(key, "fw:capture:ab000000000000000000000000000000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prediction_id),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
