#include "common/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

static char dir[CM_PATH], path[CM_PATH];

static int setup(void **state)
{
    (void)state;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "file"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    expect_dir_remove(dir);
    return 0;
}

static void test_paths_are_joined_or_refused(void **state)
{
    (void)state;
    char joined[CM_PATH], longest[CM_PATH];
    expect_ok(cm_path_join(joined, "a/b", "c"));
    assert_string_equal(joined, "a/b/c");
    expect_ok(cm_path_join(joined, "a/b", ""));
    assert_string_equal(joined, "a/b");
    memset(longest, 'x', sizeof longest);
    longest[CM_PATH - 3] = '\0';
    expect_ok(cm_path_join(joined, "a", longest)); /* CM_PATH - 1 bytes */
    longest[CM_PATH - 3] = 'x';
    longest[CM_PATH - 2] = '\0';
    expect_fault(CM_EINVAL, "path longer than 4095 bytes", cm_path_join(joined, "a", longest));
}

static void test_read(void **state)
{
    (void)state;
    char *data;
    size_t n;
    expect_ok(cm_file_replace(path, "ab\0cd", 5));
    expect_ok(cm_file_read(&data, &n, path, 5));
    assert_int_equal(n, 5);
    assert_memory_equal(data, "ab\0cd", 6); /* and a NUL behind */
    cm_free(&data);
    expect_fault(CM_EFORMAT, path, cm_file_read(&data, &n, path, 4));
    assert_null(data);
    expect_ok(cm_file_replace(path, "", 0));
    expect_ok(cm_file_read(&data, &n, path, 0));
    assert_int_equal(n, 0);
    assert_string_equal(data, "");
    cm_free(&data);
}

/* Files whose size stat does not know are read to their end, and the limit holds for them too. */
static void test_read_without_a_size(void **state)
{
    (void)state;
    char *data;
    size_t n;
    expect_ok(cm_file_read(&data, &n, "/proc/self/stat", 1 << 20));
    assert_true(n > 10);
    cm_free(&data);
    expect_fault(CM_EFORMAT, "larger than 3 bytes", cm_file_read(&data, &n, "/proc/self/stat", 3));
    expect_fault(CM_EFORMAT, "/dev/zero", cm_file_read(&data, &n, "/dev/zero", 100000));
}

/* Nobody ever writes into this one: reading it would not end. */
static void test_fifos_are_no_files(void **state)
{
    (void)state;
    char fifo[CM_PATH], text[32], *data;
    const void *mapped;
    size_t n;
    int ends[2];
    expect_ok(cm_path_join(fifo, dir, "fifo"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_fault(CM_EIO, "fifo is no regular file", cm_file_read(&data, &n, fifo, 10));
    expect_fault(CM_EIO, "fifo is no regular file", cm_file_map(&mapped, &n, fifo));

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "piped", 5), 5);
    close(ends[1]);
    snprintf(text, sizeof text, "/dev/fd/%d", ends[0]);
    expect_ok(cm_file_read(&data, &n, text, 10));
    assert_string_equal(data, "piped");
    cm_free(&data);
    close(ends[0]);
}

static void test_read_faults_name_the_path(void **state)
{
    (void)state;
    char absent[CM_PATH], *data;
    size_t n;
    expect_ok(cm_path_join(absent, dir, "absent"));
    expect_fault(CM_ENOTFOUND, absent, cm_file_read(&data, &n, absent, 10));
    expect_fault(CM_EIO, dir, cm_file_read(&data, &n, dir, 1 << 20));
    expect_ok(cm_file_replace(path, "abc", 3));
    cm_mem_fail_at(1);
    expect_fault(CM_ENOMEM, path, cm_file_read(&data, &n, path, 10));
    cm_mem_fail_at(0);
    assert_null(data);
}

static void test_map(void **state)
{
    (void)state;
    const void *data;
    size_t n;
    expect_ok(cm_file_replace(path, "hello", 5));
    expect_ok(cm_file_map(&data, &n, path));
    assert_int_equal(n, 5);
    assert_memory_equal(data, "hello", 5);
    cm_file_unmap(&data, n);
    assert_null(data);
    cm_file_unmap(&data, 0);

    expect_ok(cm_file_replace(path, "", 0));
    expect_ok(cm_file_map(&data, &n, path));
    assert_int_equal(n, 0);
    assert_non_null(data);
    cm_file_unmap(&data, n);

    expect_fault(CM_EIO, dir, cm_file_map(&data, &n, dir));
    expect_ok(cm_dir_remove(path));
    expect_fault(CM_ENOTFOUND, path, cm_file_map(&data, &n, path));
    assert_null(data);
}

static void test_questions(void **state)
{
    (void)state;
    uint64_t nbytes = 0;
    expect_ok(cm_file_replace(path, "hello", 5));
    assert_true(cm_path_exists(path) && cm_path_exists(dir));
    assert_true(cm_path_is_dir(dir) && !cm_path_is_dir(path));
    expect_ok(cm_file_size(&nbytes, path));
    assert_int_equal(nbytes, 5);
    expect_ok(cm_disk_free(&nbytes, dir));
    assert_true(nbytes > 0);
    expect_ok(cm_dir_remove(path));
    assert_false(cm_path_exists(path));
    expect_fault(CM_ENOTFOUND, path, cm_file_size(&nbytes, path));
    expect_fault(CM_ENOTFOUND, path, cm_disk_free(&nbytes, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_are_joined_or_refused),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_without_a_size),
        cmocka_unit_test(test_fifos_are_no_files),
        cmocka_unit_test(test_read_faults_name_the_path),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_questions),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
