/* The message header: golden bytes, what a receiver of 1.0 must ignore and must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/hash.h"
#include "tests/unit/golden_bytes.h"
#include "wire/bytes.h"
#include "wire/frame.h"

static const uint8_t body[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static struct wi_id id_of(uint8_t first)
{
    struct wi_id id;
    for (int i = 0; i < 16; i++)
        id.byte[i] = (uint8_t)(first + i);
    return id;
}

static struct wi_header request(void)
{
    struct wi_header h = {
        .type = WI_REQUEST, .top_k = 3, .id = id_of(0x10), .deadline_us = 250000, .flags = 0x01};
    struct wi_image image = {WI_IMAGE_PIXELS, 2, 2, 3, body, sizeof(body)};
    wi_header_set_image(&h, &image);
    return h;
}

static struct wi_header reply(void)
{
    return (struct wi_header){.type = WI_REPLY,
                              .status = WI_OVERLOADED,
                              .body = WI_BODY_TEXT,
                              .id = id_of(0x10),
                              .prediction_id = id_of(0xa0),
                              .version = INT64_C(0x0102030405060708),
                              .manifest_hash = UINT64_C(0xf1f2f3f4f5f6f7f8),
                              .session = UINT64_C(0xe1e2e3e4e5e6e7e8),
                              .retry_us = 1000000,
                              .queue_us = 0x01020304,
                              .infer_us = 0x05060708,
                              .count = 64,
                              .body_nbytes = sizeof(body)};
}

static void expect_same(const struct wi_header *a, const struct wi_header *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->body, b->body);
    assert_int_equal(a->top_k, b->top_k);
    assert_true(wi_id_equal(a->id, b->id));
    assert_true(wi_id_equal(a->prediction_id, b->prediction_id));
    assert_true(a->version == b->version);
    assert_true(a->manifest_hash == b->manifest_hash);
    assert_true(a->session == b->session);
    assert_int_equal(a->deadline_us, b->deadline_us);
    assert_int_equal(a->retry_us, b->retry_us);
    assert_int_equal(a->queue_us, b->queue_us);
    assert_int_equal(a->infer_us, b->infer_us);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->body_nbytes, b->body_nbytes);
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->channels, b->channels);
}

/* Decodes from memory of exactly n bytes, so that ASan sees a read past them. */
static cm_status decode(struct wi_header *h, const void *data, size_t n, size_t nbody)
{
    void *exact = malloc(n ? n : 1);
    memcpy(exact, data, n);
    cm_status st = wi_header_decode(h, exact, n, nbody);
    free(exact);
    return st;
}

/* After a deliberate change: only the hash is made right again. */
static void rehash(uint8_t *p, size_t n)
{
    wi_put64(p + n - 8, cm_xxh64(p, n - 8));
}

static void test_golden(void **state)
{
    static const char *const names[] = {"wire-1.0-request.bin", "wire-1.0-reply.bin"};
    struct wi_header want[] = {request(), reply()}, got;
    (void)state;
    for (int i = 0; i < 2; i++) {
        uint8_t bytes[GOLDEN_MAX];
        wi_header_encode(bytes, &want[i]);
        golden_expect(names[i], bytes, WI_HEADER_NBYTES);
        size_t n = golden_read(names[i], bytes);
        assert_int_equal(decode(&got, bytes, n, sizeof(body)), CM_OK);
        expect_same(&got, &want[i]);
        assert_int_equal(got.minor, 0);
    }
}

static void test_image_of_a_request(void **state)
{
    struct wi_header h = request();
    struct wi_image image = wi_header_image(&h, body);
    (void)state;
    assert_int_equal(wi_image_check(&image), CM_OK);
    assert_true(image.height == 2 && image.width == 2 && image.channels == 3 && image.n == 12);
    h = reply();
    image = wi_header_image(&h, body);
    assert_int_equal(image.kind, WI_IMAGE_NONE);
    assert_int_equal(wi_image_check(&image), CM_EFORMAT);
}

/* Every length but the right one, and every single flipped bit, is refused. */
static void test_truncated_and_flipped(void **state)
{
    struct wi_header h = request(), got;
    uint8_t good[WI_HEADER_NBYTES], bad[WI_HEADER_NBYTES + 8] = {0};
    (void)state;

    wi_header_encode(good, &h);
    memcpy(bad, good, sizeof(good));
    for (size_t n = 0; n <= sizeof(bad); n++) {
        if (n != sizeof(good))
            assert_int_equal(decode(&got, bad, n, sizeof(body)), CM_EFORMAT);
    }
    for (size_t bit = 0; bit < 8 * sizeof(good); bit++) {
        memcpy(bad, good, sizeof(good));
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(decode(&got, bad, sizeof(good), sizeof(body)), CM_OK);
    }
    assert_int_equal(decode(&got, good, sizeof(good), sizeof(body)), CM_OK);
    assert_int_equal(decode(&got, good, sizeof(good), sizeof(body) - 1), CM_EFORMAT);
    assert_int_equal(decode(&got, good, sizeof(good), 0), CM_EFORMAT);
}

/* A sender of 1.7 has longer headers and a flag that may be ignored. */
static void test_later_minor(void **state)
{
    struct wi_header h = request(), got;
    uint8_t bytes[WI_HEADER_NBYTES + 24];
    (void)state;

    h.flags = 0x0f;
    wi_header_encode(bytes, &h);
    memset(bytes + 104, 0xee, sizeof(bytes) - 104);
    bytes[5] = 7;
    wi_put16(bytes + 6, sizeof(bytes));
    rehash(bytes, sizeof(bytes));
    assert_int_equal(decode(&got, bytes, sizeof(bytes), sizeof(body)), CM_OK);
    expect_same(&got, &h);
    assert_int_equal(got.minor, 7);
}

