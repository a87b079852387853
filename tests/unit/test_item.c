/* Batches and answers: items, and the description of a worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include "tests/unit/golden_bytes.h"
#include "wire/frame.h"
#include "wire/item.h"
#include "wire/worker.h"

/* Reads all items from memory of exactly n bytes; how many were good, or a status. */
static cm_status read_all(const void *data, size_t n, uint32_t count, int *good)
{
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, data, n);
    struct wi_items items = {exact, n, count};
    struct wi_item item;
    cm_status st = CM_OK;
    *good = 0;
    while (items.left > 0 && (st = wi_item_next(&items, &item)) == CM_OK) {
        assert_true((const uint8_t *)item.data >= exact &&
                    (const uint8_t *)item.data + item.n <= exact + n);
        ++*good;
    }
    free(exact);
    return st;
}

static void make_batch(struct wi_buffer *body)
{
    struct wi_image pixels = {WI_IMAGE_PIXELS, 1, 3, 1, "abc", 3};
    struct wi_image file = {WI_IMAGE_FILE, 0, 0, 0, "\xff\xd8\xff\xe0....", 8};
    struct wi_item refusal = {
        .slot = 9, .status = WI_BAD_INPUT, .body = WI_BODY_TEXT, .data = "no", .n = 2};
    struct wi_item item = {.slot = 7, .deadline_us = 5000, .top_k = 2};
    assert_int_equal(wi_item_add_image(body, item, &pixels), CM_OK);
    item.slot = 0xfffffffe;
    assert_int_equal(wi_item_add_image(body, item, &file), CM_OK);
    assert_int_equal(wi_item_add(body, &refusal), CM_OK);
}

static void test_golden(void **state)
{
    struct wi_buffer body = {0};
    struct wi_item item;
    uint8_t bytes[GOLDEN_MAX];
    (void)state;

    make_batch(&body);
    golden_expect("wire-1.0-items.bin", body.data, body.n);
    wi_buffer_release(&body);
    struct wi_items items = {bytes, golden_read("wire-1.0-items.bin", bytes), 3};

    assert_int_equal(wi_item_next(&items, &item), CM_OK);
    assert_int_equal(item.slot, 7);
    assert_int_equal(item.deadline_us, 5000);
    assert_int_equal(item.top_k, 2);
    struct wi_image image = wi_item_image(&item);
    assert_int_equal(wi_image_check(&image), CM_OK);
    assert_true(image.height == 1 && image.width == 3 && image.channels == 1);
    assert_memory_equal(image.data, "abc", 3);

    assert_int_equal(wi_item_next(&items, &item), CM_OK);
    assert_true(item.slot == 0xfffffffe);
    image = wi_item_image(&item);
    assert_int_equal(image.kind, WI_IMAGE_FILE);
    assert_int_equal(image.n, 8);

    assert_int_equal(wi_item_next(&items, &item), CM_OK);
    assert_int_equal(item.status, WI_BAD_INPUT);
    assert_int_equal(wi_item_image(&item).kind, WI_IMAGE_NONE);
    assert_memory_equal(item.data, "no", 2);
    assert_int_equal(items.left, 0);
}

static void test_bad_bodies(void **state)
{
    struct wi_buffer body = {0};
    int good;
    (void)state;

    make_batch(&body);
    for (size_t n = 0; n < body.n; n++)
        assert_int_equal(read_all(body.data, n, 3, &good), CM_EFORMAT);
    assert_int_equal(read_all(body.data, body.n, 3, &good), CM_OK);
    assert_int_equal(read_all(body.data, body.n, 2, &good), CM_EFORMAT);
    assert_int_equal(read_all(body.data, body.n, 4, &good), CM_EFORMAT);
    assert_int_equal(read_all(body.data, body.n, UINT32_MAX, &good), CM_EFORMAT);
    for (size_t i = 0; i < body.n; i++) {
        static const uint8_t values[] = {0, 1, 31, 33, 127, 255};
        for (size_t k = 0; k < sizeof(values); k++) {
            uint8_t old = body.data[i];
            body.data[i] = values[k];
            (void)!read_all(body.data, body.n, 3, &good); /* nothing is read outside */
            body.data[i] = old;
        }
    }
    wi_buffer_release(&body);
}

