#include "common/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/hash.h"
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

static void expect_content(const char *text)
{
    char *data;
    size_t n;
    expect_ok(cm_file_read(&data, &n, path, 1 << 20));
    assert_string_equal(data, text);
    cm_free(&data);
}

/* The folder holds path and nothing else: no temporary file was left. */
static void expect_alone(void)
{
    char **names;
    size_t n;
    expect_ok(cm_dir_list(&names, &n, dir));
    assert_int_equal(n, 1);
    assert_string_equal(names[0], "file");
    cm_dir_list_free(&names, n);
}

static void test_nothing_is_seen_before_commit(void **state)
{
    (void)state;
    struct cm_writer *w;
    expect_ok(cm_writer_open(&w, path));
    expect_ok(cm_writer_put(w, "hel", 3));
    expect_ok(cm_writer_put(w, NULL, 0));
    expect_ok(cm_writer_put(w, "lo", 2));
    assert_false(cm_path_exists(path));
    assert_int_equal(cm_writer_nbytes(w), 5);
    assert_true(cm_writer_hash(w) == cm_xxh64("hello", 5));
    expect_ok(cm_writer_commit(&w));
    assert_null(w);
    expect_content("hello");
    expect_alone();
}

static void test_close_without_commit_changes_nothing(void **state)
{
    (void)state;
    struct cm_writer *w;
    expect_ok(cm_file_replace(path, "old", 3));
    expect_ok(cm_writer_open(&w, path));
    expect_ok(cm_writer_put(w, "new", 3));
    cm_writer_close(&w);
    cm_writer_close(&w);
    expect_content("old");
    expect_alone();
}

/* Sizes around the buffer's, in pieces that straddle it. */
static void test_large_files_in_pieces(void **state)
{
    (void)state;
    const size_t n = 1500007, pieces[] = {1000, 65536, 262143, 262144, 262145, 700000};
    char *data, *back;
    size_t nback;
    expect_ok(cm_alloc(&data, n, 1, "data"));
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 131 % 257);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        struct cm_writer *w;
        expect_ok(cm_writer_open(&w, path));
        for (size_t i = 0; i < n; i += pieces[p])
            expect_ok(cm_writer_put(w, data + i, n - i < pieces[p] ? n - i : pieces[p]));
        assert_true(cm_writer_hash(w) == cm_xxh64(data, n));
        expect_ok(cm_writer_commit(&w));
        expect_ok(cm_file_read(&back, &nback, path, n));
        assert_int_equal(nback, n);
        assert_memory_equal(back, data, n);
        cm_free(&back);
    }
    cm_free(&data);
}

static void test_two_writers_do_not_meet(void **state)
{
    (void)state;
    struct cm_writer *a, *b;
    expect_ok(cm_writer_open(&a, path));
    expect_ok(cm_writer_open(&b, path));
    expect_ok(cm_writer_put(a, "first", 5));
    expect_ok(cm_writer_put(b, "second", 6));
    expect_ok(cm_writer_commit(&a));
    expect_content("first");
    expect_ok(cm_writer_commit(&b));
    expect_content("second");
    expect_alone();
}

/* Before the rename a failure leaves the old bytes; after it the new ones. Always a whole file, and
 * no other. */
static void test_a_fault_at_every_point(void **state)
{
    (void)state;
    const struct {
        const char *spec;
        cm_status st;
        const char *content;
    } list[] = {{"file.write=enospc", CM_ENOSPC, "old"},  {"file.write=eio", CM_EIO, "old"},
                {"file.fsync=eio", CM_EIO, "old"},        {"file.fsync=enospc", CM_ENOSPC, "old"},
                {"file.rename=enospc", CM_ENOSPC, "old"}, {"dir.fsync=eio", CM_EIO, "new"}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        unsetenv("FLYWHEEL_INJECT");
        expect_ok(cm_file_replace(path, "old", 3));
        setenv("FLYWHEEL_INJECT", list[i].spec, 1);
        expect_fault(list[i].st, dir, cm_file_replace(path, "new", 3));
        unsetenv("FLYWHEEL_INJECT");
        expect_content(list[i].content);
        expect_alone();
    }
}

static void test_a_fault_in_a_later_write(void **state)
{
    (void)state;
    char *data;
    struct cm_writer *w;
    expect_ok(cm_file_replace(path, "old", 3));
    expect_ok(cm_alloc(&data, 300000, 1, "data"));
    setenv("FLYWHEEL_INJECT", "file.write=enospc@2", 1);
    expect_ok(cm_writer_open(&w, path));
    expect_ok(cm_writer_put(w, data, 300000));
    expect_fault(CM_ENOSPC, path, cm_writer_put(w, data, 300000));
    cm_writer_close(&w);
    unsetenv("FLYWHEEL_INJECT");
    cm_free(&data);
    expect_content("old");
    expect_alone();
}

static void test_a_lack_of_memory_leaves_nothing(void **state)
{
    (void)state;
    expect_ok(cm_file_replace(path, "old", 3));
    cm_mem_fail_at(0);
    expect_ok(cm_file_replace(path, "old", 3));
    long made = cm_mem_fail_at(0);
    assert_true(made > 0);
    for (long k = 1; k <= made; k++) {
        cm_mem_fail_at(k);
        expect_fault(CM_ENOMEM, "no memory", cm_file_replace(path, "new", 3));
        cm_mem_fail_at(0);
        expect_content("old");
        expect_alone();
    }
}

static void test_bad_paths(void **state)
{
    (void)state;
    struct cm_writer *w;
    char below[CM_PATH];
    expect_ok(cm_path_join(below, dir, "absent/file"));
    expect_fault(CM_ENOTFOUND, below, cm_writer_open(&w, below));
    assert_null(w);
    /* A folder can not be replaced by a file. */
    expect_ok(cm_path_join(below, dir, "folder"));
    expect_ok(cm_dir_make(below));
    expect_fault(CM_EIO, below, cm_file_replace(below, "x", 1));
    assert_true(cm_path_is_dir(below));
    expect_ok(cm_dir_remove(below));
}

static void test_files_have_the_mode_of_the_umask(void **state)
{
    (void)state;
    struct stat info;
    mode_t before = umask(027);
    expect_ok(cm_file_replace(path, "x", 1));
    umask(before);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_seen_before_commit),
        cmocka_unit_test(test_close_without_commit_changes_nothing),
        cmocka_unit_test(test_large_files_in_pieces),
        cmocka_unit_test(test_two_writers_do_not_meet),
        cmocka_unit_test(test_a_fault_at_every_point),
        cmocka_unit_test(test_a_fault_in_a_later_write),
        cmocka_unit_test(test_a_lack_of_memory_leaves_nothing),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_files_have_the_mode_of_the_umask),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
