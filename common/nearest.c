/* The nearest known word, for errors that teach: edit distance with neighbours swapped (optimal
 * string alignment), three rows of the usual table. */
#include "common/config.h"

#include <string.h>

#define WORD 64 /* longer words are not compared */

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][WORD + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++)
        above[j] = j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = min(min(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min(row[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[nb];
}

const char *cm_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t length = strlen(word),
           best = length / 3 + 2; /* one more than the farthest that is called near */
    const char *nearest = NULL;
    if (length > WORD)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t candidate_length = strlen(candidates[i]);
        if (candidate_length > WORD)
            continue;
        size_t d = distance(word, length, candidates[i], candidate_length);
        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
