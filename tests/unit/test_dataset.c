/* The block and its file: hostile headers; conversion to a network's input. */
#include "common/hash.h"
#include "common/mem.h"
#include "tests/unit/expect.h"
#include "trainer/dataset.h"
#include "trainer/synthetic.h"

static void file_round_trip(void **state)
{
    (void)state;
    struct tr_dataset ds, back;
    char dir[CM_PATH], path[CM_PATH], again[CM_PATH];

    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "a"));
    expect_ok(cm_path_join(again, dir, "b"));
    expect_ok(tr_synthetic_open(&ds, "synthetic:3:20:5x4x3", 1));
    expect_ok(tr_dataset_save(&ds, path));
    expect_ok(tr_dataset_map(&back, path));
    assert_string_equal(back.name, ds.name);
    assert_string_equal(back.fingerprint, ds.fingerprint);
    assert_int_equal(tr_dataset_count(&back), 25);
    assert_memory_equal(back.labels, ds.labels, 25 * sizeof *ds.labels);
    assert_memory_equal(back.images, ds.images, 25 * 60);
    assert_string_equal(tr_dataset_class(&back, 2), "2");
    expect_ok(tr_dataset_save(&back, again)); /* a mapped set is saved as well */
    tr_dataset_release(&back);
    expect_ok(tr_dataset_map(&back, again));
    assert_string_equal(back.fingerprint, ds.fingerprint);
    tr_dataset_release(&back);
    tr_dataset_release(&ds);
    expect_dir_remove(dir);
}

/* Headers with a hash that fits: only the checks behind the hash can refuse them. */
static void hostile_headers(void **state)
{
    (void)state;
    /* Offset in the block, 32-bit value written there. Sizes at 64: n_train, n_test (64 bits), h,
     * w, channels, nclasses. */
    static const struct {
        size_t at;
        uint32_t value;
    } lies[] = {{64, 0},
                {64, 21},
                {68, 0x7fffffff},
                {68, 0x80000000},
                {76, 0xffffffff},
                {80, 0},
                {80, 0xffffffff},
                {80, 6},
                {84, 0x7fffffff},
                {88, 2},
                {88, 0},
                {92, 0},
                {92, 0x7fffffff},
                {92, 2},
                {128 + 60, ~0u},
                {128 + 3 * 64, 3},
                {128 + 3 * 64, 0x80000000}};
    struct tr_dataset ds, back;
    char dir[CM_PATH], path[CM_PATH], *file = NULL;
    size_t n;

    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "a"));
    expect_ok(tr_synthetic_open(&ds, "synthetic:3:20:5x4x3", 1));
    expect_ok(tr_dataset_save(&ds, path));
    expect_ok(cm_file_read(&file, &n, path, 1 << 20));
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint32_t was;
        memcpy(&was, file + 64 + lies[i].at, 4);
        memcpy(file + 64 + lies[i].at, &lies[i].value, 4);
        uint64_t hash = cm_xxh64(file + 64, n - 64);
        memcpy(file + 8, &hash, 8);
        expect_ok(cm_file_replace(path, file, n));
        if (tr_dataset_map(&back, path) == CM_OK)
            fail_msg("lie %zu was believed", i);
        assert_null(back.mapped);
        memcpy(file + 64 + lies[i].at, &was, 4);
    }
    for (size_t cut = 0; cut < 200; cut += 13) {
        expect_ok(cm_file_replace(path, file, cut));
        assert_int_not_equal(tr_dataset_map(&back, path), CM_OK);
    }
    cm_free(&file);
    tr_dataset_release(&ds);
    expect_dir_remove(dir);
}

static void conversion(void **state)
{
    (void)state;
    struct nn_preprocess pre = {.resize = 4, .crop = 4, .grey = true};
    struct nn_shape input = {.c = 1, .h = 4, .w = 4};
    struct tr_dataset source, ds;
    uint8_t want[16];

    expect_ok(tr_synthetic_open(&source, "synthetic:3:20:9x8x3", 1));
    expect_ok(tr_dataset_convert(&ds, &source, &pre, input));
    assert_string_equal(ds.fingerprint, source.fingerprint);
    assert_int_equal(tr_dataset_image_nbytes(&ds), 16);
    assert_memory_equal(ds.labels, source.labels, 25 * sizeof *ds.labels);
    for (int64_t i = 0; i < 25; i++) {
        struct nn_image image = {
            .h = 9, .w = 8, .channels = 3, .pixels = tr_dataset_put_images(&source) + i * 216};
        expect_ok(nn_preprocess_image(&pre, 1, 4, 4, &image, want));
        assert_memory_equal(tr_dataset_image(&ds, i), want, 16);
    }
    tr_dataset_release(&ds);
    input.h = 5;
    expect_fault(CM_ESHAPE, "synthetic:3:20:9x8x3, image 0",
                 tr_dataset_convert(&ds, &source, &pre, input));
    assert_null(ds.block);
    tr_dataset_release(&source);
}

static void same_input_is_shared(void **state)
{
    (void)state;
    struct nn_preprocess pre = {.resize = 8, .crop = 8};
    struct nn_shape input = {.c = 3, .h = 8, .w = 8};
    struct tr_dataset source, ds;

    expect_ok(tr_synthetic_open(&source, "synthetic:3:20:8x8x3", 1));
    const uint8_t *images = source.images;
    expect_ok(tr_dataset_convert(&ds, &source, &pre, input));
    assert_ptr_equal(ds.images, images);
    assert_null(source.block);
    tr_dataset_release(&source);
    tr_dataset_release(&ds);
}

static void bad_label(void **state)
{
    (void)state;
    struct tr_dataset ds;

    expect_ok(tr_synthetic_open(&ds, "synthetic:3:20:2x2x1", 1));
    tr_dataset_put_labels(&ds)[11] = 3;
    expect_fault(CM_ECORRUPT, "image 11 has label 3", tr_dataset_seal(&ds));
    tr_dataset_put_labels(&ds)[11] = -1;
    expect_fault(CM_ECORRUPT, "image 11 has label -1", tr_dataset_seal(&ds));
    tr_dataset_release(&ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_round_trip), cmocka_unit_test(hostile_headers),
        cmocka_unit_test(conversion),      cmocka_unit_test(same_input_is_shared),
        cmocka_unit_test(bad_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