/* A later minor's item header is longer. */
static void test_longer_item_header(void **state)
{
    uint8_t bytes[48] = {0};
    struct wi_items items = {bytes, sizeof(bytes), 1};
    struct wi_item item;
    (void)state;
    wi_put16(bytes, 40);
    wi_put32(bytes + 12, 8);
    memset(bytes + 40, 0x5a, 8);
    assert_int_equal(wi_item_next(&items, &item), CM_OK);
    assert_memory_equal(item.data, bytes + 40, 8);
}

static void test_buffer(void **state)
{
    struct wi_buffer b = {0};
    uint8_t *p, *first;
    (void)state;

    assert_int_equal(wi_buffer_grow(&b, &first, 10), CM_OK);
    memset(first, 'x', 10);
    assert_int_equal(wi_buffer_grow(&b, &p, 100000), CM_OK);
    assert_int_equal(b.n, 100010);
    assert_memory_equal(b.data, "xxxxxxxxxx", 10);
    b.n = 0;
    cm_mem_fail_at(1); /* warm: no allocation */
    assert_int_equal(wi_buffer_grow(&b, &p, 100010), CM_OK);
    assert_int_equal(wi_buffer_grow(&b, &p, 1000000), CM_ENOMEM);
    assert_int_equal(b.n, 100010);
    cm_mem_fail_at(0);
    assert_int_equal(wi_buffer_grow(&b, &p, SIZE_MAX - 5), CM_EINVAL);
    wi_buffer_release(&b);
    wi_buffer_release(&b);
}

static void test_worker(void **state)
{
    struct wi_worker in = {.name = "node03:1", .max_batch = 64, .pid = 4711, .heartbeat_ms = 1000};
    struct wi_worker out;
    struct wi_buffer body = {0};
    uint8_t bytes[GOLDEN_MAX];
    (void)state;

    assert_int_equal(wi_worker_encode(&body, &in), CM_OK);
    golden_expect("wire-1.0-worker.bin", body.data, body.n);
    size_t n = golden_read("wire-1.0-worker.bin", bytes);
    assert_int_equal(wi_worker_decode(&out, bytes, n), CM_OK);
    assert_string_equal(out.name, in.name);
    assert_int_equal(out.max_batch, 64);
    assert_int_equal(out.pid, 4711);
    assert_int_equal(out.heartbeat_ms, 1000);

    for (size_t cut = 0; cut < n; cut++) {
        void *exact = malloc(cut ? cut : 1);
        memcpy(exact, bytes, cut);
        assert_int_equal(wi_worker_decode(&out, exact, cut), CM_EFORMAT);
        free(exact);
    }
    bytes[16] = '\n';
    assert_int_equal(wi_worker_decode(&out, bytes, n), CM_EFORMAT);
    bytes[16] = 'n';
    wi_put32(bytes + 4, 0);
    assert_int_equal(wi_worker_decode(&out, bytes, n), CM_EFORMAT);
    wi_put32(bytes + 4, UINT32_MAX); /* no int of the gateway's */
    assert_int_equal(wi_worker_decode(&out, bytes, n), CM_EFORMAT);
    wi_put32(bytes + 4, 1);
    wi_put16(bytes + 2, 0);
    assert_int_equal(wi_worker_decode(&out, bytes, n), CM_EFORMAT);
    wi_buffer_release(&body);
}

static void test_worker_with_device(void **state)
{
    struct wi_worker in = {
        .name = "node03:1", .device = "cuda:3", .max_batch = 64, .pid = 1, .heartbeat_ms = 1};
    struct wi_worker out;
    struct wi_buffer body = {0};
    (void)state;

    assert_int_equal(wi_worker_encode(&body, &in), CM_OK);
    golden_expect("wire-1.0-worker-device.bin", body.data, body.n);
    assert_int_equal(wi_worker_decode(&out, body.data, body.n), CM_OK);
    assert_string_equal(out.device, "cuda:3");
    assert_string_equal(out.name, "node03:1");
    for (size_t cut = 0; cut < body.n; cut++) {
        void *exact = malloc(cut ? cut : 1);
        memcpy(exact, body.data, cut);
        assert_int_equal(wi_worker_decode(&out, exact, cut), CM_EFORMAT);
        free(exact);
    }
    body.data[17] = '\n';
    assert_int_equal(wi_worker_decode(&out, body.data, body.n), CM_EFORMAT);
    memset(body.data + 16, 'x', WI_WORKER_DEVICE); /* without an end */
    assert_int_equal(wi_worker_decode(&out, body.data, body.n), CM_OK);
    assert_int_equal(strlen(out.device), WI_WORKER_DEVICE - 1);
    wi_buffer_release(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_longer_item_header),
        cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_worker_with_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
