#include "trainer/spike.h"

#include <math.h>

#include "tests/unit/expect.h"

static struct tr_losses noted(const double *loss, int n)
{
    struct tr_losses l = {0};
    for (int i = 0; i < n; i++)
        tr_losses_note(&l, loss[i]);
    return l;
}

static void expect_near(double x, double wanted)
{
    assert_true(fabs(x - wanted) < 1e-12);
}

static void there_is_no_limit_before_enough_was_seen(void **state)
{
    (void)state;
    struct tr_losses l = {0};
    for (int i = 0; i < TR_SPIKE_LEAST; i++) {
        assert_true(isinf(tr_losses_limit(&l, 3, 1)));
        tr_losses_note(&l, 2);
    }
    expect_near(tr_losses_limit(&l, 3, 1), 2 + 3 * 2.0 / 50); /* MAD 0: the floor */
}

/* 1 … 20: median 10.5, deviations 0.5, 0.5, 1.5, …, 9.5, their median 5. */
static void the_limit_is_the_published_rule(void **state)
{
    (void)state;
    double loss[20];
    for (int i = 0; i < 20; i++)
        loss[i] = (i * 7) % 20 + 1; /* in no order */
    struct tr_losses l = noted(loss, 20);
    expect_near(tr_losses_limit(&l, 2, 1), 10.5 + 2 * 1.4826 * 5);
    expect_near(tr_losses_limit(&l, 2, 0.25), 10.5 + 4 * 1.4826 * 5); /* the mean of a quarter */
    /* One that is far out moves a mean, and median and MAD hardly. */
    tr_losses_note(&l, 1e9);
    expect_near(tr_losses_limit(&l, 2, 1), 11 + 2 * 1.4826 * 5);
}

static void only_the_last_losses_count(void **state)
{
    (void)state;
    struct tr_losses l = {0};
    for (int i = 0; i < 1000; i++)
        tr_losses_note(&l, i < 1000 - TR_SPIKE_WINDOW ? 100 : 1);
    expect_near(tr_losses_limit(&l, 5, 1), 1.1);
}

/* The ring may begin anywhere: a resume reads the window back oldest first. */
static void where_the_ring_begins_does_not_matter(void **state)
{
    (void)state;
    struct tr_losses long_run = {0}, resumed = {0};
    for (int i = 0; i < 3 * TR_SPIKE_WINDOW + 5; i++)
        tr_losses_note(&long_run, sin(i));
    for (int i = 2 * TR_SPIKE_WINDOW + 5; i < 3 * TR_SPIKE_WINDOW + 5; i++)
        tr_losses_note(&resumed, sin(i));
    for (int i = 0; i < 100; i++) {
        assert_true(tr_losses_limit(&long_run, 3, 1) == tr_losses_limit(&resumed, 3, 1));
        tr_losses_note(&long_run, cos(i));
        tr_losses_note(&resumed, cos(i));
    }
}

static void skips_in_a_row_are_those_with_no_step_between(void **state)
{
    (void)state;
    const struct tr_skip skip[] = {{2, 4}, {10, 12}, {13, 13}, {14, 20}};
    assert_int_equal(tr_skips_in_a_row(skip, 0, 5), 0);
    assert_int_equal(tr_skips_in_a_row(skip, 1, 5), 1);
    assert_int_equal(tr_skips_in_a_row(skip, 1, 6), 0); /* step 5 was trained */
    assert_int_equal(tr_skips_in_a_row(skip, 2, 13), 1);
    assert_int_equal(tr_skips_in_a_row(skip, 3, 14), 2);
    assert_int_equal(tr_skips_in_a_row(skip, 4, 21), 3);
    assert_int_equal(tr_skips_in_a_row(skip, 4, 30), 0);
    /* The last one went back behind those before it, but not behind steps that were kept. */
    const struct tr_skip deeper[] = {{5, 6}, {10, 12}, {8, 13}};
    assert_int_equal(tr_skips_in_a_row(deeper, 3, 8), 2);
    assert_int_equal(tr_skips_in_a_row(deeper, 3, 14), 2);
    assert_int_equal(tr_skips_in_a_row(deeper, 3, 15), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_no_limit_before_enough_was_seen),
        cmocka_unit_test(the_limit_is_the_published_rule),
        cmocka_unit_test(only_the_last_losses_count),
        cmocka_unit_test(where_the_ring_begins_does_not_matter),
        cmocka_unit_test(skips_in_a_row_are_those_with_no_step_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
