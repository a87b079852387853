/* plan_memory.h: no two live buffers overlap, and what need not be kept is shared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/rng.h"
#include "model/plan_memory.h"

static void assert_legal(const struct nn_slot *slots, size_t n, size_t align, size_t nbytes)
{
    size_t end = 0;
    for (size_t i = 0; i < n; i++) {
        const struct nn_slot *a = &slots[i];
        assert_int_equal(a->offset % align, 0);
        end = a->nbytes && a->offset + a->nbytes > end ? a->offset + a->nbytes : end;
        for (size_t k = 0; k < i; k++) {
            const struct nn_slot *b = &slots[k];
            bool together = a->first <= b->last && b->first <= a->last;
            bool apart = a->offset + a->nbytes <= b->offset || b->offset + b->nbytes <= a->offset;
            assert_true(!together || apart || a->nbytes == 0 || b->nbytes == 0);
        }
    }
    assert_int_equal(end, nbytes);
}

static void test_one_after_another(void **state)
{
    (void)state;
    struct nn_slot slots[] = {{100, 0, 1, 9}, {100, 2, 3, 9}, {100, 4, 9, 9}};
    size_t nbytes;
    assert_int_equal(nn_memory_place(slots, 3, 64, &nbytes), CM_OK);
    assert_int_equal(nbytes, 100);
    assert_int_equal(slots[2].offset, 0);
}

/* Lives that share one moment are apart: the last reader still reads while the next one writes. */
static void test_touching(void **state)
{
    (void)state;
    struct nn_slot slots[] = {{100, 0, 2, 9}, {100, 2, 3, 9}};
    size_t nbytes;
    assert_int_equal(nn_memory_place(slots, 2, 64, &nbytes), CM_OK);
    assert_int_equal(nbytes, 228);
}

/* time    0  1  2  3
 * a 256   ======
 * b 192         ======    may use a's bytes
 * c 128   ============    beside both
 * d  64         ======    beside b, in a's bytes */
static void test_drawn(void **state)
{
    (void)state;
    struct nn_slot slots[] = {{256, 0, 1, 9}, {192, 2, 3, 9}, {128, 0, 3, 9}, {64, 2, 3, 9}};
    size_t nbytes;
    assert_int_equal(nn_memory_place(slots, 4, 64, &nbytes), CM_OK);
    assert_legal(slots, 4, 64, nbytes);
    assert_int_equal(nbytes, 384);
    assert_int_equal(slots[1].offset, 0);
    assert_int_equal(slots[3].offset, 192);
}

static void test_empty(void **state)
{
    (void)state;
    struct nn_slot slots[] = {{0, 5, 2, 9}, {64, 0, 0, 9}};
    size_t nbytes = 1;
    assert_int_equal(nn_memory_place(slots, 2, 64, &nbytes), CM_OK);
    assert_int_equal(nbytes, 64);
    assert_int_equal(nn_memory_place(NULL, 0, 64, &nbytes), CM_OK);
    assert_int_equal(nbytes, 0);
}

/* Random lives: always legal, the same again, and never past one after another without sharing. */
static void test_random(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        struct nn_slot slots[40], again[40];
        size_t nbytes, other, sum = 0, peak = 0;
        for (uint32_t i = 0; i < 40; i++) {
            struct cm_rng4 r = cm_rng_block(5, CM_RNG_SYNTHETIC, round, 0, i);
            int first = (int)(r.v[0] % 30);
            slots[i] = (struct nn_slot){r.v[1] % 1000, first, first + (int)(r.v[2] % 10), 7};
            sum += (slots[i].nbytes + 63) / 64 * 64;
        }
        memcpy(again, slots, sizeof slots);
        assert_int_equal(nn_memory_place(slots, 40, 64, &nbytes), CM_OK);
        assert_int_equal(nn_memory_place(again, 40, 64, &other), CM_OK);
        assert_memory_equal(slots, again, sizeof slots);
        assert_legal(slots, 40, 64, nbytes);
        for (int t = 0; t < 40; t++) {
            size_t alive = 0;
            for (int i = 0; i < 40; i++)
                if (slots[i].first <= t && t <= slots[i].last)
                    alive += slots[i].nbytes;
            peak = alive > peak ? alive : peak;
        }
        assert_true(nbytes >= peak && nbytes <= sum);
        assert_true(nbytes <= 2 * peak); /* greedy by size stays far below on such lives */
    }
}

static void test_faults(void **state)
{
    (void)state;
    struct nn_slot backward[] = {{8, 3, 2, 0}};
    struct nn_slot huge[] = {{SIZE_MAX - 100, 0, 0, 0}};
    struct nn_slot together[] = {{SIZE_MAX / 3, 0, 0, 0}, {SIZE_MAX / 3, 0, 0, 0}};
    size_t nbytes;
    assert_int_equal(nn_memory_place(backward, 1, 64, &nbytes), CM_EINVAL);
    assert_int_equal(nn_memory_place(huge, 1, 64, &nbytes), CM_ENOMEM);
    assert_int_equal(nn_memory_place(together, 2, 64, &nbytes), CM_ENOMEM);
    for (long k = 1; k <= 2; k++) {
        struct nn_slot fine[] = {{8, 0, 0, 0}};
        cm_mem_fail_at(k);
        assert_int_equal(nn_memory_place(fine, 1, 64, &nbytes), CM_ENOMEM);
        cm_mem_fail_at(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_after_another),
        cmocka_unit_test(test_touching),
        cmocka_unit_test(test_drawn),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
