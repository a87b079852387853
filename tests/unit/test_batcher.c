/* The gateway's queue: limits, order, deadlines, second deliveries, workers that die. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "serve/batcher.h"
#include "wire/bytes.h"

#define MS 1000000

static struct wi_id id_of(uint32_t i)
{
    struct wi_id id = {{0}};
    wi_put32(id.byte, i + 1);
    return id;
}

static struct sv_batcher *open_batcher(struct sv_batcher_config cfg)
{
    struct sv_batcher *b;
    if (!cfg.max_nbytes)
        cfg.max_nbytes = 1000;
    if (!cfg.max_batch_nbytes)
        cfg.max_batch_nbytes = 1000;
    assert_int_equal(sv_batcher_open(&b, &cfg), CM_OK);
    return b;
}

static int admit(struct sv_batcher *b, uint32_t i, int64_t now_ns)
{
    return sv_batcher_admit(b, id_of(i), 10, now_ns, now_ns + 1000 * MS);
}

static void test_order_of_arrival(void **state)
{
    struct sv_batcher *b =
        open_batcher((struct sv_batcher_config){.max_requests = 8, .max_batch = 4});
    int slots[8];
    (void)state;
    assert_false(sv_batcher_is_due(b, 0));
    for (uint32_t i = 0; i < 6; i++)
        assert_int_not_equal(admit(b, i, i), SV_NONE);
    assert_true(sv_batcher_is_due(b, 6));
    assert_int_equal(sv_batcher_take(b, slots, 8), 4); /* max_batch */
    for (uint32_t i = 0; i < 4; i++)
        assert_true(wi_id_equal(sv_batcher_id(b, slots[i]), id_of(i)));
    assert_int_equal(sv_batcher_take(b, slots, 1), 1);
    assert_true(wi_id_equal(sv_batcher_id(b, slots[0]), id_of(4)));
    assert_int_equal(sv_batcher_count(b, SV_SENT), 5);
    assert_int_equal(sv_batcher_count(b, SV_QUEUED), 1);
    sv_batcher_close(&b);
}

static void test_waits_for_more(void **state)
{
    struct sv_batcher *b = open_batcher(
        (struct sv_batcher_config){.max_requests = 8, .max_batch = 2, .max_wait_ns = 5 * MS});
    (void)state;
    admit(b, 0, 100);
    assert_false(sv_batcher_is_due(b, 100));
    assert_int_equal(sv_batcher_wake_ns(b, true), 100 + 5 * MS);
    assert_int_equal(sv_batcher_wake_ns(b, false), 100 + 1000 * (int64_t)MS); /* the deadline */
    assert_true(sv_batcher_is_due(b, 100 + 5 * MS));
    admit(b, 1, 101);
    assert_true(sv_batcher_is_due(b, 101)); /* full */
    sv_batcher_close(&b);
}

static void test_limits(void **state)
{
    struct sv_batcher *b = open_batcher(
        (struct sv_batcher_config){.max_requests = 3, .max_batch = 2, .max_nbytes = 25});
    int slots[2];
    (void)state;
    assert_int_not_equal(admit(b, 0, 0), SV_NONE);
    assert_int_not_equal(admit(b, 1, 0), SV_NONE);
    assert_int_equal(admit(b, 2, 0), SV_NONE); /* 30 bytes */
    assert_int_not_equal(sv_batcher_admit(b, id_of(3), 5, 0, MS), SV_NONE);
    assert_int_equal(sv_batcher_admit(b, id_of(4), 0, 0, MS), SV_NONE); /* a fourth */
    assert_int_equal(sv_batcher_take(b, slots, 2), 2);
    assert_int_equal(sv_batcher_admit(b, id_of(5), 0, 0, MS), SV_NONE); /* those sent count too */
    sv_batcher_end(b, slots[0], false);
    assert_int_equal(sv_batcher_nbytes(b), 15);
    assert_int_not_equal(admit(b, 6, 0), SV_NONE);
    sv_batcher_close(&b);
}

