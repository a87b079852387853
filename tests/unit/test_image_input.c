/* Images from outside as a network takes them: pixels of its shape and of others, files. */
#include "common/mem.h"
#include "model/image_input.h"
#include "tests/unit/expect.h"

#define SIDE  32
#define INPUT (SIDE * SIDE * 3)

struct world {
    struct nn_spec *spec; /* 32 x 32 x 3, to which it resizes */
    uint8_t pixels[4 * INPUT], out[INPUT];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    expect_ok(nn_spec_load(&w->spec, "zoo:lenet"));
    for (size_t i = 0; i < sizeof w->pixels; i++)
        w->pixels[i] = (uint8_t)(i * 7);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    nn_spec_close(&w->spec);
    free(w);
    return 0;
}

static cm_status take(struct world *w, size_t n, int h, int width, int channels)
{
    memset(w->out, 0, INPUT);
    return nn_image_input_pixels(w->out, w->spec, w->pixels, n, h, width, channels);
}

static void pixels_of_its_shape_are_taken_as_they_are(void **state)
{
    struct world *w = *state;
    expect_ok(take(w, INPUT, 0, 0, 0));
    assert_memory_equal(w->out, w->pixels, INPUT);
    expect_ok(take(w, INPUT, SIDE, SIDE, 3));
    assert_memory_equal(w->out, w->pixels, INPUT);
    expect_fault(CM_EFORMAT, "3071 bytes are neither", take(w, INPUT - 1, 0, 0, 0));
    expect_fault(CM_EFORMAT, "3073 bytes are neither", take(w, INPUT + 1, 0, 0, 0));
    expect_fault(CM_EFORMAT, "32 x 32 x 3 pixels", take(w, 0, 0, 0, 0));
}

static void others_are_preprocessed_or_refused(void **state)
{
    struct world *w = *state;
    expect_ok(take(w, 4 * INPUT, 64, 64, 3));
    w->spec->preprocess.resize = w->spec->preprocess.crop = 0;
    expect_fault(CM_ESHAPE, "64", take(w, 4 * INPUT, 64, 64, 3));
    expect_ok(take(w, INPUT / 3, SIDE, SIDE, 1)); /* grey becomes three channels */
    assert_int_equal(w->out[3], w->pixels[1]);
    assert_int_equal(w->out[5], w->pixels[1]);
}

static void a_file_is_decoded(void **state)
{
    struct world *w = *state;
    struct nn_image image = {SIDE, SIDE, 3, w->pixels};
    void *png;
    size_t n;
    expect_ok(nn_image_encode_png(&image, &png, &n));
    expect_ok(nn_image_input_file(w->out, w->spec, png, n, &nn_image_limits_default));
    assert_memory_equal(w->out, w->pixels, INPUT);
    expect_fault(CM_EFORMAT, "PNG",
                 nn_image_input_file(w->out, w->spec, png, n - 9, &nn_image_limits_default));
    cm_free(&png);
    image.h = image.w = SIDE / 2;
    expect_ok(nn_image_encode_png(&image, &png, &n));
    w->spec->preprocess.resize = w->spec->preprocess.crop = 0;
    expect_fault(CM_ESHAPE, "16",
                 nn_image_input_file(w->out, w->spec, png, n, &nn_image_limits_default));
    cm_free(&png);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(pixels_of_its_shape_are_taken_as_they_are),
        WORLD(others_are_preprocessed_or_refused),
        WORLD(a_file_is_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
