/* The body of a good reply. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "tests/unit/golden_bytes.h"
#include "wire/classes.h"

static const char *const names[] = {"cat", "dog", "", "Gr\xc3\xbc\xc3\x9f"};

static void encode(struct wi_buffer *body, const float *p, int top_k)
{
    uint16_t order[4];
    body->n = 0;
    assert_int_equal(wi_classes_encode(body, p, names, 4, top_k, order), CM_OK);
}

static void test_order_and_golden(void **state)
{
    static const float p[] = {0.25f, 0.5f, 0.0f, 0.25f};
    static const int want[] = {1, 0, 3, 2};
    struct wi_buffer body = {0};
    struct wi_classes c;
    struct wi_class one;
    (void)state;

    encode(&body, p, 0);
    golden_expect("wire-1.0-classes.bin", body.data, body.n);
    assert_int_equal(wi_classes_open(&c, body.data, body.n), CM_OK);
    assert_true(c.n == 4 && c.total == 4);
    for (int i = 0; i < 4; i++) {
        assert_true(wi_classes_next(&c, &one));
        assert_int_equal(one.index, want[i]);
        assert_true(one.probability == p[want[i]]);
        assert_string_equal(one.name, names[want[i]]);
    }
    assert_false(wi_classes_next(&c, &one));

    encode(&body, p, 2);
    assert_int_equal(wi_classes_open(&c, body.data, body.n), CM_OK);
    assert_true(c.n == 2 && c.total == 4);
    encode(&body, p, 99);
    assert_int_equal(wi_classes_open(&c, body.data, body.n), CM_OK);
    assert_int_equal(c.n, 4);
    wi_buffer_release(&body);
}

static void test_no_probabilities(void **state)
{
    static const float bad[] = {NAN, INFINITY, -0.001f, 1.001f};
    struct wi_buffer body = {0};
    uint16_t order[4];
    (void)state;
    for (int i = 0; i < 4; i++) {
        float p[] = {0.5f, 0.5f, bad[i], 0.0f};
        assert_int_equal(wi_classes_encode(&body, p, names, 4, 0, order), CM_ENUMERIC);
        assert_int_equal(body.n, 0);
    }
    assert_int_equal(wi_classes_encode(&body, bad, names, 0, 0, order), CM_EINVAL);
}

static cm_status open_exact(const uint8_t *data, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);
    struct wi_classes c;
    struct wi_class one;
    memcpy(exact, data, n);
    cm_status st = wi_classes_open(&c, exact, n);
    while (st == CM_OK && wi_classes_next(&c, &one))
        assert_true((const uint8_t *)one.name + strlen(one.name) < exact + n);
    free(exact);
    return st;
}

static void test_bad_bodies(void **state)
{
    static const float p[] = {0.25f, 0.5f, 0.0f, 0.25f};
    struct wi_buffer body = {0};
    uint8_t bad[256];
    (void)state;

    encode(&body, p, 0);
    for (size_t n = 0; n < body.n; n++)
        assert_int_equal(open_exact(body.data, n), CM_EFORMAT);
    memcpy(bad, body.data, body.n);
    bad[body.n] = 0;
    assert_int_equal(open_exact(bad, body.n + 1), CM_EFORMAT);
    for (size_t i = 0; i < body.n; i++) {
        for (unsigned v = 0; v < 256; v++) {
            memcpy(bad, body.data, body.n);
            bad[i] = (uint8_t)v;
            (void)!open_exact(bad, body.n);
        }
    }
    memcpy(bad, body.data, body.n);
    bad[4] = 4; /* class 4 of 4 */
    assert_int_equal(open_exact(bad, body.n), CM_EFORMAT);
    memcpy(bad, body.data, body.n);
    bad[12] = '\n'; /* in a name */
    assert_int_equal(open_exact(bad, body.n), CM_EFORMAT);
    wi_buffer_release(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_golden),
        cmocka_unit_test(test_no_probabilities),
        cmocka_unit_test(test_bad_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
