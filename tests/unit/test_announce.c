/* Announcements: golden bytes and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/hash.h"
#include "tests/unit/golden_bytes.h"
#include "wire/announce.h"
#include "wire/bytes.h"

static struct wi_announce aliased(void)
{
    struct wi_announce a = {.kind = WI_ALIASED,
                            .generation = 7,
                            .version = 123,
                            .manifest_hash = UINT64_C(0x0123456789abcdef),
                            .previous = 122,
                            .alias = "champion"};
    for (int i = 0; i < 16; i++)
        a.run.byte[i] = (uint8_t)i;
    return a;
}

static void test_golden(void **state)
{
    struct wi_announce in = aliased(), out;
    uint8_t bytes[GOLDEN_MAX];
    (void)state;

    wi_announce_encode(bytes, &in);
    golden_expect("wire-1.0-announce.bin", bytes, WI_ANNOUNCE_NBYTES);
    size_t n = golden_read("wire-1.0-announce.bin", bytes);
    assert_int_equal(wi_announce_decode(&out, bytes, n), CM_OK);
    assert_int_equal(out.kind, WI_ALIASED);
    assert_int_equal(out.generation, 7);
    assert_true(out.version == 123 && out.previous == 122);
    assert_true(out.manifest_hash == in.manifest_hash);
    assert_memory_equal(out.run.byte, in.run.byte, 16);
    assert_string_equal(out.alias, "champion");
}

static void test_truncated_and_flipped(void **state)
{
    struct wi_announce in = aliased(), out;
    uint8_t good[WI_ANNOUNCE_NBYTES], bad[WI_ANNOUNCE_NBYTES];
    (void)state;

    wi_announce_encode(good, &in);
    for (size_t n = 0; n < sizeof(good); n++) {
        void *exact = malloc(n ? n : 1);
        memcpy(exact, good, n);
        assert_int_equal(wi_announce_decode(&out, exact, n), CM_EFORMAT);
        free(exact);
    }
    for (size_t bit = 0; bit < 8 * sizeof(good); bit++) {
        memcpy(bad, good, sizeof(good));
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(wi_announce_decode(&out, bad, sizeof(bad)), CM_OK);
    }
}

static cm_status decode_changed(size_t at, uint8_t value)
{
    struct wi_announce in = aliased(), out;
    uint8_t bytes[WI_ANNOUNCE_NBYTES];
    wi_announce_encode(bytes, &in);
    bytes[at] = value;
    wi_put64(bytes + 120, cm_xxh64(bytes, 120));
    return wi_announce_decode(&out, bytes, sizeof(bytes));
}

static void test_contents(void **state)
{
    uint8_t longer[WI_ANNOUNCE_NBYTES + 16];
    struct wi_announce in = aliased(), out;
    (void)state;

    assert_int_equal(decode_changed(4, 2), CM_EVERSION);
    assert_int_equal(decode_changed(8, 3), CM_EVERSION);
    assert_int_equal(decode_changed(8, WI_PUBLISHED), CM_EFORMAT); /* with an alias */
    assert_int_equal(decode_changed(32, 0), CM_EFORMAT);           /* version 0 */
    assert_int_equal(decode_changed(39, 0x80), CM_EFORMAT);
    assert_int_equal(decode_changed(56, 0), CM_EFORMAT);   /* no alias */
    assert_int_equal(decode_changed(57, '/'), CM_EFORMAT); /* would be a path */
    assert_int_equal(decode_changed(5, 9), CM_OK);

    /* 1.1 may be longer. */
    wi_announce_encode(longer, &in);
    memset(longer + 120, 0xee, 24);
    wi_put16(longer + 6, sizeof(longer));
    wi_put64(longer + sizeof(longer) - 8, cm_xxh64(longer, sizeof(longer) - 8));
    assert_int_equal(wi_announce_decode(&out, longer, sizeof(longer)), CM_OK);
    assert_string_equal(out.alias, "champion");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_truncated_and_flipped),
        cmocka_unit_test(test_contents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
