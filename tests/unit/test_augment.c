/* Augmentation is a function of (seed, epoch, sample), with the distributions that it promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/augment.h"

static void alternating_flips_show_both_sides(void **state)
{
    (void)state;
    const struct tr_train_config c = {.seed = 3, .flip = TR_FLIP_ALTERNATE};
    int flipped = 0;
    for (uint32_t sample = 0; sample < 2000; sample++) {
        struct nn_augment even = tr_augment(&c, 4, sample, 32), odd = tr_augment(&c, 5, sample, 32);
        assert_int_equal(even.flip ^ odd.flip, 1);
        assert_int_equal(even.flip, tr_augment(&c, 0, sample, 32).flip);
        flipped += even.flip;
    }
    assert_in_range(flipped, 900, 1100);
}

static void shifts_cover_their_square(void **state)
{
    (void)state;
    const struct tr_train_config c = {.seed = 3, .crop_pad = 2};
    int seen[5][5] = {{0}};
    for (uint32_t sample = 0; sample < 5000; sample++) {
        struct nn_augment a = tr_augment(&c, 1, sample, 32);
        assert_in_range(a.dy + 2, 0, 4);
        assert_in_range(a.dx + 2, 0, 4);
        assert_int_equal(a.flip, 0);
        seen[a.dy + 2][a.dx + 2]++;
    }
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 5; x++)
            assert_in_range(seen[y][x], 140, 260); /* 200 expected, 14 is a standard deviation */
}

static void cutout_lies_inside(void **state)
{
    (void)state;
    const struct tr_train_config c = {.seed = 3, .cutout = 12};
    int least = 99, most = 0;
    for (uint32_t sample = 0; sample < 2000; sample++) {
        struct nn_augment a = tr_augment(&c, 1, sample, 32);
        assert_int_equal(a.cut_n, 12);
        least = a.cut_y < least ? a.cut_y : least;
        most = a.cut_y > most ? a.cut_y : most;
    }
    assert_int_equal(least, 0);
    assert_int_equal(most, 20);
    const struct tr_train_config whole = {.cutout = 99};
    assert_int_equal(tr_augment(&whole, 0, 0, 32).cut_n, 32);
}

static void nothing_asked_is_nothing_done(void **state)
{
    (void)state;
    const struct tr_train_config c = {.seed = 3};
    struct nn_augment none = {0}, a = tr_augment(&c, 9, 9, 32);
    assert_memory_equal(&a, &none, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alternating_flips_show_both_sides),
        cmocka_unit_test(shifts_cover_their_square),
        cmocka_unit_test(cutout_lies_inside),
        cmocka_unit_test(nothing_asked_is_nothing_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
