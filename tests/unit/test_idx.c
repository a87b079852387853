/* IDX files: read as the facts say, or named. */
#include <unistd.h>

#include "common/log.h"
#include "tests/unit/data_fixture.h"
#include "trainer/idx.h"
#include "trainer/program.h"

static const char *const classes[] = {"left", "right"};
static const struct tr_idx_facts facts = {.name = "tiny",
                                          .n_train = 5,
                                          .n_test = 3,
                                          .h = 2,
                                          .w = 3,
                                          .nclasses = 2,
                                          .classes = classes,
                                          .folder = "/nonexistent",
                                          .remedy = "install nothing"};

static void file_path(char path[CM_PATH], const char *dir, const char *part, const char *rest)
{
    char name[64];
    snprintf(name, sizeof name, "tiny/%s%s", part, rest);
    expect_ok(cm_path_join(path, dir, name));
}

/* n images of 2 x 3 whose bytes count up, and their labels 0 1 0 1 … */
static void write_part(const char *dir, const char *part, uint8_t n)
{
    uint8_t images[16 + 30] = {0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 2, 0, 0, 0, 3};
    uint8_t labels[8 + 5] = {0, 0, 8, 1, 0, 0, 0, n};
    char path[CM_PATH];

    for (uint8_t i = 0; i < 6 * n; i++)
        images[16 + i] = (uint8_t)(i + n);
    for (uint8_t i = 0; i < n; i++)
        labels[8 + i] = i % 2;
    file_path(path, dir, part, "-images-idx3-ubyte");
    expect_ok(cm_file_replace(path, images, 16 + 6 * (size_t)n));
    file_path(path, dir, part, "-labels-idx1-ubyte");
    expect_ok(cm_file_replace(path, labels, 8 + (size_t)n));
}

static void make_files(char dir[CM_PATH])
{
    char own[CM_PATH];
    cm_log_set_level(CM_LOG_ERROR);
    expect_dir_make(dir);
    expect_ok(cm_path_join(own, dir, "tiny"));
    expect_ok(cm_dir_make(own));
    write_part(dir, "train", 5);
    write_part(dir, "t10k", 3);
}

static void read_plain_and_gz(void **state)
{
    (void)state;
    struct tr_dataset ds;
    char dir[CM_PATH], path[CM_PATH];

    make_files(dir);
    for (int packed = 0; packed < 2; packed++) {
        expect_ok(tr_idx_open(&ds, &facts, dir));
        assert_int_equal(ds.channels, 1);
        assert_int_equal(tr_dataset_count(&ds), 8);
        for (int i = 0; i < 30; i++)
            assert_int_equal(ds.images[i], i + 5);
        for (int i = 0; i < 18; i++)
            assert_int_equal(ds.images[30 + i], i + 3);
        assert_int_equal(ds.labels[4], 0);
        assert_int_equal(ds.labels[6], 1);
        assert_string_equal(tr_dataset_class(&ds, 1), "right");
        tr_dataset_release(&ds);

        struct tr_program gzip = {.argv = (const char *const[]){"gzip", path, NULL}};
        size_t n;
        int code;
        file_path(path, dir, "train", "-images-idx3-ubyte");
        if (!packed)
            expect_ok(tr_program_run(&gzip, &n, &code));
    }
    expect_dir_remove(dir);
}

static void bad_files_named(void **state)
{
    (void)state;
    struct tr_dataset ds;
    char dir[CM_PATH], path[CM_PATH];

    make_files(dir);
    file_path(path, dir, "t10k", "-images-idx3-ubyte");
    for (long at = 0; at < 16; at++) { /* every byte of the header counts */
        flip_bit(path, at);
        expect_fault(CM_ECORRUPT, path, tr_idx_open(&ds, &facts, dir));
        assert_null(ds.block);
        flip_bit(path, at);
    }
    assert_int_equal(truncate(path, 33), 0);
    expect_fault(CM_ECORRUPT, "33 bytes, expected 34", tr_idx_open(&ds, &facts, dir));
    assert_int_equal(unlink(path), 0);
    expect_fault(CM_ENOTFOUND, path, tr_idx_open(&ds, &facts, dir));
    write_part(dir, "t10k", 3);
    file_path(path, dir, "train", "-labels-idx1-ubyte");
    flip_bit(path, 10);
    expect_fault(CM_ECORRUPT, "image 2 has label 4", tr_idx_open(&ds, &facts, dir));
    expect_dir_remove(dir);
    expect_fault(CM_ENOTFOUND, "install nothing", tr_idx_open(&ds, &facts, dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_plain_and_gz),
        cmocka_unit_test(bad_files_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
