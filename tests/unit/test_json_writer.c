#include "common/json.h"

#include <float.h>
#include <math.h>

#include "common/mem.h"
#include "common/rng.h"
#include "tests/unit/expect.h"

static void expect_text(struct cm_jw *w, const char *expected)
{
    char *text;
    size_t n;
    expect_ok(cm_jw_take(w, &text, &n));
    assert_string_equal(text, expected);
    assert_int_equal(n, strlen(expected));
    assert_null(w->text);
    cm_free(&text);
}

static void write_sample(struct cm_jw *w)
{
    cm_jw_begin(w, NULL, '{');
    cm_jw_i64(w, "step", -3);
    cm_jw_begin(w, "list", '[');
    cm_jw_u64(w, NULL, UINT64_MAX);
    cm_jw_bool(w, NULL, true);
    cm_jw_begin(w, NULL, '{');
    cm_jw_end(w);
    cm_jw_end(w);
    cm_jw_string(w, "none", NULL);
    cm_jw_end(w);
}

static void test_one_line_and_indented(void **state)
{
    (void)state;
    struct cm_jw w = {0};
    write_sample(&w);
    expect_text(&w, "{\"step\":-3,\"list\":[18446744073709551615,true,{}],\"none\":null}");
    write_sample(&w); /* it is empty again */
    cm_jw_release(&w);
    w.indent = 2;
    write_sample(&w);
    expect_text(
        &w,
        "{\n  \"step\": -3,\n  \"list\": [\n    18446744073709551615,\n    true,\n    {}\n  ],\n"
        "  \"none\": null\n}");
}

static void test_integers_are_exact(void **state)
{
    (void)state;
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '[');
    cm_jw_i64(&w, NULL, INT64_MIN);
    cm_jw_i64(&w, NULL, INT64_MAX);
    cm_jw_end(&w);
    expect_text(&w, "[-9223372036854775808,9223372036854775807]");
}

static void test_numbers_read_back(void **state)
{
    (void)state;
    double list[1000] = {0.1,        1.0 / 3, 1e300, -1e-300,  5e-324, DBL_MAX,  DBL_MIN, 0x1p53,
                         0x1p53 + 2, 1e17,    1e15,  123456.0, 2.5e-7, 0.1 + 0.2 /* 17 digits */};
    for (uint32_t i = 14; i < 1000; i++) {
        struct cm_rng4 r = cm_rng_block(1, CM_RNG_SYNTHETIC, 0, 0, i);
        memcpy(&list[i], r.v, sizeof list[i]);
        if (!isfinite(list[i]))
            list[i] = 0;
    }
    for (size_t i = 0; i < 1000; i++) {
        struct cm_jw w = {0};
        char *text;
        size_t n;
        struct cm_json *root;
        double back;
        cm_jw_f64(&w, NULL, list[i]);
        expect_ok(cm_jw_take(&w, &text, &n));
        expect_ok(cm_json_parse(&root, text, n, "number"));
        expect_ok(cm_json_as_f64(root, "number", &back));
        assert_true(back == list[i]);
        cm_json_close(&root);
        cm_free(&text);
    }
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '[');
    cm_jw_f64(&w, NULL, 0.1);
    cm_jw_f64(&w, NULL, 0.1 + 0.2);
    cm_jw_f64(&w, NULL, (double)NAN);
    cm_jw_f64(&w, NULL, -(double)INFINITY);
    cm_jw_f64(&w, NULL, 1e6);
    cm_jw_end(&w);
    expect_text(&w, "[0.1,0.30000000000000004,null,null,1000000]");
}

static void test_any_bytes_become_a_readable_string(void **state)
{
    (void)state;
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "k\"\\", "\n\t\x01/\xc3\xa9\xff|\xed\xa0\x80");
    cm_jw_end(&w);
    expect_text(&w, "{\"k\\\"\\\\\":\"\\n\\u0009\\u0001/\xc3\xa9\xef\xbf\xbd|"
                    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}");
    char text[256];
    for (int i = 1; i < 256; i++)
        text[i - 1] = (char)i;
    text[255] = '\0';
    char *out;
    size_t n;
    struct cm_json *root;
    cm_jw_string(&w, NULL, text);
    expect_ok(cm_jw_take(&w, &out, &n));
    expect_ok(cm_json_parse(&root, out, n, "string"));
    cm_json_close(&root);
    cm_free(&out);
}

static void test_parsed_values_are_copied(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,2.5,\"x\\n\",null,true,false,1e+300],\"b\":{\"c\":{}}}";
    struct cm_json *root;
    struct cm_jw w = {0};
    expect_ok(cm_json_parse(&root, text, sizeof text - 1, "t"));
    cm_jw_value(&w, NULL, root);
    expect_text(&w, text);
    cm_json_close(&root);
}

static void test_misuse_is_told(void **state)
{
    (void)state;
    char *text;
    size_t n;
    struct cm_jw w = {0};
    expect_fault(CM_EINTERNAL, "JSON writer", cm_jw_take(&w, &text, &n)); /* nothing written */
    assert_null(text);
    cm_jw_begin(&w, NULL, '{');
    expect_fault(CM_EINTERNAL, "1 open levels", cm_jw_take(&w, &text, &n));
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, NULL, 1);
    cm_jw_end(&w);
    expect_fault(CM_EINTERNAL, "without a key", cm_jw_take(&w, &text, &n));
    cm_jw_begin(&w, NULL, '[');
    cm_jw_i64(&w, "k", 1);
    cm_jw_end(&w);
    expect_fault(CM_EINTERNAL, "JSON writer", cm_jw_take(&w, &text, &n));
    cm_jw_i64(&w, NULL, 1);
    cm_jw_i64(&w, NULL, 2);
    expect_fault(CM_EINTERNAL, "second value", cm_jw_take(&w, &text, &n));
    cm_jw_end(&w);
    expect_fault(CM_EINTERNAL, "nothing to end", cm_jw_take(&w, &text, &n));
    for (int i = 0; i < 33; i++)
        cm_jw_begin(&w, NULL, '[');
    for (int i = 0; i < 33; i++)
        cm_jw_end(&w);
    expect_fault(CM_EINTERNAL, "32 levels", cm_jw_take(&w, &text, &n));
    for (int i = 0; i < 32; i++)
        cm_jw_begin(&w, NULL, '[');
    for (int i = 0; i < 32; i++)
        cm_jw_end(&w);
    expect_ok(cm_jw_take(&w, &text, &n));
    assert_int_equal(n, 64);
    cm_free(&text);
}

static void test_every_failing_allocation_is_told(void **state)
{
    (void)state;
    char *text;
    size_t n;
    long made = 1;
    for (long k = 0; k <= made; k++) {
        struct cm_jw w = {0};
        cm_mem_fail_at(k);
        cm_jw_begin(&w, NULL, '[');
        for (int i = 0; i < 500; i++)
            cm_jw_string(&w, NULL, "some text");
        cm_jw_end(&w);
        cm_status st = cm_jw_take(&w, &text, &n);
        long count = cm_mem_fail_at(0);
        made = k == 0 ? count : made;
        assert_int_equal(st, k == 0 ? CM_OK : CM_ENOMEM);
        assert_true((text != NULL) == (k == 0));
        cm_free(&text);
    }
    assert_true(made > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_line_and_indented),
        cmocka_unit_test(test_integers_are_exact),
        cmocka_unit_test(test_numbers_read_back),
        cmocka_unit_test(test_any_bytes_become_a_readable_string),
        cmocka_unit_test(test_parsed_values_are_copied),
        cmocka_unit_test(test_misuse_is_told),
        cmocka_unit_test(test_every_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
