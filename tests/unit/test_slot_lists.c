/* Slots go from list to list: order is kept, none is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/slot_lists.h"

/* The slots of a list, seen from both ends. */
static void expect_list(const struct cm_slot_lists *s, int list, int n, const int *want)
{
    int i = s->of[list].head, previous = CM_NO_SLOT;
    assert_int_equal(s->of[list].n, n);
    for (int k = 0; k < n; k++) {
        assert_int_equal(i, want[k]);
        assert_int_equal(s->link[i].previous, previous);
        assert_int_equal(s->link[i].list, list);
        previous = i;
        i = s->link[i].next;
    }
    assert_int_equal(i, CM_NO_SLOT);
    assert_int_equal(s->of[list].tail, previous);
}

static void test_moves(void **state)
{
    struct cm_slot_lists s;
    (void)state;
    assert_int_equal(cm_slot_lists_init(&s, 5), CM_OK);
    expect_list(&s, 0, 5, (const int[]){0, 1, 2, 3, 4});
    cm_slot_lists_move(&s, 0, 1);
    cm_slot_lists_move(&s, 4, 1);
    cm_slot_lists_move(&s, 2, 1);
    expect_list(&s, 0, 2, (const int[]){1, 3});
    expect_list(&s, 1, 3, (const int[]){0, 4, 2});
    cm_slot_lists_move(&s, 0, 1); /* to the end of its own */
    expect_list(&s, 1, 3, (const int[]){4, 2, 0});
    cm_slot_lists_move_behind(&s, 3, 1, 2);
    cm_slot_lists_move_behind(&s, 1, 1, CM_NO_SLOT);
    expect_list(&s, 0, 0, NULL);
    expect_list(&s, 1, 5, (const int[]){1, 4, 2, 3, 0});
    cm_slot_lists_release(&s);
    cm_slot_lists_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_moves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
