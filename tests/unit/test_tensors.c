#include <math.h>

#include "tests/unit/store_fixture.h"

static void adds_and_finds(void **state)
{
    (void)state;
    struct ps_tensors set = {0};
    const struct ps_tensor *t;
    fixture_tensors(&set);
    assert_int_equal(set.n, 2);
    t = ps_tensors_find(&set, "w");
    assert_non_null(t);
    assert_int_equal(t->nbytes, 16);
    assert_int_equal(ps_tensor_count(t), 4);
    assert_null(ps_tensors_find(&set, "W"));
    assert_fails(ps_tensors_add(&set, "w", PS_F32, 0, NULL, fixture_weight), CM_EEXIST);
    assert_ok(ps_tensors_need(&set, "w", PS_F32, 2, fixture_shape, &t));
    assert_fails(ps_tensors_need(&set, "w", PS_BF16, 2, fixture_shape, &t), CM_ESHAPE);
    assert_says("tensor w is F32 2x2, not BF16 2x2");
    assert_fails(ps_tensors_need(&set, "b", PS_F32, 0, NULL, &t), CM_ENOTFOUND);
    assert_int_equal(set.n, 2);
    ps_tensors_release(&set);
}

static void refuses_bad_shapes(void **state)
{
    (void)state;
    struct ps_tensors set = {0};
    int64_t negative[1] = {-1}, huge[3] = {INT64_MAX, INT64_MAX, 0}, nine[9] = {0};
    int64_t odd[1] = {3};
    assert_fails(ps_tensors_add(&set, "x", PS_F32, 1, negative, NULL), CM_EINVAL);
    assert_fails(ps_tensors_add(&set, "x", PS_F32, 3, huge, NULL), CM_EINVAL);
    assert_fails(ps_tensors_add(&set, "x", PS_F32, 9, nine, NULL), CM_EINVAL);
    assert_fails(ps_tensors_add(&set, "x", PS_F4, 1, odd, NULL), CM_EINVAL);
    assert_says("12 bits");
    assert_fails(ps_tensors_add(&set, "x", (enum ps_dtype)99, 0, NULL, NULL), CM_EINVAL);
    assert_int_equal(set.n, 0);
    ps_tensors_release(&set);
}

static void names_every_dtype(void **state)
{
    (void)state;
    for (int i = 0; i < PS_DTYPE_COUNT; i++) {
        enum ps_dtype back = PS_DTYPE_COUNT;
        assert_true(ps_dtype_parse(&back, ps_dtype_name((enum ps_dtype)i)));
        assert_int_equal(back, i);
        assert_true(ps_dtype_bits((enum ps_dtype)i) > 0);
    }
    enum ps_dtype none;
    assert_false(ps_dtype_parse(&none, "f32"));
}

static void reads_elements(void **state)
{
    (void)state;
    /* The bytes start at an odd address, as in a file from elsewhere. */
    char raw[1 + 4 * sizeof(float)];
    memcpy(raw + 1, fixture_weight, sizeof fixture_weight);
    struct ps_tensor t = {.dtype = PS_F32, .ndim = 1, .dim = {4}, .data = raw + 1, .nbytes = 16};
    assert_true(ps_tensor_at(&t, 1) == -2.0);
    assert_true(ps_tensor_abs_max(&t) == 3.0);

    static const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x7e00};
    struct ps_tensor h = {.dtype = PS_F16, .ndim = 1, .dim = {5}, .data = halves, .nbytes = 10};
    assert_true(ps_tensor_at(&h, 0) == 1.0);
    assert_true(ps_tensor_at(&h, 1) == -2.0);
    assert_true(ps_tensor_at(&h, 2) == 0x1p-24);
    assert_true(isinf(ps_tensor_at(&h, 3)));
    assert_true(isnan(ps_tensor_abs_max(&h)));

    static const int64_t negative = -5;
    struct ps_tensor s = {.dtype = PS_I64, .data = &negative, .nbytes = 8};
    assert_true(ps_tensor_abs_max(&s) == 5.0);
    struct ps_tensor empty = {.dtype = PS_F32, .ndim = 1, .dim = {0}, .data = raw + 1};
    assert_true(ps_tensor_abs_max(&empty) == 0.0);
}

static void keeps_metadata(void **state)
{
    (void)state;
    struct ps_tensors set = {0};
    assert_null(ps_tensors_meta(&set, "format"));
    assert_ok(ps_tensors_set_meta(&set, "format", "np"));
    assert_ok(ps_tensors_set_meta(&set, "format", "pt"));
    assert_string_equal(ps_tensors_meta(&set, "format"), "pt");
    assert_int_equal(set.nmeta, 1);
    ps_tensors_release(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_and_finds),    cmocka_unit_test(refuses_bad_shapes),
        cmocka_unit_test(names_every_dtype), cmocka_unit_test(reads_elements),
        cmocka_unit_test(keeps_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
