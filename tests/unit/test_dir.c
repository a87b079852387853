#include "common/file.h"

#include <unistd.h>

#include "common/mem.h"
#include "common/rename.h"
#include "tests/unit/expect.h"

static char dir[CM_PATH], a[CM_PATH], b[CM_PATH], file[CM_PATH];

static int setup(void **state)
{
    (void)state;
    expect_dir_make(dir);
    expect_ok(cm_path_join(a, dir, "a"));
    expect_ok(cm_path_join(b, dir, "b"));
    expect_ok(cm_path_join(file, dir, "file"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    expect_dir_remove(dir);
    return 0;
}

static void test_make(void **state)
{
    (void)state;
    char deep[CM_PATH], longest[2 * CM_PATH];
    expect_ok(cm_path_join(deep, dir, "p/q//r/"));
    expect_ok(cm_dir_make(deep));
    assert_true(cm_path_is_dir(deep));
    expect_ok(cm_dir_make(deep));
    expect_ok(cm_path_join(deep, dir, "of/a/file"));
    expect_ok(cm_dir_make_for(deep));
    assert_false(cm_path_exists(deep));
    expect_ok(cm_file_replace(deep, "x", 1));
    expect_ok(cm_dir_make_for(deep));
    expect_ok(cm_dir_make_for("bare"));
    expect_ok(cm_dir_make("/"));
    expect_ok(cm_dir_make("."));
    expect_fault(CM_EINVAL, "0 bytes", cm_dir_make(""));
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    expect_fault(CM_EINVAL, "8191 bytes", cm_dir_make(longest));
    expect_ok(cm_file_replace(file, "x", 1));
    expect_fault(CM_EEXIST, file, cm_dir_make(file));
    expect_ok(cm_path_join(deep, file, "below"));
    expect_fault(CM_EEXIST, file, cm_dir_make(deep));
    expect_ok(cm_dir_remove(file));
}

static void test_make_new_is_exclusive(void **state)
{
    (void)state;
    expect_ok(cm_dir_make_new(a));
    expect_fault(CM_EEXIST, a, cm_dir_make_new(a));
    char deep[CM_PATH];
    expect_ok(cm_path_join(deep, b, "c"));
    expect_fault(CM_ENOTFOUND, deep, cm_dir_make_new(deep));
    expect_ok(cm_dir_remove(a));
}

static void test_rename(void **state)
{
    (void)state;
    expect_ok(cm_dir_make(a));
    expect_ok(cm_dir_rename(a, b));
    assert_true(!cm_path_exists(a) && cm_path_is_dir(b));
    expect_fault(CM_ENOTFOUND, a, cm_dir_rename(a, b));
    /* rename(2) itself would replace an empty folder. */
    expect_ok(cm_dir_make(a));
    expect_fault(CM_EEXIST, b, cm_dir_rename(a, b));
    assert_true(cm_path_is_dir(a));
    expect_ok(cm_dir_remove(b));

    setenv("FLYWHEEL_INJECT", "dir.rename=eio", 1);
    expect_fault(CM_EIO, a, cm_dir_rename(a, b));
    assert_true(cm_path_is_dir(a) && !cm_path_exists(b));
    setenv("FLYWHEEL_INJECT", "dir.fsync=enospc", 1);
    expect_fault(CM_ENOSPC, dir, cm_dir_rename(a, b)); /* renamed, but perhaps not for ever */
    assert_true(cm_path_is_dir(b));
    unsetenv("FLYWHEEL_INJECT");
    expect_ok(cm_dir_remove(b));
}

static void test_list_is_sorted(void **state)
{
    (void)state;
    char **names, path[CM_PATH], name[8];
    size_t n;
    expect_ok(cm_dir_make(a));
    expect_ok(cm_dir_list(&names, &n, a));
    assert_int_equal(n, 0);
    cm_dir_list_free(&names, n);
    for (int i = 39; i >= 0; i--) {
        snprintf(name, sizeof name, "%02d", i * 7 % 40);
        expect_ok(cm_path_join(path, a, name));
        expect_ok(cm_dir_make(path));
    }
    expect_ok(cm_dir_list(&names, &n, a));
    assert_int_equal(n, 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(strtol(names[i], NULL, 10), i);
    cm_dir_list_free(&names, n);
    assert_null(names);

    cm_mem_fail_at(0);
    expect_ok(cm_dir_list(&names, &n, a));
    cm_dir_list_free(&names, n);
    long made = cm_mem_fail_at(0);
    for (long k = 1; k <= made; k++) {
        cm_mem_fail_at(k);
        expect_fault(CM_ENOMEM, "no memory", cm_dir_list(&names, &n, a));
        assert_null(names);
        assert_int_equal(n, 0);
    }
    cm_mem_fail_at(0);
    expect_ok(cm_dir_remove(a));
    expect_fault(CM_ENOTFOUND, a, cm_dir_list(&names, &n, a));
}

static void test_remove_does_not_follow_links(void **state)
{
    (void)state;
    char deep[CM_PATH], kept[CM_PATH], link[CM_PATH];
    expect_ok(cm_path_join(deep, a, "x/y"));
    expect_ok(cm_dir_make(deep));
    expect_ok(cm_dir_make(b));
    expect_ok(cm_path_join(kept, b, "kept"));
    expect_ok(cm_file_replace(kept, "1", 1));
    expect_ok(cm_path_join(link, deep, "link"));
    assert_int_equal(symlink(b, link), 0);
    expect_ok(cm_dir_remove(a));
    assert_false(cm_path_exists(a));
    assert_true(cm_path_exists(kept));
    expect_ok(cm_dir_remove(a)); /* missing is fine */
    expect_ok(cm_dir_remove(b));
}

static void test_sync(void **state)
{
    (void)state;
    expect_ok(cm_dir_sync(dir));
    expect_ok(cm_dir_sync_parent(dir));
    expect_ok(cm_dir_sync_parent("bare-name"));
    expect_fault(CM_ENOTFOUND, a, cm_dir_sync(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),
        cmocka_unit_test(test_make_new_is_exclusive),
        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_list_is_sorted),
        cmocka_unit_test(test_remove_does_not_follow_links),
        cmocka_unit_test(test_sync),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
