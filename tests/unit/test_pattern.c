#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allreduce/pattern.h"
#include "common/vec.h"

#define N 1000

/* A check of the order proves something only if other orders give other bits. */
static void test_floats_show_the_order(void **state)
{
    (void)state;
    static float tree[N];
    ar_pattern_tree(tree, N, (struct ar_range){0, 8}, false);
    int line = 0, far = 0;
    for (size_t i = 0; i < N; i++) {
        float x[8], one_by_one = 0;
        for (size_t s = 0; s < 8; s++)
            x[s] = ar_pattern_float(i, s);
        for (int s = 0; s < 8; s++)
            one_by_one += x[s];
        /* The tree over other neighbours: those that are farthest apart meet first. */
        float far_first = ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
        line += one_by_one != tree[i];
        far += far_first != tree[i];
    }
    assert_true(line > N / 4);
    assert_true(far > N / 4);
}

static void test_tree_is_as_drawn(void **state)
{
    (void)state;
    float got[3], part[3];
    ar_pattern_tree(got, 3, (struct ar_range){0, 8}, false);
    for (size_t i = 0; i < 3; i++) {
        float x[8];
        for (size_t s = 0; s < 8; s++)
            x[s] = ar_pattern_float(i, s);
        assert_true(got[i] == ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])));
    }
    ar_pattern_tree(part, 3, (struct ar_range){6, 8}, true);
    for (size_t i = 0; i < 3; i++) {
        float a = cm_bf16_to_f32(cm_f32_to_bf16(ar_pattern_float(i, 6)));
        float b = cm_bf16_to_f32(cm_f32_to_bf16(ar_pattern_float(i, 7)));
        assert_true(part[i] == cm_bf16_to_f32(cm_f32_to_bf16(a + b)));
    }
}

/* Exact in fp32 up to 128 ranks. */
static void test_integers_stay_exact(void **state)
{
    (void)state;
    static double sum[2000];
    static float x[2000];
    for (int r = 0; r < 128; r++) {
        ar_pattern_integers(x, 2000, r);
        for (int i = 0; i < 2000; i++)
            sum[i] += (double)x[i];
    }
    for (size_t i = 0; i < 2000; i++) {
        assert_true(sum[i] == (double)ar_pattern_integer_sum(i, 128));
        assert_true(sum[i] < 16777216);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats_show_the_order),
        cmocka_unit_test(test_tree_is_as_drawn),
        cmocka_unit_test(test_integers_stay_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
