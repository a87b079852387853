/* Convolution and linear in bf16 where oneDNN has no bf16 kernel: oneDNN is held to AVX2, which has
 * none, whatever this CPU is. A program of its own, since that can be said once, before oneDNN's
 * first use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/dnnl.h"
#include "tests/parity/ops.h"

static const struct op_case *find(const char *name)
{
    for (size_t i = 0; i < op_ncases; i++)
        if (strcmp(op_cases[i].name, name) == 0)
            return &op_cases[i];
    fail_msg("no case '%s'", name);
    return NULL;
}

static void run(struct op_run *r, const struct op_case *c, bool emulate, bool inference)
{
    const struct op_options options = {
        .dtype = NN_BF16, .emulate_bf16 = emulate, .round_bf16 = true, .inference = inference};
    if (op_run_open(r, nn_backend_cpu(), c, options) != CM_OK || op_run_forward(r) != CM_OK ||
        (!inference && op_run_backward(r) != CM_OK))
        fail_msg("%s: %s", c->name, cm_error_text());
}

/* Asked for in bf16, the op is the one that was asked for in emulation, bit for bit. */
static void compare(const char *name, bool inference)
{
    const struct op_case *c = find(name);
    struct op_run native, emulated;
    run(&native, c, false, inference);
    run(&emulated, c, true, inference);
    assert_true(native.op.desc.emulate_bf16);
    for (enum op_out out = OUT_Y; out <= (inference ? OUT_Y : OUT_VAR); out++) {
        assert_int_equal(op_out_count(&native, out), op_out_count(&emulated, out));
        for (size_t i = 0; i < op_out_count(&native, out); i++)
            assert_true(op_out_value(&native, out, i) == op_out_value(&emulated, out, i));
    }
    op_run_close(&emulated);
    op_run_close(&native);
}

static void test_first_layer(void **state)
{
    (void)state;
    compare("conv 3x8x8 to 24, k2, of the image", false);
    compare("conv 1x6x6 to 3, k2", false);
}

static void test_inner_layer(void **state)
{
    (void)state;
    compare("conv 24x9x9 to 64, k3 pad 1", false);
    compare("conv 24x9x9 to 64, k3 pad 1", true);
    compare("linear 33 to 10, no bias", false);
}

/* The adapter itself says what is missing; the op does not fail. */
static void test_adapter_refuses(void **state)
{
    (void)state;
    static const int batch = 2;
    const struct nn_op_desc desc = {.kind = NN_OP_LINEAR,
                                    .name = "fc",
                                    .dtype = NN_BF16,
                                    .x = {32, 1, 1},
                                    .y = {16, 1, 1},
                                    .batches = &batch,
                                    .nbatches = 1,
                                    .nlanes = 1,
                                    .threads = 1};
    const struct nn_dnnl_config cfg = {.desc = &desc, .pass = NN_DNNL_FORWARD, .dtype = NN_BF16};
    struct nn_dnnl_layer *layer = NULL;
    assert_false(nn_dnnl_has_bf16());
    assert_int_equal(nn_dnnl_open(&layer, &cfg), CM_EUNSUPPORTED);
    assert_null(layer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adapter_refuses),
        cmocka_unit_test(test_first_layer),
        cmocka_unit_test(test_inner_layer),
    };
    if (setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
