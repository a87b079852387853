#include "common/json.h"

#include <math.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

static struct cm_json *parse(const char *text)
{
    struct cm_json *root;
    expect_ok(cm_json_parse(&root, text, strlen(text), "t"));
    return root;
}

static cm_status try_parse(const char *text, size_t n)
{
    struct cm_json *root;
    cm_status st = cm_json_parse(&root, text, n, "t");
    if (st == CM_OK)
        cm_json_close(&root);
    assert_null(root);
    return st;
}

static void test_a_tree_can_be_walked(void **state)
{
    (void)state;
    struct cm_json *root = parse(" {\"a\": [1, \"x\", null, true, {}], \"A\": -2.5e1, \"\": []}\n");
    assert_int_equal(cm_json_type(root), CM_JSON_OBJECT);
    assert_int_equal(cm_json_count(root), 3);
    assert_null(cm_json_key(root));
    const struct cm_json *a = cm_json_get(root, "a");
    const enum cm_json_type types[] = {CM_JSON_NUMBER, CM_JSON_STRING, CM_JSON_NULL, CM_JSON_BOOL,
                                       CM_JSON_OBJECT};
    size_t i = 0;
    CM_JSON_EACH (m, a) {
        assert_int_equal(cm_json_type(m), types[i++]);
        assert_null(cm_json_key(m));
        assert_int_equal(cm_json_count(m), 0);
        assert_null(cm_json_first(m));
    }
    assert_int_equal(i, 5);
    double d;
    expect_ok(cm_json_as_f64(cm_json_get(root, "A"), "t", &d)); /* keys are case-sensitive */
    assert_true(d == -25);
    assert_non_null(cm_json_get(root, ""));
    assert_null(cm_json_get(root, "b"));
    assert_null(cm_json_get(a, "b"));
    cm_json_close(&root);
    assert_null(root);
    cm_json_close(&root);
}

static void test_good_texts(void **state)
{
    (void)state;
    const char *list[] = {"0",
                          "-0",
                          "1e5",
                          "1E-5",
                          "0.5e+3",
                          "\"\"",
                          "null",
                          "true",
                          "false",
                          "[]",
                          "{}",
                          "[[[]]]",
                          "\"\\u00e9\\ud83d\\ude00\\n\\/\"",
                          "\"\xc3\xa9\xf0\x9f\x98\x80\"",
                          "9007199254740991",
                          "-9007199254740991",
                          "9007199254740994.0",
                          "\t[ 1 ,\r\n2 ] "};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        expect_ok(try_parse(list[i], strlen(list[i])));
}

