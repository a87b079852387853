/* Reading CIFAR-10 from files, .xz, an archive and the cache; every bad file is named. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/data_fixture.h"
#include "trainer/program.h"

/* Planes became pixels, labels are where they belong. */
static void expect_small(const struct tr_dataset *ds)
{
    assert_int_equal(ds->n_train, 5 * PER_FILE);
    assert_int_equal(ds->n_test, PER_FILE);
    assert_string_equal(tr_dataset_class(ds, 9), "truck");
    for (int n = 0; n < 6 * PER_FILE; n++) {
        int i = n / PER_FILE, at = n % PER_FILE * RECORD;
        assert_int_equal(ds->labels[n], small_byte(i, at));
        for (int p = 0; p < 1024; p += 31)
            for (int c = 0; c < 3; c++)
                assert_int_equal(tr_dataset_image(ds, n)[3 * p + c],
                                 small_byte(i, at + 1 + 1024 * c + p));
    }
}

static void run(const char *const *argv)
{
    struct tr_program program = {.argv = argv};
    size_t n;
    int code;
    expect_ok(tr_program_run(&program, &n, &code));
    assert_int_equal(code, 0);
}

static void folder_read(void **state)
{
    (void)state;
    struct small_cifar s;
    struct tr_dataset ds;
    char path[CM_PATH];

    small_make(&s);
    expect_ok(tr_cifar10_read(&ds, &s.facts, s.dir));
    expect_small(&ds);
    tr_dataset_release(&ds);
    small_path(path, &s, 2); /* one of them packed */
    run((const char *const[]){"xz", "-0", path, NULL});
    expect_ok(tr_cifar10_read(&ds, &s.facts, s.dir));
    expect_small(&ds);
    tr_dataset_release(&ds);
    expect_dir_remove(s.dir);
}

static void bad_files_named(void **state)
{
    (void)state;
    struct small_cifar s;
    struct tr_dataset ds;
    char path[CM_PATH];

    small_make(&s);
    for (int i = 0; i < TR_CIFAR10_FILES; i++) {
        small_path(path, &s, i);
        flip_bit(path, 100 + 500 * i);
        expect_fault(CM_ECORRUPT, s.facts.file[i].name, tr_cifar10_read(&ds, &s.facts, s.dir));
        expect_fault(CM_ECORRUPT, s.md5[i], tr_cifar10_verify_file(&s.facts, s.dir, i));
        assert_null(ds.block);
        small_write(&s, i);
        assert_int_equal(truncate(path, FILE_NBYTES - 1), 0);
        expect_fault(CM_ECORRUPT, s.facts.file[i].name, tr_cifar10_read(&ds, &s.facts, s.dir));
        expect_fault(CM_ECORRUPT, "12291 bytes, expected 12292",
                     tr_cifar10_verify_file(&s.facts, s.dir, i));
        assert_int_equal(truncate(path, FILE_NBYTES + 1), 0);
        expect_fault(CM_ECORRUPT, "flywheel data get", tr_cifar10_read(&ds, &s.facts, s.dir));
        assert_int_equal(unlink(path), 0);
        expect_fault(CM_ENOTFOUND, s.facts.file[i].name, tr_cifar10_read(&ds, &s.facts, s.dir));
        small_write(&s, i);
        expect_ok(tr_cifar10_verify_file(&s.facts, s.dir, i));
    }
    /* What is missing is seen before the first file is read. */
    small_path(path, &s, 0);
    flip_bit(path, 100);
    small_path(path, &s, TR_CIFAR10_FILES - 1);
    assert_int_equal(unlink(path), 0);
    expect_fault(CM_ENOTFOUND, s.facts.file[TR_CIFAR10_FILES - 1].name,
                 tr_cifar10_read(&ds, &s.facts, s.dir));
    expect_dir_remove(s.dir);
}

static void bad_xz_named(void **state)
{
    (void)state;
    struct small_cifar s;
    struct tr_dataset ds;
    char path[CM_PATH], packed[CM_PATH + 4];
    struct stat info;

    small_make(&s);
    small_path(path, &s, 3);
    snprintf(packed, sizeof packed, "%s.xz", path);
    run((const char *const[]){"xz", "-0", path, NULL});
    assert_int_equal(stat(packed, &info), 0);
    assert_int_equal(truncate(packed, info.st_size / 2), 0);
    expect_fault(CM_ECORRUPT, "data_batch_4.bin.xz", tr_cifar10_read(&ds, &s.facts, s.dir));
    small_write(&s, 3);
    assert_int_equal(truncate(path, FILE_NBYTES + 5), 0);
    run((const char *const[]){"xz", "-0", "-f", path, NULL});
    expect_fault(CM_ECORRUPT, "unpacks to more", tr_cifar10_read(&ds, &s.facts, s.dir));
    expect_dir_remove(s.dir);
}