static void test_one_large_image_is_taken(void **state)
{
    struct sv_batcher *b = open_batcher((struct sv_batcher_config){
        .max_requests = 4, .max_batch = 4, .max_nbytes = 100, .max_batch_nbytes = 50});
    int slots[4];
    (void)state;
    assert_int_not_equal(sv_batcher_admit(b, id_of(0), 500, 0, MS), SV_NONE);
    assert_int_equal(admit(b, 1, 0), SV_NONE);
    assert_int_equal(sv_batcher_take(b, slots, 4), 1);
    sv_batcher_end(b, slots[0], false);
    for (uint32_t i = 2; i < 5; i++)
        assert_int_not_equal(sv_batcher_admit(b, id_of(i), 30, 0, MS), SV_NONE);
    assert_int_equal(sv_batcher_take(b, slots, 4), 1); /* 60 would be too much for one batch */
    sv_batcher_close(&b);
}

static void test_a_dead_workers_batch(void **state)
{
    struct sv_batcher *b =
        open_batcher((struct sv_batcher_config){.max_requests = 8, .max_batch = 4});
    int slots[4], again[4];
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        admit(b, i, i);
    assert_int_equal(sv_batcher_take(b, slots, 3), 3);
    sv_batcher_end(b, slots[1], true); /* answered before the worker died */
    assert_int_equal(sv_batcher_give_back(b, slots[2], true), 1);
    assert_int_equal(sv_batcher_give_back(b, slots[0], true), 1);
    /* First those that came first, each alone. */
    assert_int_equal(sv_batcher_take(b, again, 4), 1);
    assert_int_equal(again[0], slots[0]);
    assert_int_equal(sv_batcher_take(b, again, 4), 1);
    assert_int_equal(again[0], slots[2]);
    assert_int_equal(sv_batcher_take(b, again, 4), 2);
    assert_int_equal(sv_batcher_give_back(b, slots[0], true), 2);
    sv_batcher_close(&b);
}

/* Given to another worker for no fault of theirs: together again, and no mark against them. */
static void test_given_back_without_suspicion(void **state)
{
    struct sv_batcher *b =
        open_batcher((struct sv_batcher_config){.max_requests = 8, .max_batch = 4});
    int slots[4], again[4];
    (void)state;
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 3 && round == 0; i++)
            admit(b, i, i);
        assert_int_equal(sv_batcher_take(b, slots, 4), 3);
        for (int i = 2; i >= 0; i--)
            assert_int_equal(sv_batcher_give_back(b, slots[i], false), 0);
    }
    assert_int_equal(sv_batcher_take(b, again, 4), 3);
    assert_memory_equal(again, slots, 3 * sizeof *again);
    sv_batcher_close(&b);
}

static void test_deadlines(void **state)
{
    struct sv_batcher *b =
        open_batcher((struct sv_batcher_config){.max_requests = 8, .max_batch = 4});
    int slots[4];
    (void)state;
    assert_int_equal(sv_batcher_wake_ns(b, true), INT64_MAX);
    int late = sv_batcher_admit(b, id_of(0), 1, 0, 30);
    int early = sv_batcher_admit(b, id_of(1), 1, 0, 10);
    assert_int_equal(sv_batcher_wake_ns(b, false), 10);
    assert_int_equal(sv_batcher_expired(b, 9), SV_NONE);
    assert_int_equal(sv_batcher_expired(b, 10), early);
    sv_batcher_end(b, early, true);
    assert_int_equal(sv_batcher_expired(b, 10), SV_NONE);
    assert_int_equal(sv_batcher_wake_ns(b, false), 30);
    assert_int_equal(sv_batcher_take(b, slots, 4), 1);
    assert_int_equal(sv_batcher_expired(b, 31), late); /* also with a worker */
    sv_batcher_close(&b);
}

