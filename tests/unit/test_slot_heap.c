/* The earliest deadline, whatever is set, changed and cleared in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/rng.h"
#include "common/slot_heap.h"

#define SLOTS 97

static void test_few(void **state)
{
    struct cm_slot_heap h;
    (void)state;
    assert_int_equal(cm_slot_heap_init(&h, 3), CM_OK);
    assert_int_equal(cm_slot_heap_first(&h), CM_NO_SLOT);
    assert_int_equal(cm_slot_heap_first_ns(&h), INT64_MAX);
    cm_slot_heap_clear(&h, 1);
    cm_slot_heap_set(&h, 1, 20);
    cm_slot_heap_set(&h, 0, 30);
    cm_slot_heap_set(&h, 2, 10);
    assert_int_equal(cm_slot_heap_first(&h), 2);
    cm_slot_heap_set(&h, 2, 40); /* later than it was */
    assert_int_equal(cm_slot_heap_first(&h), 1);
    cm_slot_heap_clear(&h, 1);
    assert_int_equal(cm_slot_heap_first_ns(&h), 30);
    cm_slot_heap_release(&h);
    cm_slot_heap_release(&h);
}

/* Against a plain search, over many random steps; deadlines repeat. */
static void test_like_a_search(void **state)
{
    struct cm_slot_heap h;
    int64_t want[SLOTS];
    (void)state;
    assert_int_equal(cm_slot_heap_init(&h, SLOTS), CM_OK);
    for (int i = 0; i < SLOTS; i++)
        want[i] = INT64_MAX;
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t random = cm_rng_u32(5, CM_RNG_SYNTHETIC, step, 0, 0);
        int slot = (int)(random % SLOTS);
        if (random >> 8 & 1) {
            want[slot] = random >> 9 & 0xff;
            cm_slot_heap_set(&h, slot, want[slot]);
        } else {
            want[slot] = INT64_MAX;
            cm_slot_heap_clear(&h, slot);
        }
        int64_t least = INT64_MAX;
        for (int i = 0; i < SLOTS; i++)
            least = want[i] < least ? want[i] : least;
        assert_int_equal(cm_slot_heap_first_ns(&h), least);
        if (least < INT64_MAX)
            assert_int_equal(want[cm_slot_heap_first(&h)], least);
    }
    cm_slot_heap_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_few),
                                       cmocka_unit_test(test_like_a_search)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
