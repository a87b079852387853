/* What the tests of the online loop's files share: a batch with one entry of every fate. */
#ifndef TESTS_UNIT_ONLINE_FIXTURE_H
#define TESTS_UNIT_ONLINE_FIXTURE_H

#include "online/feedback_batch.h"
#include "tests/unit/expect.h"

#define BATCH_IMAGE 12 /* bytes: 2 x 2 x 3 */

static inline void batch_add(struct ol_batch *b, const char *who, uint64_t ms, enum ol_fate fate,
                             int32_t label)
{
    uint8_t pixels[BATCH_IMAGE];
    static char reason[] = "no such class: \"caté\"";
    struct ol_entry e = {.id = {ms, ms % 3},
                         .fate = fate,
                         .content = ms * 1000003,
                         .producer = ms % 2 ? ms * 7 : 0,
                         .served_version = ms % 2 ? 5 : 0,
                         .served_class = ms % 2 ? label : -1,
                         .reason = fate == OL_DEAD ? reason : NULL};
    for (size_t i = 0; i < BATCH_IMAGE; i++)
        pixels[i] = (uint8_t)(ms + i);
    expect_ok(ol_batch_operator(&e.operator_index, b, who, (struct ol_id){ms - 1, 0}));
    expect_ok(ol_batch_add(b, &e, pixels, label));
}

/* Batch `number`, started from version 4: ann trained 10, 13 and dead 11; bob trained 12, duplicate
 * 14 (times ms of the ids). */
static inline void batch_make(struct ol_batch *b, int64_t number)
{
    *b = (struct ol_batch){.number = number, .champion = 4, .shape = {.c = 3, .h = 2, .w = 2}};
    snprintf(b->epoch, sizeof b->epoch, "01234567-89ab-4cde-8f01-23456789abcd");
    batch_add(b, "ann", 10, OL_TRAINED, 1);
    batch_add(b, "ann", 11, OL_DEAD, 0);
    batch_add(b, "bob", 12, OL_TRAINED, 2);
    batch_add(b, "ann", 13, OL_TRAINED, 3);
    batch_add(b, "bob", 14, OL_DUPLICATE, 0);
}

#endif
