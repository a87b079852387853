/* layout.h: the arena's order, alignment and names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "model/layout.h"

static const char text[] =
    "{\"format\": \"1.0\", \"name\": \"t\", "
    "\"input\": {\"channels\": 3, \"height\": 8, \"width\": 8}, \"nodes\": ["
    "{\"name\": \"conv\", \"op\": \"conv\", \"out\": 5, \"kernel\": 3, \"freeze_weight\": true},"
    "{\"name\": \"bn\", \"op\": \"batchnorm\", \"freeze_bias\": true},"
    "{\"name\": \"relu\", \"op\": \"relu\"},"
    "{\"name\": \"flatten\", \"op\": \"flatten\"},"
    "{\"name\": \"fc\", \"op\": \"linear\", \"out\": 7, \"bias\": false}]}";

static struct nn_spec *spec;
static struct nn_layout *layout;

static int setup(void **state)
{
    (void)state;
    struct cm_json *json;
    assert_int_equal(cm_json_parse(&json, text, strlen(text), "test"), CM_OK);
    assert_int_equal(nn_spec_parse(&spec, json, "test"), CM_OK);
    cm_json_close(&json);
    assert_int_equal(nn_layout_open(&layout, spec), CM_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nn_layout_close(&layout);
    nn_layout_close(&layout); /* twice is fine */
    nn_spec_close(&spec);
    return 0;
}

/* Last node first, weight before bias, statistics behind; each on a multiple of 16 floats. */
static void test_order(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t offset, n;
        int ndim;
        int64_t dim[4];
        bool trained;
    } want[] = {
        {"fc.weight", 0, 7 * 180, 2, {7, 180}, true},
        {"bn.weight", 1264, 5, 1, {5}, true},
        {"bn.bias", 1280, 5, 1, {5}, false},
        {"conv.weight", 1296, 135, 4, {5, 3, 3, 3}, false},
        {"conv.bias", 1440, 5, 1, {5}, true},
        {"bn.running_mean", 1456, 5, 1, {5}, false},
        {"bn.running_var", 1472, 5, 1, {5}, false},
    };
    size_t n = sizeof want / sizeof *want;
    assert_int_equal(layout->ntensors, n);
    for (size_t i = 0; i < n; i++) {
        const struct nn_tensor *t = &layout->tensors[i];
        assert_string_equal(t->name, want[i].name);
        assert_int_equal(t->offset, want[i].offset);
        assert_int_equal(t->n, want[i].n);
        assert_int_equal(t->ndim, want[i].ndim);
        assert_memory_equal(t->dim, want[i].dim, sizeof t->dim);
        assert_int_equal(t->trained, want[i].trained);
        assert_ptr_equal(nn_layout_find(layout, want[i].name), t);
        assert_int_equal(layout->of_node[t->node][t->role], i);
    }
    assert_int_equal(layout->nparam, 1456);
    assert_int_equal(layout->ntotal, 1488);
    assert_int_equal(layout->parameters, 1260 + 5 + 5 + 135 + 5);
    assert_int_equal(layout->trained_parameters, 1260 + 5 + 5);
}

static void test_absent(void **state)
{
    (void)state;
    assert_null(nn_layout_find(layout, "fc.bias"));
    assert_int_equal(layout->of_node[4][NN_BIAS], -1);
    assert_int_equal(layout->of_node[2][NN_WEIGHT], -1);
    assert_int_equal(layout->of_node[0][NN_RUNNING_MEAN], -1);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (long k = 1; k <= 3; k++) {
        struct nn_layout *none = layout;
        cm_mem_fail_at(k);
        assert_int_equal(nn_layout_open(&none, spec), CM_ENOMEM);
        cm_mem_fail_at(0);
        assert_null(none);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_absent),
                                       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