static void test_higher_major(void **state)
{
    struct wi_header h = request(), got;
    uint8_t bytes[64];
    uint8_t whole[WI_HEADER_NBYTES];
    (void)state;

    wi_header_encode(whole, &h);
    memcpy(bytes, whole, sizeof(bytes)); /* its length and hash are its own business */
    bytes[4] = 2;
    bytes[5] = 3;
    assert_int_equal(decode(&got, bytes, sizeof(bytes), sizeof(body)), CM_EVERSION);
    assert_non_null(strstr(cm_error_text(), "2.3"));
    assert_non_null(strstr(cm_error_text(), "1.0"));
    assert_true(wi_id_equal(got.id, h.id));
    assert_int_equal(got.type, 0);
    bytes[4] = 0;
    assert_int_equal(decode(&got, bytes, sizeof(bytes), sizeof(body)), CM_EVERSION);
}

static void test_critical_flag(void **state)
{
    struct wi_header h = request(), got;
    uint8_t bytes[WI_HEADER_NBYTES];
    (void)state;
    for (unsigned bit = 4; bit < 8; bit++) {
        h.flags = (uint8_t)(1u << bit);
        wi_header_encode(bytes, &h);
        assert_int_equal(decode(&got, bytes, sizeof(bytes), sizeof(body)), CM_EVERSION);
        assert_true(wi_id_equal(got.id, h.id));
    }
}

static void test_ranges(void **state)
{
    struct wi_header h = request(), got;
    uint8_t bytes[WI_HEADER_NBYTES];
    (void)state;
    h.version = -1;
    wi_header_encode(bytes, &h);
    assert_int_equal(decode(&got, bytes, sizeof(bytes), sizeof(body)), CM_EFORMAT);
    h.version = 0;
    h.body_nbytes = (uint32_t)WI_BODY_MAX + 1;
    wi_header_encode(bytes, &h);
    assert_int_equal(decode(&got, bytes, sizeof(bytes), WI_BODY_MAX + 1), CM_EFORMAT);
}

/* A count and a body of items go together. */
static void test_items(void **state)
{
    uint8_t bytes[WI_HEADER_NBYTES];
    struct wi_header h, back;
    (void)state;
    for (int i = 0; i < 4; i++) {
        h = (struct wi_header){.type = i & 1 ? WI_ANSWER : WI_BATCH,
                               .body = WI_BODY_ITEMS,
                               .count = i < 2 ? 0 : 1,
                               .body_nbytes = i < 2 ? 32 : 0};
        wi_header_encode(bytes, &h);
        assert_int_equal(wi_header_decode(&back, bytes, sizeof(bytes), h.body_nbytes), CM_EFORMAT);
        h.count = h.body_nbytes = i < 2 ? 0 : 32;
        wi_header_encode(bytes, &h);
        assert_int_equal(wi_header_decode(&back, bytes, sizeof(bytes), h.body_nbytes), CM_OK);
    }
}

static void test_statuses(void **state)
{
    (void)state;
    assert_int_equal(wi_status_http(WI_OK), 200);
    assert_int_equal(wi_status_http(WI_OVERLOADED), 429);
    assert_string_equal(wi_status_text(WI_OVERLOADED), "the queue is full");
    assert_int_equal(wi_status_http(999), 500);
    assert_string_equal(wi_status_text(999), "unknown status");
}

static void test_images(void **state)
{
    static const struct {
        struct wi_image image;
        cm_status st;
    } cases[] = {
        {{WI_IMAGE_FILE, 0, 0, 0, "\xff\xd8\xff\xe0", 4}, CM_OK},
        {{WI_IMAGE_FILE, 0, 0, 0, "\x89PNG\r\n\x1a\n...", 11}, CM_OK},
        {{WI_IMAGE_FILE, 0, 0, 0, "\x89PNG", 4}, CM_EFORMAT},
        {{WI_IMAGE_FILE, 0, 0, 0, "GIF89a", 6}, CM_EFORMAT},
        {{WI_IMAGE_FILE, 0, 0, 0, "", 0}, CM_EFORMAT},
        {{WI_IMAGE_PIXELS, 2, 2, 3, body, 12}, CM_OK},
        {{WI_IMAGE_PIXELS, 3, 4, 1, body, 12}, CM_OK},
        {{WI_IMAGE_PIXELS, 0, 0, 0, body, 12}, CM_OK},
        {{WI_IMAGE_PIXELS, 2, 2, 3, body, 11}, CM_EFORMAT},
        {{WI_IMAGE_PIXELS, 3, 2, 2, body, 12}, CM_EFORMAT},
        {{WI_IMAGE_PIXELS, 0, 2, 3, body, 12}, CM_EFORMAT},
        {{WI_IMAGE_PIXELS, 0, 0, 3, body, 12}, CM_EFORMAT},
        {{WI_IMAGE_PIXELS, 65535, 65535, 3, body, 12}, CM_EFORMAT},
        {{WI_IMAGE_NONE, 0, 0, 0, body, 12}, CM_EFORMAT},
        {{(enum wi_image_kind)9, 0, 0, 0, body, 12}, CM_EFORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (wi_image_check(&cases[i].image) != cases[i].st)
            fail_msg("case %zu", i);
    }
    assert_int_equal(wi_image_guess("\xff\xd8\xff", 3).kind, WI_IMAGE_FILE);
    assert_int_equal(wi_image_guess("\xff\xd8", 2).kind, WI_IMAGE_PIXELS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_image_of_a_request),
        cmocka_unit_test(test_truncated_and_flipped),
        cmocka_unit_test(test_later_minor),
        cmocka_unit_test(test_higher_major),
        cmocka_unit_test(test_critical_flag),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
