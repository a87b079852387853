/* Each rule is one pass that says why; what no rule named is removed. n is tens, so passes are
 * free. */
#include "parameter/retention.h"

#include <math.h>

static void keep(struct ps_candidate *c, const char *why)
{
    if (!c->why)
        c->why = why;
}

/* The parent's parent, 0 where there is no valid parent. */
static int64_t keep_parent(struct ps_candidate *c, size_t n, int64_t parent)
{
    for (size_t i = 0; i < n; i++)
        if (c[i].version == parent && c[i].valid) {
            keep(&c[i], "parent");
            return c[i].parent;
        }
    return 0;
}

/* The best valid one behind last, the best so far (NULL: none); NULL when there is none left. Ties
 * go to the older. */
static struct ps_candidate *next_best(const struct ps_retention *rule, struct ps_candidate *c,
                                      size_t n, const struct ps_candidate *last)
{
    struct ps_candidate *best = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!c[i].valid || isnan(c[i].metric))
            continue;
        double sign = rule->best_is_low ? -1 : 1, v = sign * c[i].metric;
        /* Only those behind the last one in the order (metric descending, version ascending). */
        if (last && (v > sign * last->metric ||
                     (v == sign * last->metric && c[i].version <= last->version)))
            continue;
        if (!best || v > sign * best->metric)
            best = &c[i];
    }
    return best;
}

void ps_retention_choose(const struct ps_retention *rule, struct ps_candidate *c, size_t n)
{
    struct ps_candidate *newest = NULL;
    for (size_t i = 0; i < n; i++) {
        c[i].why = NULL;
        if (c[i].valid)
            newest = &c[i];
    }
    if (n == 0)
        return;
    keep(newest ? newest : &c[n - 1], "newest");
    keep(&c[n - 1], "highest number");

    int64_t left = rule->keep_last;
    for (size_t i = n; i-- > 0 && left > 0;)
        if (c[i].valid) {
            keep(&c[i], "last");
            left--;
        }
    for (size_t i = 0; i < n; i++) {
        /* Broken ones newer than the newest valid are evidence, and nobody's mistake to clean up
         * yet. */
        if (newest == NULL || &c[i] > newest)
            keep(&c[i], "newer than the newest valid");
        if (c[i].aliased)
            keep(&c[i], "aliased");
        if (c[i].unjudged)
            keep(&c[i], "unjudged");
        if (c[i].valid && rule->keep_every > 0 && c[i].version % rule->keep_every == 0)
            keep(&c[i], "multiple");
    }
    for (size_t i = 0; i < n; i++)
        if (c[i].aliased)
            keep_parent(c, n, c[i].parent);
    if (newest)
        keep_parent(c, n, keep_parent(c, n, newest->parent));
    struct ps_candidate *best = NULL;
    for (int64_t i = 0; i < rule->keep_best; i++) {
        best = next_best(rule, c, n, best);
        if (!best)
            break;
        keep(best, "best");
    }
}
