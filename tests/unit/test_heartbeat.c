#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allreduce/heartbeat.h"
#include "allreduce/place.h"

static const struct ar_beat sample = {
    .kind = AR_BEAT_LEAVING,
    .key = 0x1122334455667788,
    .rank = 3,
    .collective = 17,
    .step = -2,
    .in_phase_ms = 300,
    .waiting_ms = 5,
    .phase = "step",
    .text = "disk full",
};

static void test_golden_bytes(void **state)
{
    (void)state;
    static const uint8_t head[] = {
        'F',  'W',  'H',  'B',  1,    0,    2,    0,    /* magic, version, kind */
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* key */
        17,   0,    0,    0,    0,    0,    0,    0,    /* collective */
        0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* step */
        3,    0,    0,    0,    0x2c, 1,    0,    0,    /* rank, ms in the phase */
        5,    0,    0,    0,                            /* ms in the collective */
    };
    uint8_t want[AR_BEAT_NBYTES] = {0}, got[AR_BEAT_NBYTES];
    memcpy(want, head, sizeof head);
    memcpy(want + 64, "step", 4);
    memcpy(want + 96, "disk full", 9);
    ar_beat_encode(got, &sample);
    assert_memory_equal(got, want, sizeof want);

    struct ar_beat back;
    assert_true(ar_beat_decode(&back, got, sizeof got));
    assert_int_equal(back.kind, AR_BEAT_LEAVING);
    assert_int_equal(back.step, -2);
    assert_int_equal(back.rank, 3);
    assert_string_equal(back.phase, "step");
    assert_string_equal(back.text, "disk full");
}

static void test_bad_bytes_are_ignored(void **state)
{
    (void)state;
    struct ar_beat b;
    uint8_t good[AR_BEAT_NBYTES], bad[AR_BEAT_NBYTES + 1] = {0};
    ar_beat_encode(good, &sample);
    assert_false(ar_beat_decode(&b, good, 0));
    assert_false(ar_beat_decode(&b, good, AR_BEAT_NBYTES - 1));
    memcpy(bad, good, sizeof good);
    assert_false(ar_beat_decode(&b, bad, AR_BEAT_NBYTES + 1));
    static const struct {
        size_t at;
        uint8_t byte;
    } damage[] = {{0, 'X'}, {4, 2}, {6, 0}, {6, 4}, {7, 1}, {95, 'x'}, {287, 'x'}};
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        memcpy(bad, good, sizeof good);
        bad[damage[i].at] = damage[i].byte;
        assert_false(ar_beat_decode(&b, bad, AR_BEAT_NBYTES));
    }
}

static struct ar_peer peer(enum ar_beat_kind kind, uint64_t collective, int64_t age_ms)
{
    return (struct ar_peer){
        .host = "node",
        .beat = {.kind = kind, .collective = collective, .phase = "step", .text = "why"},
        .age_ms = age_ms,
    };
}

static void test_culprits(void **state)
{
    (void)state;
    /* Rank 0 waits in collective 9; silence is more than 1,000 ms. */
    struct ar_peer p[] = {peer(AR_BEAT_ALIVE, 0, 99999), peer(AR_BEAT_ALIVE, 9, 10),
                          peer(AR_BEAT_ALIVE, 9, 10), peer(AR_BEAT_ALIVE, 10, 10)};
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), -1); /* me is not looked at */
    p[2].beat.collective = 8;
    assert_int_equal(ar_peer_fault(&p[2], 9, 1000), AR_FAULT_BEHIND);
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 2);
    p[3].age_ms = 1001; /* silence is worse than being behind */
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 3);
    p[1].age_ms = 1001; /* of those, who got the least far */
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 1);
    p[3].beat.collective = 9;
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 1);
    p[3].age_ms = 5000; /* then, who is silent for the longest time */
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 3);
    p[1].beat.collective = 8;
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 1);
    p[3].refusals = AR_REFUSALS; /* and a host that knows is surer than silence */
    assert_int_equal(ar_peer_fault(&p[3], 9, 1000), AR_FAULT_GONE);
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 3);
    p[3].beat.kind = 0; /* never heard: a firewall may be what refuses */
    assert_int_equal(ar_peer_fault(&p[3], 9, 1000), AR_FAULT_SILENT);
    p[3].beat.kind = AR_BEAT_DONE;
    assert_int_equal(ar_peer_fault(&p[3], 9, 1000), AR_FAULT_NONE);
    p[2].beat.kind = AR_BEAT_LEAVING;
    assert_int_equal(ar_culprit(p, 4, 0, 9, 1000), 2);
}

