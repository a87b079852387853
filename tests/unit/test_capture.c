/* Captures: the fields of a Redis hash, there and back, and every field missing or wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "tests/unit/golden_bytes.h"
#include "wire/capture.h"
#include "wire/classes.h"

static const uint8_t pixels[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

struct fixture {
    struct wi_buffer classes;
    struct wi_capture capture;
    struct wi_capture_fields fields;
};

static int setup(void **state)
{
    static const float p[] = {0.25f, 0.75f};
    static const char *const names[] = {"cat", "dog"};
    struct fixture *f = calloc(1, sizeof(*f));
    uint16_t order[2];
    assert_int_equal(wi_classes_encode(&f->classes, p, names, 2, 0, order), CM_OK);
    f->capture = (struct wi_capture){.image = {WI_IMAGE_PIXELS, 2, 2, 3, pixels, sizeof(pixels)},
                                     .version = 123,
                                     .manifest_hash = UINT64_C(0x0123456789abcdef),
                                     .utc_s = 1763785203.125,
                                     .classes = f->classes.data,
                                     .nclasses = f->classes.n};
    assert_int_equal(wi_capture_encode(&f->fields, &f->capture), CM_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    wi_buffer_release(&f->classes);
    free(f);
    return 0;
}

static struct wi_field *field(struct fixture *f, const char *name)
{
    for (size_t i = 0; i < f->fields.n; i++) {
        if (strcmp(f->fields.field[i].name, name) == 0)
            return &f->fields.field[i];
    }
    fail_msg("no field '%s'", name);
    return NULL;
}

static void test_there_and_back(void **state)
{
    struct fixture *f = *state;
    struct wi_capture out;
    char text[GOLDEN_MAX];
    size_t n = 0;

    for (size_t i = 0; i < f->fields.n; i++) {
        const struct wi_field *one = &f->fields.field[i];
        if (one->value != f->capture.image.data && one->value != f->capture.classes)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s=%.*s\n", one->name,
                                  (int)one->nvalue, one->value);
    }
    golden_expect("wire-1.0-capture.txt", text, n);
    assert_int_equal(wi_capture_decode(&out, f->fields.field, f->fields.n), CM_OK);
    assert_int_equal(out.image.kind, WI_IMAGE_PIXELS);
    assert_true(out.image.height == 2 && out.image.width == 2 && out.image.channels == 3);
    assert_memory_equal(out.image.data, pixels, sizeof(pixels));
    assert_true(out.version == 123 && out.manifest_hash == f->capture.manifest_hash);
    assert_true(out.utc_s == f->capture.utc_s);
    assert_int_equal(out.nclasses, f->capture.nclasses);

    f->capture.image = (struct wi_image){WI_IMAGE_FILE, 0, 0, 0, "\xff\xd8\xff", 3};
    assert_int_equal(wi_capture_encode(&f->fields, &f->capture), CM_OK);
    assert_int_equal(wi_capture_decode(&out, f->fields.field, f->fields.n), CM_OK);
    assert_int_equal(out.image.kind, WI_IMAGE_FILE);
}

static void test_missing_fields(void **state)
{
    struct fixture *f = *state;
    struct wi_capture out;
    assert_int_equal(wi_capture_decode(&out, NULL, 0), CM_ENOTFOUND);
    for (size_t i = 0; i < f->fields.n; i++) {
        struct wi_capture_fields less = f->fields;
        const char *name = less.field[i].name;
        less.field[i] = less.field[--less.n];
        cm_status st = wi_capture_decode(&out, less.field, less.n);
        assert_int_equal(st, strcmp(name, "label") == 0 ? CM_OK : CM_EFORMAT);
        if (st != CM_OK)
            assert_non_null(strstr(cm_error_text(), name));
    }
}

static void test_wrong_fields(void **state)
{
    static const struct {
        const char *name, *value;
        cm_status st;
    } cases[] = {
        {"format", "2.0", CM_EVERSION},
        {"format", "", CM_EFORMAT},
        {"kind", "files", CM_EFORMAT},
        {"kind", "file", CM_EFORMAT}, /* its bytes are none */
        {"image", "", CM_EFORMAT},
        {"image", "too few", CM_EFORMAT},
        {"shape", "2x2", CM_EFORMAT},
        {"shape", "2x2x3x1", CM_EFORMAT},
        {"shape", "2x2x", CM_EFORMAT},
        {"shape", "-2x2x3", CM_EFORMAT},
        {"shape", "65536x1x1", CM_EFORMAT},
        {"shape", "3x1x4", CM_EFORMAT},
        {"shape", "3x1x259", CM_EFORMAT},
        {"version", "0", CM_EFORMAT},
        {"version", "12a", CM_EFORMAT},
        {"version", "99999999999999999999", CM_EFORMAT},
        {"version", " 1", CM_EFORMAT},
        {"version", "\t1", CM_EFORMAT},
        {"version", "+1", CM_EFORMAT},
        {"version", "", CM_EFORMAT},
        {"manifest", "123", CM_EFORMAT},
        {"manifest", "0123456789abcdeg", CM_EFORMAT},
        {"manifest", "0x23456789abcdef", CM_EFORMAT},
        {"manifest", "-123456789abcdef", CM_EFORMAT},
        {"shape", "1x 1x3", CM_EFORMAT},
        {"shape", "1x+1x3", CM_EFORMAT},
        {"time", "nan", CM_EFORMAT},
        {"time", "-1", CM_EFORMAT},
        {"time", "0x10", CM_EFORMAT},
        {"time", "1.2.3", CM_EFORMAT},
        {"time", "1000000000000", CM_EFORMAT},
        {"time", "noon", CM_EFORMAT},
        {"time", "0000000000000000000000000000000000000001", CM_EFORMAT},
        {"classes", "", CM_EFORMAT},
        {"classes", "\1", CM_EFORMAT},
    };
    struct fixture *f = *state;
    struct wi_capture out;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wi_field *one = field(f, cases[i].name), old = *one;
        one->value = cases[i].value;
        one->nvalue = strlen(cases[i].value);
        if (wi_capture_decode(&out, f->fields.field, f->fields.n) != cases[i].st)
            fail_msg("%s = '%s'", cases[i].name, cases[i].value);
        assert_null(out.image.data);
        *one = old;
    }
}

static void test_encode_refuses(void **state)
{
    struct fixture *f = *state;
    struct wi_capture c = f->capture;
    c.image.n--;
    assert_int_equal(wi_capture_encode(&f->fields, &c), CM_EFORMAT);
    c = f->capture;
    c.nclasses--;
    assert_int_equal(wi_capture_encode(&f->fields, &c), CM_EFORMAT);
    c = f->capture;
    c.version = 0;
    assert_int_equal(wi_capture_encode(&f->fields, &c), CM_EINVAL);
    static const double no_times[] = {(double)NAN, -1, 1e12, (double)INFINITY};
    for (size_t i = 0; i < sizeof(no_times) / sizeof(no_times[0]); i++) {
        c = f->capture;
        c.utc_s = no_times[i];
        assert_int_equal(wi_capture_encode(&f->fields, &c), CM_EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_encode_refuses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
