/* Shifts of the world: names, and what they do to pixels. */
#include "tests/unit/expect.h"
#include "trainer/shift.h"

#define SIDE 32
#define N    (SIDE * SIDE)

static const struct tr_shift *find(const char *name)
{
    const struct tr_shift *s = NULL;
    expect_ok(tr_shift_find(&s, name));
    return s;
}

static void names(void **state)
{
    (void)state;
    const struct tr_shift *s = &tr_shifts[0];
    assert_string_equal(tr_shifts[0].name, "none");
    for (size_t i = 0; i < tr_nshifts; i++)
        assert_ptr_equal(find(tr_shifts[i].name), &tr_shifts[i]);
    expect_fault(CM_EUSAGE, "did you mean 'dusk'", tr_shift_find(&s, "dsuk"));
    assert_null(s);
    expect_fault(CM_EUSAGE, "''", tr_shift_find(&s, ""));
}

static void none_changes_nothing(void **state)
{
    (void)state;
    uint8_t pixels[256 * 3];
    for (int i = 0; i < 256 * 3; i++)
        pixels[i] = (uint8_t)(i / 3);
    tr_shift_apply(find("none"), pixels, 256, 3, 1, 7);
    for (int i = 0; i < 256 * 3; i++)
        assert_int_equal(pixels[i], i / 3);
}

/* Without noise every pixel is the formula. */
static void light(void **state)
{
    (void)state;
    const struct tr_shift s = {"x", "", {0.5, 1, 2}, 2, 0};
    uint8_t colour[] = {0, 0, 0, 255, 255, 255, 128, 128, 128, 20, 20, 20}, grey[] = {0, 255, 128};
    const uint8_t want[] = {0, 0, 0, 128, 255, 255, 32, 64, 129, 1, 2, 3};
    const uint8_t want_grey[] = {0, 255, 75}; /* gain 7/6 */

    tr_shift_apply(&s, colour, 4, 3, 1, 0);
    assert_memory_equal(colour, want, sizeof want);
    tr_shift_apply(&s, grey, 3, 1, 1, 0);
    assert_memory_equal(grey, want_grey, sizeof want_grey);
}

static void noise(void **state)
{
    (void)state;
    const struct tr_shift s = {"x", "", {1, 1, 1}, 1, 8};
    uint8_t a[N], b[N];
    double sum = 0, squares = 0;

    memset(a, 128, N);
    memset(b, 128, N);
    tr_shift_apply(&s, a, N, 1, 1, 3);
    tr_shift_apply(&s, b, N, 1, 1, 3);
    assert_memory_equal(a, b, N); /* the same image again, the same bytes */
    for (int i = 0; i < N; i++) {
        sum += a[i] - 128;
        squares += (a[i] - 128) * (a[i] - 128);
    }
    /* Standard errors of mean and variance at N = 1024: 0.25 and 2.8. */
    assert_true(sum / N > -1 && sum / N < 1);
    assert_true(squares / N > 64 - 12 && squares / N < 64 + 12);
    memset(b, 128, N);
    tr_shift_apply(&s, b, N, 1, 1, 4);
    assert_true(memcmp(a, b, N) != 0); /* another image */
    memset(b, 128, N);
    tr_shift_apply(&s, b, N, 1, 2, 3);
    assert_true(memcmp(a, b, N) != 0); /* another seed */
}

static void dusk_is_dark_and_coloured(void **state)
{
    (void)state;
    uint8_t pixels[N * 3];
    double mean[3] = {0};

    memset(pixels, 200, sizeof pixels);
    tr_shift_apply(find("dusk"), pixels, N, 3, 1, 0);
    for (int i = 0; i < N * 3; i++)
        mean[i % 3] += pixels[i] / (double)N;
    assert_true(mean[0] < mean[1] && mean[1] < mean[2] && mean[2] < 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(none_changes_nothing),
        cmocka_unit_test(light),
        cmocka_unit_test(noise),
        cmocka_unit_test(dusk_is_dark_and_coloured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