static void test_one_rank_speaks(void **state)
{
    (void)state;
    struct ar_peer p[] = {peer(AR_BEAT_ALIVE, 9, 5000), peer(AR_BEAT_ALIVE, 8, 10),
                          peer(AR_BEAT_ALIVE, 9, 10), peer(AR_BEAT_ALIVE, 9, 10)};
    /* Rank 0 is silent, rank 1 elsewhere: of those that wait, 2 is the lowest. */
    assert_true(ar_speaks(p, 2, AR_FAULT_BEHIND, 9, 1000));
    assert_false(ar_speaks(p, 3, AR_FAULT_BEHIND, 9, 1000));
    /* Of those that live, 1 is. */
    assert_true(ar_speaks(p, 1, AR_FAULT_SILENT, 9, 1000));
    assert_false(ar_speaks(p, 2, AR_FAULT_SILENT, 9, 1000));
    assert_true(ar_speaks(p, 0, AR_FAULT_BEHIND, 9, 1000));
}

static void test_descriptions_name_rank_host_and_doing(void **state)
{
    (void)state;
    char text[512];
    struct ar_peer p = peer(AR_BEAT_ALIVE, 8, 2500);
    p.beat.step = 812;
    memcpy(p.beat.text, "sum", sizeof "sum");
    ar_peer_describe(text, sizeof text, &p, 3, AR_FAULT_SILENT, 10);
    assert_string_equal(text, "rank 3 on node: silent for 2.5 s (stopped, cut off, or its host is "
                              "down), last in 'step' step 812, collective 8 (sum), 2 behind");
    ar_peer_describe(text, sizeof text, &p, 3, AR_FAULT_GONE, 8);
    assert_string_equal(text, "rank 3 on node: gone (killed or crashed), last in 'step' step 812, "
                              "collective 8 (sum)");
    p.beat.in_phase_ms = 1500;
    ar_peer_describe(text, sizeof text, &p, 3, AR_FAULT_BEHIND, 9);
    assert_string_equal(text, "rank 3 on node: behind: for 4.0 s in 'step' step 812, collective 8 "
                              "(sum), 1 behind");
    ar_peer_describe(text, sizeof text, &p, 3, AR_FAULT_LEFT, 9);
    assert_string_equal(text, "rank 3 on node: left: sum");
    char tiny[8];
    ar_peer_describe(tiny, sizeof tiny, &p, 3, AR_FAULT_LEFT, 9);
    assert_string_equal(tiny, "rank 3 ");
}

static void test_routes(void **state)
{
    (void)state;
    /* Bytes in memory order, as the network has them: 10.0.0.1/24 and so on. */
    union {
        uint8_t byte[4];
        uint32_t word;
    } a = {{10, 0, 0, 1}}, b = {{10, 0, 0, 2}}, c = {{172, 16, 0, 2}}, mask = {{255, 255, 255, 0}},
      loopback = {{127, 0, 0, 1}};
    struct ar_place here = {.host_id = 1, .naddresses = 1, .at = {{a.word, mask.word}}};
    struct ar_place there = {
        .host_id = 2, .naddresses = 2, .at = {{c.word, mask.word}, {b.word, mask.word}}};
    struct ar_place nowhere = {.host_id = 3};
    assert_int_equal(ar_place_route(&here, &here), loopback.word);
    assert_int_equal(ar_place_route(&here, &there), b.word); /* the network that both are on */
    assert_int_equal(ar_place_route(&nowhere, &there), c.word);
    assert_int_equal(ar_place_route(&here, &nowhere), 0);

    struct ar_place places[] = {here, there, here, there, there};
    int rank, size;
    ar_place_local(places, 5, 3, &rank, &size);
    assert_int_equal(rank, 1);
    assert_int_equal(size, 3);
}

static void test_clocks(void **state)
{
    (void)state;
    const double utc_s[] = {1000, 1000.5, 990, 1031.5, 999};
    assert_int_equal(ar_place_odd_clock(utc_s, 5, 2), 3);
    assert_int_equal(ar_place_odd_clock(utc_s, 3, 2), 2);
    assert_int_equal(ar_place_odd_clock(utc_s, 2, 2), -1);
    assert_int_equal(ar_place_odd_clock(utc_s, 5, 40), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_bytes),
        cmocka_unit_test(test_bad_bytes_are_ignored),
        cmocka_unit_test(test_culprits),
        cmocka_unit_test(test_one_rank_speaks),
        cmocka_unit_test(test_descriptions_name_rank_host_and_doing),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
