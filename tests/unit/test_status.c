#include "common/status.h"

#include <errno.h>
#include <pthread.h>

#include "tests/unit/expect.h"

static void test_every_status_has_a_name_and_a_text(void **state)
{
    (void)state;
    for (int i = 0; i < CM_STATUS_COUNT; i++) {
        assert_memory_equal(cm_status_name((cm_status)i), "CM_", 3);
        assert_string_not_equal(cm_status_name((cm_status)i), "CM_?");
        assert_true(strlen(cm_status_text((cm_status)i)) > 0);
    }
    assert_string_equal(cm_status_name(CM_EIO), "CM_EIO");
    assert_string_equal(cm_status_text(CM_EIO), "input/output error");
    int numbers[] = {-1, CM_STATUS_COUNT, 1000};
    for (size_t i = 0; i < 3; i++) {
        assert_non_null(cm_status_name((cm_status)numbers[i]));
        assert_non_null(cm_status_text((cm_status)numbers[i]));
    }
}

static void test_exit_codes(void **state)
{
    (void)state;
    assert_int_equal(cm_status_exit_code(CM_OK), 0);
    assert_int_equal(cm_status_exit_code(CM_EUSAGE), 2);
    assert_int_equal(cm_status_exit_code(CM_ECONFIG), 2);
    assert_int_equal(cm_status_exit_code(CM_EPREEMPTED), 75);
    assert_int_equal(cm_status_exit_code(CM_EVERSION), 78);
    assert_int_equal(cm_status_exit_code(CM_EUNFIT), 78);
    assert_int_equal(cm_status_exit_code(CM_ESHAPE), 78);
    assert_int_equal(cm_status_exit_code(CM_EUNSUPPORTED), 78);
    assert_int_equal(cm_status_exit_code(CM_EMISMATCH), 1); /* a compare-and-set may lose once */
    assert_int_equal(cm_status_exit_code(CM_EIO), 1);
    assert_int_equal(cm_status_exit_code(CM_EINTERNAL), 1);
}

static void test_a_fault_is_recorded_with_its_place(void **state)
{
    (void)state;
    expect_fault(CM_EIO, "x.bin: 3 of 5 bytes",
                 CM_FAIL(CM_EIO, "%s: %d of %d bytes", "x.bin", 3, 5));
    assert_memory_equal(cm_error_where(), "test_status.c:", 14);
}

static void test_a_message_may_quote_the_one_before(void **state)
{
    (void)state;
    (void)CM_FAIL(CM_EIO, "disk on fire");
    expect_fault(CM_EINTERNAL, "late: disk on fire",
                 CM_FAIL(CM_EINTERNAL, "late: %s", cm_error_text()));
}

static void test_context_goes_in_front(void **state)
{
    (void)state;
    cm_status st = CM_FAIL(CM_EIO, "short read");
    expect_fault(CM_EIO, "loading version 3: short read", CM_CONTEXT(st, "loading version %d", 3));
}

static void test_errno_is_translated(void **state)
{
    (void)state;
    const struct {
        int number;
        cm_status st;
    } list[] = {{ENOSPC, CM_ENOSPC}, {EDQUOT, CM_ENOSPC},    {ENOENT, CM_ENOTFOUND},
                {EEXIST, CM_EEXIST}, {ENOTEMPTY, CM_EEXIST}, {ENOMEM, CM_ENOMEM},
                {EACCES, CM_EIO}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        errno = list[i].number;
        expect_fault(list[i].st, "cannot open x: ", CM_FAIL_ERRNO("cannot open %s", "x"));
    }
    errno = ENOENT;
    expect_fault(CM_ENOTFOUND, "No such file or directory", CM_FAIL_ERRNO("x"));
    errno = 100000;
    expect_fault(CM_EIO, "x: unknown error", CM_FAIL_ERRNO("x"));
}

