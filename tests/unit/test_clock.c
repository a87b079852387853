#include "common/clock.h"

#include <ctype.h>
#include <math.h>

#include "tests/unit/expect.h"

static void test_utc_text(void **state)
{
    (void)state;
    const struct {
        double utc_s;
        const char *text;
    } list[] = {{0, "1970-01-01T00:00:00Z"},
                {1795320603.9, "2026-11-22T04:10:03Z"},
                {951782400, "2000-02-29T00:00:00Z"},
                {-1, "1969-12-31T23:59:59Z"},
                {-0.5, "1969-12-31T23:59:59Z"},
                {253402300799.0, "9999-12-31T23:59:59Z"},
                {253402300800.0, "no time"},
                {1e300, "no time"},
                {(double)NAN, "no time"}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char text[CM_UTC_TEXT];
        cm_utc_format(text, list[i].utc_s);
        assert_string_equal(text, list[i].text);
    }
    assert_true(cm_utc_now() > 1.7e9);
}

static void test_deadlines(void **state)
{
    (void)state;
    struct cm_deadline never = cm_deadline_in_ms(-1), far = cm_deadline_in_ms(INT64_MAX);
    assert_false(cm_deadline_passed(never));
    assert_int_equal(cm_deadline_left_ms(never), INT32_MAX);
    assert_false(cm_deadline_passed(far));
    assert_int_equal(cm_deadline_left_ms(far), INT32_MAX);
    assert_true(cm_deadline_passed(cm_deadline_in_ms(0)));
    assert_int_equal(cm_deadline_left_ms(cm_deadline_in_ms(0)), 0);
    int left_ms;
    /* Rounded up: poll() must not spin through the last millisecond. */
    int64_t left_ns = INT64_C(60000999999), before_ns = cm_now_ns();
    left_ms = cm_deadline_left_ms((struct cm_deadline){before_ns + left_ns});
    int64_t taken_ns = cm_now_ns() - before_ns;
    assert_in_range(left_ms, (left_ns - taken_ns + 999999) / 1000000, 60001);
}

/* A stop of 10 s, as one that was stopped sees it: its last look was so long ago. */
static void test_a_stop_does_not_count(void **state)
{
    (void)state;
    const int64_t stop_ns = INT64_C(10000000000), second_ns = INT64_C(1000000000);
    int64_t now_ns = cm_now_ns();
    struct cm_awake stopped = {.end = {now_ns - stop_ns + second_ns},
                               .looked_ns = now_ns - stop_ns};
    assert_false(cm_awake_passed(&stopped));
    assert_in_range(stopped.end.at_ns - now_ns, 1, 2 * second_ns);
    assert_false(cm_awake_passed(&stopped));

    struct cm_awake over = {.end = {now_ns - 1}, .looked_ns = now_ns};
    assert_true(cm_awake_passed(&over));
    struct cm_awake far = cm_awake_until(cm_deadline_in_ms(-1));
    far.looked_ns = 0;
    assert_false(cm_awake_passed(&far));
    assert_int_equal(far.end.at_ns, INT64_MAX);
}

static void test_the_clock_goes_on(void **state)
{
    (void)state;
    int64_t before_ns = cm_now_ns();
    cm_sleep_us(2000);
    assert_true(cm_now_ns() - before_ns >= 2000000);
    before_ns = cm_now_ns();
    cm_sleep_us(-1000000000);
    cm_sleep_us(0);
    assert_true(cm_now_ns() >= before_ns);
}

static void test_uuids(void **state)
{
    (void)state;
    struct cm_uuid a = cm_uuid_make(), b = cm_uuid_make();
    assert_memory_not_equal(a.byte, b.byte, sizeof a.byte);
    char text[CM_UUID_TEXT];
    cm_uuid_format(text, a);
    assert_int_equal(strlen(text), 36);
    assert_int_equal(text[14], '4');
    assert_non_null(strchr("89ab", text[19]));
    for (int i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23)
            assert_int_equal(text[i], '-');
        else
            assert_true(isxdigit((unsigned char)text[i]) && !isupper((unsigned char)text[i]));
    }
    struct cm_uuid known = {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98,
                             0x76, 0x54, 0x32, 0x10}};
    cm_uuid_format(text, known);
    assert_string_equal(text, "01234567-89ab-cdef-fedc-ba9876543210");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utc_text),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_a_stop_does_not_count),
        cmocka_unit_test(test_the_clock_goes_on),
        cmocka_unit_test(test_uuids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