static void test_bad_texts(void **state)
{
    (void)state;
    const struct {
        const char *text, *message;
    } list[] = {
        {"", "the text ends"},
        {"  ", "t:1:3: the text ends"},
        {"{", "double quotes"},
        {"[1", "expected ',' or ']'"},
        {"[1,]", "expected a value"},
        {"{\"a\":1,}", "double quotes"},
        {"{\"a\" 1}", "expected ':'"},
        {"{\"a\":1 \"b\":2}", "expected ',' or '}'"},
        {"{a:1}", "double quotes"},
        {"{'a':1}", "double quotes"},
        {"[1}", "expected ',' or ']'"},
        {"]", "expected a value"},
        {"nul", "expected a value"},
        {"True", "expected a value"},
        {"NaN", "expected a value"},
        {"Infinity", "expected a value"},
        {"-Infinity", "expected a value"},
        {"[nan]", "expected a value"},
        {"1 2", "more text"},
        {"{} x", "more text"},
        {"nullx", "more text"},
        {"/* c */ 1", "expected a value"},
        {"01", "begin with 0"},
        {"-01", "begin with 0"},
        {"+1", "expected a value"},
        {".5", "expected a value"},
        {"-", "expected a value"},
        {"1.", "after the decimal point"},
        {"1.e5", "after the decimal point"},
        {"1e", "in the exponent"},
        {"1e+", "in the exponent"},
        {"0x10", "more text"},
        {"1e999", "too large"},
        {"-1e999", "too large"},
        {"9007199254740992", "2^53 or more"},
        {"9007199254740993", "2^53 or more"},
        {"-18446744073709551615", "2^53 or more"},
        {"0.0000000000000000000000000000000000000000000000000000000000000000000000001",
         "too many digits"},
        {"\"a", "does not end"},
        {"\"a\\", "unknown escape"},
        {"\"\\x41\"", "unknown escape"},
        {"\"\\u12\"", "four hex digits"},
        {"\"\\u12g4\"", "four hex digits"},
        {"\"\\u0000\"", "a NUL"},
        {"\"\\ud83d\"", "surrogate"},
        {"\"\\ud83dx\"", "surrogate"},
        {"\"\\ud83d\\u0041\"", "surrogate"},
        {"\"\\ude00\"", "surrogate"},
        {"\"a\tb\"", "control character"},
        {"\"a\nb\"", "control character"},
        {"\"\xff\"", "UTF-8"},
        {"\"\xc3\"", "UTF-8"},
        {"\"\xed\xa0\x80\"", "UTF-8"},
        {"\xef\xbb\xbf{}", "expected a value"}, /* a byte order mark */
        {"{\"a\":1,\"b\":2,\"a\":3}", "'a' appears twice"},
        {"[{\"x\":{\"\":1,\"\":2}}]", "'' appears twice"},
        {"{\"a\":1,\"\\u0061\":2}", "'a' appears twice"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        expect_fault(CM_EFORMAT, list[i].message, try_parse(list[i].text, strlen(list[i].text)));
    expect_fault(CM_EFORMAT, "control character", try_parse("\"a\0b\"", 5));
    expect_fault(CM_EFORMAT, "more text", try_parse("1\0", 2));
    expect_fault(CM_EFORMAT, "t:3:4: ", try_parse("{\n\"a\":\n   x}", 12));
}

/* Whatever is cut off a text, it is refused, and no byte behind its end is read (sanitizers see to
 * that). */
static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"k\\u00e9\": [true, false, null, -1.5e-3, \"\\ud83d\\ude00\xc3\xa9\"]}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        char *copy;
        expect_ok(cm_alloc(&copy, n, 1, "a copy"));
        memcpy(copy, text, n);
        assert_int_equal(try_parse(copy, n), CM_EFORMAT);
        cm_free(&copy);
    }
    expect_ok(try_parse(text, sizeof text - 1));
}

static void test_nesting_is_bounded(void **state)
{
    (void)state;
    char text[100000];
    memset(text, '[', 33);
    memset(text + 33, ']', 33);
    expect_ok(try_parse(text + 1, 64));
    expect_fault(CM_EFORMAT, "32 levels", try_parse(text, 66));
    memset(text, '[', sizeof text);
    expect_fault(CM_EFORMAT, "32 levels", try_parse(text, sizeof text));
}

