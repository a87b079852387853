/* Which loop a folder is, and is not, and which Redis is too old. */
#include "online/queue_identity.h"

#include <stdio.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

static void test_version(void **state)
{
    (void)state;
    assert_int_equal(ol_queue_version("# Server\r\nredis_version:6.2.14\r\nos:x"), 6);
    assert_int_equal(ol_queue_version("# Server\r\nredis_version:7.0.15\r\n"), 7);
    assert_int_equal(ol_queue_version("redis_mode:standalone"), 0);
}

static void test_owner(void **state)
{
    char dir[CM_PATH], first[OL_OWNER], again[OL_OWNER], other[OL_OWNER], path[CM_PATH];
    (void)state;
    expect_dir_make(dir);
    expect_ok(ol_queue_owner(first, dir));
    expect_ok(ol_queue_owner(again, dir));
    assert_string_equal(first, again);
    assert_non_null(strstr(first, dir));
    expect_ok(cm_path_join(path, dir, "uuid"));
    assert_int_equal(unlink(path), 0);
    expect_ok(ol_queue_owner(other, dir));
    assert_false(ol_queue_same_owner(first, other));
    /* A file of an earlier build says no place: it is taken as ours, and completed. */
    other[CM_UUID_TEXT - 1] = '\n';
    expect_ok(cm_file_replace(path, other, CM_UUID_TEXT));
    expect_ok(ol_queue_owner(again, dir));
    assert_true(ol_queue_same_owner(again, other));
    expect_ok(cm_file_replace(path, "nonsense", 8));
    expect_fault(CM_EFORMAT, "no UUID", ol_queue_owner(other, dir));
    expect_dir_remove(dir);
}

/* Both go on, and only one of them as the owner that a Redis knows. */
static void test_a_copy_is_another_loop(void **state)
{
    char dir[CM_PATH], run[CM_PATH], copy[CM_PATH], moved[CM_PATH], from[CM_PATH], to[CM_PATH];
    char first[OL_OWNER], again[OL_OWNER], other[OL_OWNER], *text;
    size_t n;
    (void)state;
    expect_dir_make(dir);
    expect_ok(cm_path_join(run, dir, "run"));
    expect_ok(cm_path_join(copy, dir, "copy"));
    expect_ok(cm_path_join(moved, dir, "moved"));
    expect_ok(cm_dir_make(run));
    expect_ok(ol_queue_owner(first, run));
    expect_ok(cm_dir_make(copy));
    expect_ok(cm_path_join(from, run, "uuid"));
    expect_ok(cm_path_join(to, copy, "uuid"));
    expect_ok(cm_file_read(&text, &n, from, 256));
    expect_ok(cm_file_replace(to, text, n));
    cm_free(&text);
    expect_ok(ol_queue_owner(other, copy));
    assert_false(ol_queue_same_owner(first, other));
    expect_ok(ol_queue_owner(again, copy)); /* it keeps the new name */
    assert_true(ol_queue_same_owner(again, other));
    assert_int_equal(rename(run, moved), 0); /* a move is none */
    expect_ok(ol_queue_owner(again, moved));
    assert_true(ol_queue_same_owner(first, again));
    expect_dir_remove(dir);
}

/* Kernels and mounts tell more or less of a folder, which makes no copy of it: only another birth
 * does, or another inode where births are not known. */
static void test_the_same_folder(void **state)
{
    char dir[CM_PATH], path[CM_PATH], first[OL_OWNER], again[OL_OWNER], text[128], *was;
    size_t n;
    (void)state;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "uuid"));
    expect_ok(ol_queue_owner(first, dir));
    expect_ok(cm_file_read(&was, &n, path, 256));
    char *inode = strchr(was, ' ') + 1, *birth = strchr(inode, '.') + 1;
    birth[strcspn(birth, "\n")] = '\0';
    if (strspn(birth, "0") == strlen(birth))
        skip(); /* no births here */
    const struct {
        const char *inode, *birth;
        bool same;
    } place[] = {{"1", birth, true}, {inode, "000000000", true}, {"1", "000000000", false}};
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        snprintf(text, sizeof text, "%.36s %.*s.%s\n", was, (int)strcspn(place[i].inode, "."),
                 place[i].inode, place[i].birth);
        expect_ok(cm_file_replace(path, text, strlen(text)));
        expect_ok(ol_queue_owner(again, dir));
        assert_int_equal(ol_queue_same_owner(first, again), place[i].same);
    }
    cm_free(&was);
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_a_copy_is_another_loop),
        cmocka_unit_test(test_the_same_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
