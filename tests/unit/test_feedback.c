/* Feedback entries as operators and programs write them, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/golden_bytes.h"
#include "wire/feedback.h"

#define PREDICTION "019aa9ca5db5f0f1f2f3f4f5fcfdfeff"
#define JPEG       "\xff\xd8\xff\xe0 and so on"

/* A list of name, value, ...; each value copied to memory of its size. */
static cm_status parse(struct wi_feedback *f, int n, const char *const *text)
{
    struct wi_field field[WI_FEEDBACK_ENTRY_MAX + 1] = {0};
    for (int i = 0; i < n / 2; i++)
        field[i] = (struct wi_field){.name = text[2 * i],
                                     .nname = strlen(text[2 * i]),
                                     .value = text[2 * i + 1],
                                     .nvalue = strlen(text[2 * i + 1])};
    return wi_feedback_parse(f, field, (size_t)n / 2);
}
#define PARSE(f, ...)                                                                              \
    parse(f, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                        \
          (const char *[]){__VA_ARGS__})

static bool is(struct wi_text text, const char *want)
{
    return text.n == strlen(want) && memcmp(text.s, want, text.n) == 0;
}

static void test_good_entries(void **state)
{
    struct wi_feedback f;
    (void)state;

    assert_int_equal(PARSE(&f, "prediction_id", PREDICTION, "label", "cat"), CM_OK);
    assert_true(is(f.label, "cat"));
    assert_int_equal(f.prediction_id.byte[0], 0x01);
    assert_int_equal(f.image.kind, WI_IMAGE_NONE);
    assert_null(f.note.s);

    assert_int_equal(PARSE(&f, "label", "3", "image", JPEG, "note", "", "id", "a-1", "operator",
                           "ann", "format", "1.9", "colour", "unknown, ignored"),
                     CM_OK);
    assert_int_equal(f.image.kind, WI_IMAGE_FILE);
    assert_int_equal(f.image.n, strlen(JPEG));
    assert_true(wi_id_is_zero(f.prediction_id));
    assert_true(is(f.id, "a-1") && is(f.operator_name, "ann") && f.note.s && f.note.n == 0);

    assert_int_equal(PARSE(&f, "label", "Gr\xc3\xbc\xc3\x9f", "image", "raw pixels"), CM_OK);
    assert_int_equal(f.image.kind, WI_IMAGE_PIXELS);
}

/* Each bad entry is refused for its own reason. */
static void test_bad_entries(void **state)
{
    static const struct {
        const char *text[8];
        cm_status st;
        const char *reason;
    } cases[] = {
        {{"image", JPEG}, CM_EFORMAT, "'label' is missing"},
        {{"label", "cat"}, CM_EFORMAT, "none of 'image' and 'prediction_id'"},
        {{"label", "cat", "image", JPEG, "prediction_id", PREDICTION}, CM_EFORMAT, "both of"},
        {{"label", "cat", "image", JPEG, "label", "dog"}, CM_EFORMAT, "'label' comes twice"},
        {{"label", "", "image", JPEG}, CM_EFORMAT, "'label' has 0 bytes, 1 to 255"},
        {{"label", "cat", "image", ""}, CM_EFORMAT, "'image' has 0 bytes"},
        {{"label", "a\nb", "image", JPEG}, CM_EFORMAT, "'label' is no plain UTF-8 text: 'a\\x0ab'"},
        {{"label", "\xc3", "image", JPEG}, CM_EFORMAT, "'\\xc3'"},
        {{"label", "cat", "prediction_id", "42"}, CM_EFORMAT, "'prediction_id' has 2 bytes"},
        {{"label", "cat", "prediction_id", "x19aa9ca5db5f0f1f2f3f4f5fcfdfeff"},
         CM_EFORMAT,
         "'prediction_id' 'x19aa"},
        {{"label", "cat", "prediction_id", "00000000000000000000000000000000"},
         CM_EFORMAT,
         "is none"},
        {{"label", "cat", "image", JPEG, "operator", "a:b"}, CM_EFORMAT, "'operator' 'a:b' may"},
        {{"label", "cat", "image", JPEG, "id", "\x7f"}, CM_EFORMAT, "'id'"},
        {{"label", "cat", "image", JPEG, "note", "\x1b[2J"}, CM_EFORMAT, "'\\x1b[2J'"},
        {{"label", "cat", "image", JPEG, "format", "2.0"},
         CM_EVERSION,
         "format 2.0, this program "
         "reads 1.0"},
        {{"label", "cat", "image", JPEG, "format", "one"}, CM_EFORMAT, "'one' is not of the form"},
        {{"label", "cat", "image", JPEG, "format", "1"}, CM_EFORMAT, "'1' is not of the form"},
        {{"label", "cat", "image", JPEG, "format", "1.0 "}, CM_EFORMAT, "'1.0 '"},
        {{"label", "cat", "image", JPEG, "format", "11111.0"}, CM_EFORMAT, "'11111.0'"},
    };
    struct wi_feedback f;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int n = 0;
        while (n < 8 && cases[i].text[n])
            n++;
        if (parse(&f, n, cases[i].text) != cases[i].st)
            fail_msg("case %zu: %s", i, cm_error_text());
        if (!strstr(cm_error_text(), cases[i].reason))
            fail_msg("case %zu says: %s", i, cm_error_text());
        assert_null(f.label.s);
    }
}

