/* "flywheel data": verbs, options, errors; what get says to broken sources. */
#include "common/log.h"
#include "common/mem.h"
#include "model/image.h"
#include "tests/unit/expect.h"
#include "trainer/command_data.h"
#include "trainer/synthetic.h"

/* The words after "data", up to a NULL. */
static cm_status run(const char *const *words)
{
    char copy[12][CM_PATH], *argv[13] = {"data"};
    int n = 1;

    for (; words[n - 1]; n++) {
        snprintf(copy[n - 1], CM_PATH, "%s", words[n - 1]);
        argv[n] = copy[n - 1];
    }
    return tr_command_data(n, argv);
}
#define DATA(...) run((const char *const[]){__VA_ARGS__, NULL})

static void usage(void **state)
{
    (void)state;
    expect_ok(DATA("--help"));
    expect_ok(DATA("get", "--help"));
    expect_fault(CM_EUSAGE, "flywheel data: a verb is missing", run((const char *const[]){NULL}));
    expect_fault(CM_EUSAGE, "no 'fetch'; see --help", DATA("fetch"));
    expect_fault(CM_EUSAGE, "(did you mean 'verify'?)", DATA("verfy"));
    expect_fault(CM_EUSAGE, "imagenet", DATA("get", "imagenet"));
    expect_fault(CM_EUSAGE, "--dir", DATA("get", "cifar10", "--dri", "x"));
    expect_fault(CM_EUSAGE, "--save needs", DATA("show", "--save", "x.png"));
}

static void show(void **state)
{
    (void)state;
    const char *set = "synthetic:3:20:5x4x3";
    struct tr_dataset ds;
    struct nn_image image;
    char dir[CM_PATH], path[CM_PATH], *png = NULL;
    size_t n;

    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "out.png"));
    expect_ok(DATA("show", "--dataset", set));
    expect_ok(DATA("show", "--dataset", set, "--json"));
    expect_ok(DATA("show", "--dataset", set, "24", "--save", path, "--json"));
    expect_ok(tr_synthetic_open(&ds, set, 1));
    expect_ok(cm_file_read(&png, &n, path, 1 << 20));
    expect_ok(nn_image_decode(&image, png, n, &nn_image_limits_default));
    assert_int_equal(image.h, 5);
    assert_memory_equal(image.pixels, tr_dataset_image(&ds, 24), 60);
    nn_image_release(&image);
    cm_free(&png);
    tr_dataset_release(&ds);
    expect_fault(CM_EUSAGE, "0..24", DATA("show", "--dataset", set, "25"));
    expect_fault(CM_EUSAGE, "'1x'", DATA("show", "--dataset", set, "1x"));
    expect_fault(CM_ECONFIG, "cifar10", DATA("show", "--dataset", "cifar11"));
    expect_dir_remove(dir);
}

static void broken_sources(void **state)
{
    (void)state;
    char dir[CM_PATH], file[CM_PATH], data[CM_PATH];

    unsetenv("CIFAR10_DIR");
    expect_dir_make(dir);
    expect_ok(cm_path_join(data, dir, "data"));
    expect_fault(CM_ENOTFOUND, "flywheel data get", DATA("verify", "--dir", data));
    expect_ok(cm_path_join(file, dir, "cifar-10-binary.tar.gz"));
    expect_ok(cm_file_replace(file, "\x1f\x8b\x08\0\0\0\0\0", 8)); /* where a gzip file was cut */
    expect_fault(CM_ECORRUPT, file, DATA("get", "cifar10", "--from", file, "--dir", data));
    expect_fault(CM_ECORRUPT, "1 of 1 files are bad", DATA("verify", "--dir", dir));
    expect_ok(cm_path_join(file, dir, "data_batch_1.bin"));
    expect_ok(cm_file_replace(file, "1234", 4));
    expect_fault(CM_ENOTFOUND, "data_batch_2.bin",
                 DATA("get", "cifar10", "--from", dir, "--dir", data));
    expect_fault(CM_ECORRUPT, "files are bad", DATA("verify", "--dir", dir, "--json"));
    expect_fault(CM_ENOTFOUND, "nowhere", DATA("get", "cifar10", "--from", "nowhere"));
    assert_false(cm_path_exists(data));
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage),
        cmocka_unit_test(show),
        cmocka_unit_test(broken_sources),
    };
    cm_log_set_level(CM_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
