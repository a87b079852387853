/* Names of devices, who would share a GPU; what is refused without one. */
#include "common/log.h"
#include "common/mem.h"
#include "tests/unit/expect.h"
#include "trainer/fingerprint.h"
#include "trainer/rank_device.h"

static void names_of_devices(void **state)
{
    static const char *const good[] = {"cpu", "ref", "auto", "cuda", "cuda:0", "cuda:1023"};
    static const char *const bad[] = {"",        "gpu",       "cuda:",      "cuda:x", "cuda:-1",
                                      "cuda:1 ", "cuda:1024", "cuda:00001", "CUDA"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        expect_ok(tr_rank_device_check(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_fault(CM_ECONFIG, bad[i], tr_rank_device_check(bad[i]));
}

static void ranks_that_share_are_found(void **state)
{
    static const char apart[4][TR_UUID] = {"a", "b", "c", "d"};
    static const char together[4][TR_UUID] = {"a", "b", "c", "b"};
    int first, second;
    (void)state;
    assert_false(tr_rank_device_shared(apart, 4, &first, &second));
    assert_false(tr_rank_device_shared(apart, 1, &first, &second));
    assert_true(tr_rank_device_shared(together, 4, &first, &second));
    assert_int_equal(first, 1);
    assert_int_equal(second, 3);
}

static void a_transport_for_gpus_wants_one(void **state)
{
    struct ar_config allreduce = {.transport = AR_TRANSPORT_CUDA_MPI};
    struct tr_model_config model = {.device = "cpu"};
    struct nn_device *device;
    (void)state;
    expect_fault(CM_ECONFIG, "cuda+mpi", tr_rank_device_open(&device, &model, &allreduce, NULL));
    assert_null(device);
    allreduce.transport = AR_TRANSPORT_NCCL;
    expect_fault(CM_ECONFIG, "\"nccl\" is for GPUs, and model.device is \"cpu\"",
                 tr_rank_device_open(&device, &model, &allreduce, NULL));
    allreduce.transport = AR_TRANSPORT_AUTO;
    expect_ok(tr_rank_device_open(&device, &model, &allreduce, NULL));
    assert_null(device);
    assert_int_equal(allreduce.transport, AR_TRANSPORT_AUTO);
}

static void engines_are_a_line_of_the_fingerprint(void **state)
{
    struct nn_engines engines = {0};
    struct nn_engine engine = {.key = "conv1 forward", .name = "12 3=1", .workspace = 64};
    char *text, *before;
    (void)state;
    expect_ok(cm_alloc(&text, 8, 1, "test"));
    snprintf(text, 8, "cpu x\n");
    expect_ok(tr_fingerprint_engines(&text, &engines));
    assert_string_equal(text, "cpu x\n");
    expect_ok(nn_engines_add(&engines, &engine));
    expect_ok(tr_fingerprint_engines(&text, &engines));
    assert_int_equal(strncmp(text, "cpu x\nengines 1 ", 16), 0);
    before = text;
    expect_ok(cm_alloc(&text, 8, 1, "test"));
    snprintf(text, 8, "cpu x\n");
    engine.workspace = 128;
    expect_ok(nn_engines_add(&engines, &engine));
    expect_ok(tr_fingerprint_engines(&text, &engines));
    assert_string_not_equal(text, before); /* workspaces count */
    cm_free(&text);
    cm_free(&before);
    nn_engines_release(&engines);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_devices),
        cmocka_unit_test(ranks_that_share_are_found),
        cmocka_unit_test(a_transport_for_gpus_wants_one),
        cmocka_unit_test(engines_are_a_line_of_the_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