static void test_remembers_answers(void **state)
{
    struct sv_batcher *b = open_batcher(
        (struct sv_batcher_config){.max_requests = 2, .max_batch = 1, .remembered = 2});
    int slot;
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        int admitted = admit(b, i, i);
        assert_int_equal(sv_batcher_find(b, id_of(i)), admitted);
        assert_int_equal(sv_batcher_take(b, &slot, 1), 1);
        sv_batcher_end(b, slot, true);
        assert_int_equal(sv_batcher_place(b, slot), SV_DONE);
    }
    assert_int_not_equal(sv_batcher_find(b, id_of(0)), SV_NONE); /* four slots, four answers */
    assert_int_not_equal(admit(b, 4, 4), SV_NONE);
    assert_int_equal(sv_batcher_find(b, id_of(0)), SV_NONE); /* the oldest gave way */
    assert_int_not_equal(sv_batcher_find(b, id_of(1)), SV_NONE);
    sv_batcher_take(b, &slot, 1);
    sv_batcher_end(b, slot, false);
    assert_int_equal(sv_batcher_find(b, id_of(4)), SV_NONE);
    sv_batcher_close(&b);
}

static void test_forgets(void **state)
{
    struct sv_batcher *b = open_batcher(
        (struct sv_batcher_config){.max_requests = 2, .max_batch = 1, .remembered = 2});
    int slot;
    (void)state;
    assert_int_equal(sv_batcher_oldest_done(b), SV_NONE);
    for (uint32_t i = 0; i < 2; i++) {
        admit(b, i, i);
        sv_batcher_take(b, &slot, 1);
        sv_batcher_end(b, slot, true);
    }
    slot = sv_batcher_find(b, id_of(0));
    assert_int_equal(sv_batcher_oldest_done(b), slot);
    sv_batcher_forget(b, slot);
    assert_int_equal(sv_batcher_find(b, id_of(0)), SV_NONE);
    assert_int_equal(sv_batcher_oldest_done(b), sv_batcher_find(b, id_of(1)));
    assert_int_not_equal(admit(b, 0, 9), SV_NONE);
    sv_batcher_close(&b);
}

/* Many ids in few buckets, admitted and ended in another order: none is lost, none stays. */
static void test_finds_what_is_there(void **state)
{
    struct sv_batcher *b = open_batcher((struct sv_batcher_config){
        .max_requests = 64, .max_batch = 64, .max_nbytes = 1 << 20, .max_batch_nbytes = 1 << 20});
    int slots[64];
    (void)state;
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 64; i++)
            assert_int_not_equal(admit(b, round * 64 + i, i), SV_NONE);
        assert_int_equal(sv_batcher_take(b, slots, 64), 64);
        for (uint32_t i = 0; i < 64; i++) {
            uint32_t j = (i * 37 + round) % 64;
            assert_int_equal(sv_batcher_find(b, id_of(round * 64 + j)), slots[j]);
            sv_batcher_end(b, slots[j], false);
            assert_int_equal(sv_batcher_find(b, id_of(round * 64 + j)), SV_NONE);
        }
    }
    assert_int_equal(sv_batcher_nbytes(b), 0);
    assert_int_equal(sv_batcher_count(b, SV_FREE), 64);
    sv_batcher_close(&b);
}

static void test_bad_config(void **state)
{
    struct sv_batcher *b;
    (void)state;
    assert_int_equal(sv_batcher_open(&b, &(struct sv_batcher_config){.max_batch = 1}), CM_EINVAL);
    assert_null(b);
    sv_batcher_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_arrival),
        cmocka_unit_test(test_waits_for_more),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_one_large_image_is_taken),
        cmocka_unit_test(test_a_dead_workers_batch),
        cmocka_unit_test(test_given_back_without_suspicion),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_forgets),
        cmocka_unit_test(test_remembers_answers),
        cmocka_unit_test(test_finds_what_is_there),
        cmocka_unit_test(test_bad_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