static void test_long_messages_are_cut(void **state)
{
    (void)state;
    char longest[5000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    cm_status st = CM_FAIL(CM_EIO, "%s", longest);
    assert_true(strlen(cm_error_text()) < 2000);
    assert_int_equal(CM_CONTEXT(st, "%s", longest), CM_EIO);
    errno = EIO;
    st = CM_FAIL_ERRNO("%s", longest);
    assert_int_equal(st, CM_EIO);
    assert_true(strlen(cm_error_text()) < 2000);
}

static void *other_thread(void *arg)
{
    (void)arg;
    (void)CM_FAIL(CM_ENOSPC, "other");
    return NULL;
}

static void test_records_belong_to_threads(void **state)
{
    (void)state;
    (void)CM_FAIL(CM_EIO, "mine");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(cm_error_text(), "mine");
    expect_fault(CM_ENOSPC, "theirs", cm_error_adopt(CM_ENOSPC, "lane.c:7", "theirs"));
    assert_string_equal(cm_error_where(), "lane.c:7");
}

static void test_a_record_survives_clean_up(void **state)
{
    (void)state;
    struct cm_error saved;
    cm_status st = cm_error_adopt(CM_EIO, "work.c:7", "the work failed");
    cm_error_save(&saved);
    (void)CM_FAIL(CM_ENOSPC, "so did the clean-up");
    cm_error_restore(&saved);
    expect_fault(CM_EIO, "the work failed", st);
    assert_string_equal(cm_error_where(), "work.c:7");
    assert_null(strstr(cm_error_text(), "clean-up"));
}

/* What the ranks agreed on is one rank's to tell; a new fault is this process's again. */
static void test_a_shared_fault_is_told_once(void **state)
{
    (void)state;
    struct cm_error saved;
    cm_status st = CM_FAIL(CM_ECONFIG, "3 ranks");
    assert_false(cm_error_is_shared() || cm_error_is_told());
    cm_error_share(true);
    assert_true(cm_error_is_shared() && !cm_error_is_told());
    cm_error_share(false);
    expect_fault(CM_ECONFIG, "start: 3 ranks", CM_CONTEXT(st, "start"));
    assert_true(cm_error_is_shared() && cm_error_is_told());
    cm_error_save(&saved);
    (void)CM_FAIL(CM_EIO, "so did the clean-up");
    assert_false(cm_error_is_shared() || cm_error_is_told());
    cm_error_restore(&saved);
    assert_true(cm_error_is_shared() && cm_error_is_told());
    (void)cm_error_adopt(CM_EIO, "lane.c:7", "a lane's");
    assert_false(cm_error_is_shared() || cm_error_is_told());
    cm_error_set_told();
    assert_true(cm_error_is_told() && !cm_error_is_shared());
}

static cm_status tries(cm_status inner)
{
    CM_TRY(inner);
    return CM_EEXIST;
}

static cm_status goes(cm_status inner, int *released)
{
    cm_status st;
    CM_GOTO(st, inner, out);
    st = CM_EEXIST;
out:
    (*released)++;
    return st;
}

static void test_propagation(void **state)
{
    (void)state;
    int released = 0;
    assert_int_equal(tries(CM_EIO), CM_EIO);
    assert_int_equal(tries(CM_OK), CM_EEXIST);
    assert_int_equal(goes(CM_EIO, &released), CM_EIO);
    assert_int_equal(goes(CM_OK, &released), CM_EEXIST);
    assert_int_equal(released, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status_has_a_name_and_a_text),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_a_fault_is_recorded_with_its_place),
        cmocka_unit_test(test_a_message_may_quote_the_one_before),
        cmocka_unit_test(test_context_goes_in_front),
        cmocka_unit_test(test_errno_is_translated),
        cmocka_unit_test(test_long_messages_are_cut),
        cmocka_unit_test(test_records_belong_to_threads),
        cmocka_unit_test(test_a_record_survives_clean_up),
        cmocka_unit_test(test_a_shared_fault_is_told_once),
        cmocka_unit_test(test_propagation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