static void archive_read(void **state)
{
    (void)state;
    struct small_cifar s;
    struct tr_dataset ds;
    char inner[CM_PATH], archive[CM_PATH], path[CM_PATH];
    struct stat info;

    small_make(&s);
    expect_ok(cm_path_join(inner, s.dir, "cifar-10-batches-bin"));
    expect_ok(cm_path_join(archive, s.dir, s.facts.archive));
    expect_ok(cm_dir_make(inner));
    for (int i = 0; i < TR_CIFAR10_FILES; i++) {
        char to[CM_PATH];
        small_path(path, &s, i);
        expect_ok(cm_path_join(to, inner, s.facts.file[i].name));
        assert_int_equal(rename(path, to), 0);
    }
    run((const char *const[]){"tar", "-czf", archive, "-C", s.dir, "cifar-10-batches-bin", NULL});
    expect_ok(cm_dir_remove(inner));
    expect_ok(tr_cifar10_find(path, &s.facts, s.dir));
    expect_ok(tr_cifar10_read(&ds, &s.facts, path));
    expect_small(&ds);
    tr_dataset_release(&ds);
    assert_int_equal(stat(archive, &info), 0);
    assert_int_equal(truncate(archive, info.st_size * 2 / 3), 0);
    expect_fault(CM_ECORRUPT, s.facts.archive, tr_cifar10_read(&ds, &s.facts, archive));
    expect_fault(CM_ENOTFOUND, "nowhere", tr_cifar10_read(&ds, &s.facts, "nowhere"));
    expect_dir_remove(s.dir);
}

static void finding(void **state)
{
    (void)state;
    struct small_cifar s;
    char empty[CM_PATH], found[CM_PATH];

    small_make(&s);
    expect_dir_make(empty);
    expect_fault(CM_ENOTFOUND, "flywheel data get cifar10",
                 tr_cifar10_find(found, &s.facts, empty));
    setenv("CIFAR10_DIR", s.dir, 1);
    expect_ok(tr_cifar10_find(found, &s.facts, empty));
    assert_string_equal(found, s.dir);
    setenv("CIFAR10_DIR", empty, 1); /* given and wrong: said, not passed over */
    expect_fault(CM_ENOTFOUND, empty, tr_cifar10_find(found, &s.facts, s.dir));
    unsetenv("CIFAR10_DIR");
    expect_dir_remove(empty);
    expect_dir_remove(s.dir);
}

/* The second start reads the cache only; a damaged cache is made again from the files. */
static void cache(void **state)
{
    (void)state;
    struct small_cifar s;
    struct tr_dataset first, ds;
    char data[CM_PATH], path[CM_PATH];
    uint64_t nbytes;

    small_make(&s);
    expect_ok(cm_path_join(data, s.dir, "new/data"));
    expect_ok(tr_cifar10_cache_path(path, data));
    setenv("CIFAR10_DIR", s.dir, 1);
    expect_fault(CM_ENOTFOUND, path, tr_cifar10_map(&ds, &s.facts, data));
    expect_ok(tr_cifar10_open(&first, &s.facts, data));
    expect_ok(cm_file_size(&nbytes, path));
    for (uint64_t at = 0; at < nbytes; at += at < 1024 ? 37 : 4099) {
        flip_bit(path, (long)at);
        assert_int_not_equal(tr_cifar10_map(&ds, &s.facts, data), CM_OK);
        assert_non_null(strstr(cm_error_text(), path));
        assert_null(ds.images);
        flip_bit(path, (long)at);
    }
    assert_int_equal(truncate(path, (off_t)nbytes - 1), 0);
    expect_fault(CM_ECORRUPT, path, tr_cifar10_map(&ds, &s.facts, data));
    expect_ok(tr_cifar10_open(&ds, &s.facts, data)); /* from the files; the cache is whole again */
    tr_dataset_release(&ds);
    setenv("CIFAR10_DIR", "/nonexistent", 1);
    expect_ok(tr_cifar10_open(&ds, &s.facts, data)); /* from the cache */
    expect_small(&ds);
    assert_string_equal(ds.fingerprint, first.fingerprint);
    tr_dataset_release(&ds);
    s.facts.fingerprint = "0123456789abcdef";
    expect_fault(CM_ECORRUPT, "0123456789abcdef", tr_cifar10_map(&ds, &s.facts, data));
    tr_dataset_release(&first);
    unsetenv("CIFAR10_DIR");
    expect_dir_remove(s.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_read),  cmocka_unit_test(bad_files_named),
        cmocka_unit_test(bad_xz_named), cmocka_unit_test(archive_read),
        cmocka_unit_test(finding),      cmocka_unit_test(cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