static void test_typed_values(void **state)
{
    (void)state;
    struct cm_json *root =
        parse("{\"i\": 7, \"f\": 2.5, \"s\": \"x\", \"b\": true, \"big\": 1e18, \"o\": {}}");
    const struct cm_json *v;
    int64_t i = 0;
    double f = 0;
    bool b = false;
    const char *s = NULL;
    expect_ok(cm_json_need_i64(root, "m", "i", 7, 7, &i));
    assert_int_equal(i, 7);
    expect_ok(cm_json_need_f64(root, "m", "f", &f));
    assert_true(f == 2.5);
    expect_ok(cm_json_need_string(root, "m", "s", &s));
    assert_string_equal(s, "x");
    expect_ok(cm_json_as_bool(cm_json_get(root, "b"), "m", &b));
    assert_true(b);
    expect_ok(cm_json_need(root, "m", "o", CM_JSON_OBJECT, &v));

    expect_fault(CM_EFORMAT, "m: 'i' must be an integer from 8 to 9, not 7",
                 cm_json_need_i64(root, "m", "i", 8, 9, &i));
    expect_fault(CM_EFORMAT, "m: 'i' must be an integer from 0 to 6",
                 cm_json_need_i64(root, "m", "i", 0, 6, &i));
    expect_fault(CM_EFORMAT, "m: 'f' must be an integer, not 2.5",
                 cm_json_need_i64(root, "m", "f", 0, 9, &i));
    expect_fault(CM_EFORMAT, "'big' must be",
                 cm_json_need_i64(root, "m", "big", INT64_MIN, INT64_MAX, &i));
    expect_fault(CM_EFORMAT, "m: 's' must be an integer, not a string",
                 cm_json_need_i64(root, "m", "s", 0, 9, &i));
    expect_fault(CM_EFORMAT, "m: 's' must be a number", cm_json_need_f64(root, "m", "s", &f));
    expect_fault(CM_EFORMAT, "m: 'i' must be a string, not a number",
                 cm_json_need_string(root, "m", "i", &s));
    expect_fault(CM_EFORMAT, "m: 'none' is missing", cm_json_need_string(root, "m", "none", &s));
    expect_fault(CM_EFORMAT, "m: 'b' must be an array, not true or false",
                 cm_json_need(root, "m", "b", CM_JSON_ARRAY, &v));
    expect_fault(CM_EFORMAT, "m must be true or false, not a number",
                 cm_json_as_bool(cm_json_get(root, "i"), "m", &b));
    expect_fault(CM_EFORMAT, "m must be an object, not a number",
                 cm_json_need(cm_json_get(root, "i"), "m", "x", CM_JSON_NULL, &v));
    cm_json_close(&root);
}

static void test_files(void **state)
{
    (void)state;
    char dir[CM_PATH], path[CM_PATH];
    struct cm_json *root;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "a.json"));
    expect_ok(cm_file_replace(path, "[1]", 3));
    expect_ok(cm_json_parse_file(&root, path, 3));
    cm_json_close(&root);
    expect_fault(CM_EFORMAT, path, cm_json_parse_file(&root, path, 2));
    expect_ok(cm_file_replace(path, "[1", 2));
    expect_fault(CM_EFORMAT, path, cm_json_parse_file(&root, path, 3));
    assert_null(root);
    expect_dir_remove(dir);
    expect_fault(CM_ENOTFOUND, path, cm_json_parse_file(&root, path, 3));
}

static cm_status try_format(const char *text, int *minor)
{
    struct cm_json *root;
    CM_TRY(cm_json_parse(&root, text, strlen(text), "f.json"));
    cm_status st = cm_json_need_format(root, "f.json", 2, minor);
    cm_json_close(&root);
    return st;
}

static void test_formats(void **state)
{
    (void)state;
    int minor = 0;
    expect_ok(try_format("{\"format\": \"2.0\"}", NULL));
    expect_ok(try_format("{\"format\": \"2.31\"}", &minor));
    assert_int_equal(minor, 31);
    expect_fault(CM_EVERSION, "f.json: format 3.0, this program reads 2.x",
                 try_format("{\"format\": \"3.0\"}", NULL));
    expect_fault(CM_EVERSION, "format 1.9", try_format("{\"format\": \"1.9\"}", NULL));
    expect_fault(CM_EFORMAT, "'0.9' is not MAJOR.MINOR", try_format("{\"format\": \"0.9\"}", NULL));
    expect_fault(CM_EFORMAT, "'2.0x'", try_format("{\"format\": \"2.0x\"}", NULL));
    expect_fault(CM_EFORMAT, "'format'", try_format("{\"format\": 2}", NULL));
    expect_fault(CM_EFORMAT, "'format' is missing", try_format("{}", NULL));
}

static void test_every_failing_allocation_is_told(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\": [1, \"x\", {\"b\": null, \"c\": true}], \"d\": \"\\u00e9\"}";
    cm_mem_fail_at(0);
    expect_ok(try_parse(text, sizeof text - 1));
    long made = cm_mem_fail_at(0);
    assert_true(made > 10);
    for (long k = 1; k <= made; k++) {
        cm_mem_fail_at(k);
        expect_fault(CM_ENOMEM, "no memory", try_parse(text, sizeof text - 1));
    }
    cm_mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tree_can_be_walked),
        cmocka_unit_test(test_good_texts),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_typed_values),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_every_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
