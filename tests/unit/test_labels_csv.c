#include "common/mem.h"
#include "online/labels_csv.h"
#include "tests/unit/expect.h"

static void test_lines(void **state)
{
    (void)state;
    char text[] = "# made by hand\n\na.png,cat\r\nwith, comma.png,dog\n./b c.jpg,3";
    struct ol_labelled *list;
    size_t n;
    expect_ok(ol_labels_parse(&list, &n, text, "labels.csv"));
    assert_int_equal(n, 3);
    assert_string_equal(list[0].path, "a.png");
    assert_string_equal(list[0].label, "cat");
    assert_string_equal(list[1].path, "with, comma.png");
    assert_string_equal(list[2].path, "./b c.jpg");
    assert_string_equal(list[2].label, "3");
    cm_free(&list);
}

static void test_nothing(void **state)
{
    (void)state;
    char text[] = "";
    struct ol_labelled *list;
    size_t n;
    expect_ok(ol_labels_parse(&list, &n, text, "labels.csv"));
    assert_int_equal(n, 0);
    cm_free(&list);
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const char *const bad[] = {"a.png", "a.png,", ",cat", ","};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[64];
        struct ol_labelled *list;
        size_t n;
        snprintf(text, sizeof text, "ok.png,1\n%s\n", bad[i]);
        expect_fault(CM_EFORMAT, "labels.csv:2", ol_labels_parse(&list, &n, text, "labels.csv"));
        assert_null(list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_bad_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
