#include <math.h>

#include "tests/unit/store_fixture.h"

#include "parameter/retention.h"

/* Versions 1..n with metric 0.1 * number, all valid, each the parent of the next. */
static void make(struct ps_candidate *c, int n)
{
    for (int i = 0; i < n; i++)
        c[i] = (struct ps_candidate){
            .version = i + 1, .parent = i, .valid = true, .metric = 0.1 * (i + 1), .why = "stale"};
}

/* "..x" : a letter per version, x for removed and the first letter of why for kept. */
static void expect(const struct ps_retention *rule, struct ps_candidate *c, int n, const char *want)
{
    char have[32] = "";
    ps_retention_choose(rule, c, (size_t)n);
    for (int i = 0; i < n; i++)
        have[i] = c[i].why ? c[i].why[0] : 'x';
    assert_string_equal(have, want);
}

static void keeps_the_newest_whatever_the_rule(void **state)
{
    (void)state;
    struct ps_retention none = {0};
    struct ps_candidate c[4];
    make(c, 4);
    expect(&none, c, 4, "xppn"); /* n: newest, p: its parent, and that one's */
    make(c, 1);
    expect(&none, c, 1, "n");
    ps_retention_choose(&none, NULL, 0);
}

static void keeps_last_multiples_and_best(void **state)
{
    (void)state;
    struct ps_candidate c[8];
    make(c, 8);
    expect(&(struct ps_retention){.keep_last = 3}, c, 8, "xxxxxlln");
    expect(&(struct ps_retention){.keep_every = 3}, c, 8, "xxmxxmpn");
    expect(&(struct ps_retention){.keep_best = 2, .best_is_low = true}, c, 8, "bbxxxppn");
    c[2].metric = 9;
    c[3].metric = 9;
    c[4].metric = (double)NAN;
    expect(&(struct ps_retention){.keep_best = 1}, c, 8, "xxbxxppn"); /* ties: the older */
    expect(&(struct ps_retention){.keep_best = 2}, c, 8, "xxbbxppn");
    expect(&(struct ps_retention){.keep_best = 99}, c, 8, "bbbbxppn"); /* NaN is never best */
}

static void keeps_aliased_and_their_parents(void **state)
{
    (void)state;
    struct ps_candidate c[6];
    make(c, 6);
    c[2].aliased = true;
    c[2].parent = 1;
    expect(&(struct ps_retention){.keep_last = 1}, c, 6, "pxappn");
    c[2].valid = false; /* broken, but a person or a server may be looking at it */
    expect(&(struct ps_retention){.keep_last = 1}, c, 6, "pxappn");
}

static void removes_broken_ones_only_below_a_valid_one(void **state)
{
    (void)state;
    struct ps_candidate c[5];
    make(c, 5);
    c[1].valid = c[3].valid = c[4].valid = false;
    /* keep_last counts valid ones; 4 is evidence; 5 holds the highest number */
    expect(&(struct ps_retention){.keep_last = 2}, c, 5, "lxnnh");
    make(c, 3);
    c[0].valid = c[1].valid = c[2].valid = false;
    expect(&(struct ps_retention){.keep_last = 1}, c, 3, "nnn"); /* nothing valid: keep all */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_newest_whatever_the_rule),
        cmocka_unit_test(keeps_last_multiples_and_best),
        cmocka_unit_test(keeps_aliased_and_their_parents),
        cmocka_unit_test(removes_broken_ones_only_below_a_valid_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
