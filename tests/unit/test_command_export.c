/* "flywheel data export": the right pixels, labels and parts; overlap and bad words refused. */
#include "common/log.h"
#include "common/mem.h"
#include "model/image.h"
#include "tests/unit/expect.h"
#include "trainer/command_data.h"
#include "trainer/shift.h"
#include "trainer/synthetic.h"

#define SET  "synthetic:3:20:5x4x3" /* 20 training and 5 test images */
#define SIZE (5 * 4 * 3)

struct place {
    char dir[CM_PATH], config[CM_PATH], a[CM_PATH], b[CM_PATH];
    struct tr_dataset ds;
};

static int setup(void **state)
{
    static struct place p;
    static const char config[] =
        "{\"schema\": 1, \"data\": {\"dataset\": \"" SET "\", \"holdout\": 4}}";
    expect_dir_make(p.dir);
    expect_ok(cm_path_join(p.config, p.dir, "c.json"));
    expect_ok(cm_path_join(p.a, p.dir, "a"));
    expect_ok(cm_path_join(p.b, p.dir, "b"));
    expect_ok(cm_file_replace(p.config, config, sizeof config - 1));
    expect_ok(tr_synthetic_open(&p.ds, SET, 1));
    *state = &p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    tr_dataset_release(&p->ds);
    expect_dir_remove(p->dir);
    return 0;
}

/* The words after "export CONFIG", up to a NULL. */
static cm_status run(const struct place *p, const char *const *words)
{
    static char copy[16][CM_PATH];
    char *argv[16] = {copy[0], copy[1], copy[2]};
    int n = 3;
    snprintf(copy[0], CM_PATH, "data");
    snprintf(copy[1], CM_PATH, "export");
    snprintf(copy[2], CM_PATH, "%s", p->config);
    for (; words[n - 3]; n++) {
        snprintf(copy[n], CM_PATH, "%s", words[n - 3]);
        argv[n] = copy[n];
    }
    return tr_command_data(n, argv);
}
#define EXPORT(p, ...) run(p, (const char *const[]){__VA_ARGS__, NULL})

/* pixels: SIZE bytes of the file's image. */
static void read_image(uint8_t *pixels, const char *dir, const char *name)
{
    struct nn_image image;
    char path[CM_PATH], *png = NULL;
    size_t n = 0;
    expect_ok(cm_path_join(path, dir, name));
    expect_ok(cm_file_read(&png, &n, path, 1 << 20));
    expect_ok(nn_image_decode(&image, png, n, &nn_image_limits_default));
    assert_int_equal(image.h, 5);
    assert_int_equal(image.w, 4);
    memcpy(pixels, image.pixels, SIZE);
    nn_image_release(&image);
    cm_free(&png);
}

static void expect_text(const char *dir, const char *name, const char *want)
{
    char path[CM_PATH], *text = NULL;
    size_t n = 0;
    expect_ok(cm_path_join(path, dir, name));
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    assert_string_equal(text, want);
    cm_free(&text);
}

static void images_and_labels(void **state)
{
    struct place *p = *state;
    uint8_t pixels[SIZE];
    char want[4 * CM_PATH];

    expect_ok(EXPORT(p, "--first", "3", "--count", "2", "--out", p->a));
    read_image(pixels, p->a, "test-000003.png");
    assert_memory_equal(pixels, tr_dataset_image(&p->ds, 23), SIZE);
    read_image(pixels, p->a, "test-000004.png");
    assert_memory_equal(pixels, tr_dataset_image(&p->ds, 24), SIZE);
    /* Image i has class i mod 3. */
    snprintf(want, sizeof want, "%s/test-000003.png,2\n%s/test-000004.png,0\n", p->a, p->a);
    expect_text(p->a, "labels.csv", want);
}

static void shifted(void **state)
{
    struct place *p = *state;
    uint8_t got[SIZE], want[SIZE];
    const struct tr_shift *dusk = NULL;

    expect_ok(EXPORT(p, "--count", "5", "--shift", "dusk", "--out", p->a, "--json"));
    expect_ok(tr_shift_find(&dusk, "dusk"));
    read_image(got, p->a, "test-000001.png");
    memcpy(want, tr_dataset_image(&p->ds, 21), SIZE);
    assert_true(memcmp(got, want, SIZE) != 0);
    tr_shift_apply(dusk, want, SIZE / 3, 3, 1, 21);
    assert_memory_equal(got, want, SIZE);
}

/* Training images and holdout never meet; together they are all. */
static void parts(void **state)
{
    struct place *p = *state;

    expect_ok(EXPORT(p, "--part", "train", "--count", "16", "--out", p->a));
    expect_ok(EXPORT(p, "--part", "holdout", "--count", "4", "--out", p->b, "--apart-from", p->a));
    expect_fault(CM_EUSAGE, "has 16 train images",
                 EXPORT(p, "--part", "train", "--count", "17", "--out", p->a));
    expect_fault(
        CM_EUSAGE, "has 5 holdout images",
        EXPORT(p, "--part", "holdout", "--set", "data.holdout=5", "--count", "6", "--out", p->a));
}

static void overlap_is_refused(void **state)
{
    struct place *p = *state;
    char path[CM_PATH];

    expect_ok(EXPORT(p, "--first", "0", "--count", "3", "--out", p->a));
    expect_ok(EXPORT(p, "--first", "3", "--count", "2", "--out", p->b, "--apart-from", p->a));
    /* Shifted it is another file of the same picture. */
    expect_fault(CM_EEXIST, "test image 2 is also in",
                 EXPORT(p, "--first", "2", "--count", "2", "--shift", "dusk", "--out", p->b,
                        "--apart-from", p->a));
    expect_ok(cm_path_join(path, p->a, "sources.txt"));
    expect_ok(cm_file_replace(path, "0123456789abcdef\n0123", 21));
    expect_fault(CM_ECORRUPT, "line 2", EXPORT(p, "--out", p->b, "--apart-from", p->a));
    expect_fault(CM_ENOTFOUND, "nowhere", EXPORT(p, "--out", p->b, "--apart-from", "nowhere"));
}

static void bad_words(void **state)
{
    struct place *p = *state;

    expect_ok(EXPORT(p, "--help"));
    expect_fault(CM_EUSAGE, "--out", EXPORT(p, "--count", "1"));
    expect_fault(CM_EUSAGE, "'tset'", EXPORT(p, "--part", "tset", "--out", p->a));
    expect_fault(CM_EUSAGE, "'dawn'", EXPORT(p, "--shift", "dawn", "--out", p->a));
    expect_fault(CM_EUSAGE, "has 5 test", EXPORT(p, "--first", "5", "--out", p->a));
    expect_fault(CM_EUSAGE, "has 5 test", EXPORT(p, "--first", "-1", "--out", p->a));
    expect_fault(CM_EUSAGE, "has 5 test", EXPORT(p, "--count", "0", "--out", p->a));
    expect_fault(CM_EUSAGE, "has 5 test",
                 EXPORT(p, "--first", "1", "--count", "9223372036854775807", "--out", p->a));
    expect_fault(CM_ECONFIG, "holduot", EXPORT(p, "--set", "data.holduot=1", "--out", p->a));
    assert_false(cm_path_exists(p->a));
    expect_ok(cm_file_replace(p->a, "", 0)); /* a file where the folder should be */
    assert_int_not_equal(EXPORT(p, "--out", p->a), CM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(images_and_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(shifted, setup, teardown),
        cmocka_unit_test_setup_teardown(parts, setup, teardown),
        cmocka_unit_test_setup_teardown(overlap_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_words, setup, teardown),
    };
    cm_log_set_level(CM_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
