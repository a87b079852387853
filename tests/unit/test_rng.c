#include "common/rng.h"

#include <math.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

/* Random123's kat_vectors, philox4x32 10. */
static void test_philox_known_answers(void **state)
{
    (void)state;
    const struct {
        uint32_t ctr[4], key[2], out[4];
    } list[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct cm_rng4 r = cm_philox4x32(list[i].ctr, list[i].key);
        assert_memory_equal(r.v, list[i].out, sizeof r.v);
    }
}

static void test_a_stream_is_its_blocks(void **state)
{
    (void)state;
    const uint64_t seed = 0x0123456789abcdef;
    for (uint32_t i = 0; i < 64; i++) {
        struct cm_rng4 r = cm_rng_block(seed, CM_RNG_AUGMENT, 3, 17, i / 4);
        assert_int_equal(cm_rng_u32(seed, CM_RNG_AUGMENT, 3, 17, i), r.v[i % 4]);
    }
}

/* Every argument tells streams apart: both halves of the seed, too. */
static void test_streams_differ(void **state)
{
    (void)state;
    uint32_t seen[7] = {
        cm_rng_u32(1, CM_RNG_INIT, 2, 3, 4),
        cm_rng_u32(2, CM_RNG_INIT, 2, 3, 4),
        cm_rng_u32(1 + (UINT64_C(1) << 32), CM_RNG_INIT, 2, 3, 4),
        cm_rng_u32(1, CM_RNG_DROPOUT, 2, 3, 4),
        cm_rng_u32(1, CM_RNG_INIT, 3, 3, 4),
        cm_rng_u32(1, CM_RNG_INIT, 2, 4, 4),
        cm_rng_u32(1, CM_RNG_INIT, 2, 3, 5),
    };
    for (int i = 0; i < 7; i++) {
        for (int j = 0; j < i; j++)
            assert_int_not_equal(seen[i], seen[j]);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    assert_true(cm_rng_unit(0) == 0.0f);
    assert_true(cm_rng_unit(UINT32_MAX) == 1.0f - 0x1p-24f);
    assert_int_equal(cm_rng_below(0, 7), 0);
    assert_int_equal(cm_rng_below(UINT32_MAX, 7), 6);
    assert_int_equal(cm_rng_below(UINT32_MAX, 1), 0);
    assert_int_equal(cm_rng_below(UINT32_MAX, UINT32_MAX), UINT32_MAX - 1);
    const uint32_t corners[] = {0, 1, UINT32_MAX / 2, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++)
            assert_true(fabs(cm_rng_normal(corners[i], corners[j])) < 7);
    }
}

/* With 100,000 numbers the standard errors are 0.0032 (mean), 0.0045 (variance), 0.0155 (fourth
 * moment, which is 3); the numbers are fixed, so this passes always or never. */
static void test_normal_moments(void **state)
{
    (void)state;
    const uint32_t n = 100000;
    double m1 = 0, m2 = 0, m4 = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct cm_rng4 r = cm_rng_block(42, CM_RNG_INIT, 0, 0, i);
        double x = cm_rng_normal(r.v[0], r.v[1]);
        m1 += x;
        m2 += x * x;
        m4 += x * x * x * x;
    }
    assert_true(fabs(m1 / n) < 4 * 0.0032);
    assert_true(fabs(m2 / n - 1) < 4 * 0.0045);
    assert_true(fabs(m4 / n - 3) < 4 * 0.0310);
}

static void expect_permutation(uint64_t seed, uint32_t epoch, uint32_t n, unsigned char *seen)
{
    memset(seen, 0, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = cm_rng_permute(seed, CM_RNG_SHUFFLE, epoch, n, i);
        assert_true(j < n);
        assert_int_equal(seen[j]++, 0);
    }
}

static void test_permutations_are_bijections(void **state)
{
    (void)state;
    unsigned char *seen;
    expect_ok(cm_alloc(&seen, 100000, 1, "marks"));
    for (uint32_t n = 1; n <= 600; n++)
        expect_permutation(n * UINT64_C(0x9e3779b97f4a7c15), n % 3, n, seen);
    const uint32_t large[] = {4095, 4096, 4097, 50000, 65535, 65536, 65537};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        expect_permutation(7, 1, large[i], seen);
    cm_free(&seen);
    /* No place for marks: in range, and different where the argument is. */
    uint32_t a = cm_rng_permute(7, CM_RNG_SHUFFLE, 0, UINT32_MAX, 0);
    uint32_t b = cm_rng_permute(7, CM_RNG_SHUFFLE, 0, UINT32_MAX, UINT32_MAX - 1);
    assert_true(a < UINT32_MAX && b < UINT32_MAX && a != b);
}

/* Epochs are different orders, and none is near the identity: of 50,000 places a random order keeps
 * 1 on average. */
static void test_permutations_mix(void **state)
{
    (void)state;
    uint32_t kept = 0, same = 0, neighbours = 0;
    for (uint32_t i = 0; i < 50000; i++) {
        uint32_t a = cm_rng_permute(1, CM_RNG_SHUFFLE, 0, 50000, i);
        uint32_t b = cm_rng_permute(1, CM_RNG_SHUFFLE, 1, 50000, i);
        uint32_t next = cm_rng_permute(1, CM_RNG_SHUFFLE, 0, 50000, (i + 1) % 50000);
        kept += a == i;
        same += a == b;
        neighbours += next == a + 1;
    }
    assert_in_range(kept, 0, 8);
    assert_in_range(same, 0, 8);
    assert_in_range(neighbours, 0, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_a_stream_is_its_blocks),
        cmocka_unit_test(test_streams_differ),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_normal_moments),
        cmocka_unit_test(test_permutations_are_bijections),
        cmocka_unit_test(test_permutations_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