static void test_limits(void **state)
{
    struct wi_field many[WI_FEEDBACK_ENTRY_MAX + 1];
    struct wi_feedback f;
    char *big = calloc(1, WI_FEEDBACK_IMAGE_MAX + 1);
    char label[WI_FEEDBACK_LABEL_MAX + 2];
    (void)state;

    for (size_t i = 0; i <= WI_FEEDBACK_ENTRY_MAX; i++)
        many[i] = (struct wi_field){"other", "x", 5, 1};
    many[0] = (struct wi_field){"label", "x", 5, 1};
    many[1] = (struct wi_field){"image", big, 5, WI_FEEDBACK_IMAGE_MAX};
    assert_int_equal(wi_feedback_parse(&f, many, WI_FEEDBACK_ENTRY_MAX), CM_OK);
    assert_int_equal(wi_feedback_parse(&f, many, WI_FEEDBACK_ENTRY_MAX + 1), CM_EFORMAT);
    many[1].nvalue++;
    assert_int_equal(wi_feedback_parse(&f, many, 2), CM_EFORMAT);
    assert_int_equal(wi_feedback_parse(&f, many, 0), CM_EFORMAT);
    memset(label, 'x', sizeof(label));
    label[sizeof(label) - 1] = '\0';
    assert_int_equal(PARSE(&f, "label", label, "image", JPEG), CM_EFORMAT);
    assert_int_equal(PARSE(&f, "label", label + 1, "image", JPEG), CM_OK);
    many[0].value = "a\0b"; /* a NUL in a text */
    many[0].nvalue = 3;
    many[1].nvalue = 1;
    assert_int_equal(wi_feedback_parse(&f, many, 2), CM_EFORMAT);
    free(big);
}

static void test_class_of_a_label(void **state)
{
    static const char *const names[] = {"cat", "dog", "0", "7"};
    static const struct {
        const char *label;
        int want; /* -1: refused */
    } cases[] = {{"dog", 1},
                 {"1", 1},
                 {"0", 2},
                 {"7", 3},
                 {"3", 3},
                 {"4", -1},
                 {"Dog", -1},
                 {"-1", -1},
                 {"1x", -1},
                 {"999999999", -1},
                 {"99999999999999", -1}};
    struct wi_feedback f;
    int class;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(PARSE(&f, "label", cases[i].label, "image", JPEG), CM_OK);
        cm_status st = wi_feedback_class(&class, &f, names, 4);
        if (cases[i].want < 0 ? st != CM_EFORMAT : st != CM_OK || class != cases[i].want)
            fail_msg("label %s", cases[i].label);
    }
}

/* What is encoded parses to the same; its bytes are golden as name=value lines. */
static void test_encode(void **state)
{
    struct wi_feedback in, out;
    struct wi_feedback_fields fields;
    char text[GOLDEN_MAX];
    size_t n = 0;
    (void)state;

    assert_int_equal(PARSE(&in, "label", "cat", "prediction_id", PREDICTION, "operator", "ann",
                           "note", "blurred", "id", "batch-3/17"),
                     CM_OK);
    assert_int_equal(wi_feedback_encode(&fields, &in), CM_OK);
    for (size_t i = 0; i < fields.n; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s=%.*s\n", (int)fields.field[i].nname,
                              fields.field[i].name, (int)fields.field[i].nvalue,
                              fields.field[i].value);
    golden_expect("wire-1.0-feedback.txt", text, n);
    assert_int_equal(wi_feedback_parse(&out, fields.field, fields.n), CM_OK);
    assert_true(is(out.label, "cat") && is(out.operator_name, "ann") && is(out.note, "blurred"));
    assert_true(wi_id_equal(in.prediction_id, out.prediction_id));

    in.image = wi_image_guess(JPEG, strlen(JPEG));
    assert_int_equal(wi_feedback_encode(&fields, &in), CM_EFORMAT); /* both */
    in.prediction_id = (struct wi_id){{0}};
    assert_int_equal(wi_feedback_encode(&fields, &in), CM_OK);
    in.label = (struct wi_text){NULL, 0};
    assert_int_equal(wi_feedback_encode(&fields, &in), CM_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_entries), cmocka_unit_test(test_bad_entries),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_class_of_a_label),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
