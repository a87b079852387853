/* The engine on this host's first GPU, libraries and graphs included: the tests of
 * test_engine_device. Says why, and returns 77, where there is no GPU. */
#include "common/log.h"
#include "tests/parity/engine_steps.h"
#include "tests/parity/first_gpu.h"
#include "tests/unit/expect.h"

int main(void)
{
    cm_log_set_level(CM_LOG_WARN); /* such as why a step could not be captured */
    int code;
    struct nn_device *device = first_gpu_open(&code);
    if (!device)
        return code;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_losses_and_weights_are_the_cpus, device),
        cmocka_unit_test_prestate(test_updates_are_the_cpus, device),
        cmocka_unit_test_prestate(test_look_aheads_are_the_cpus, device),
        cmocka_unit_test_prestate(test_weights_are_scored_in_place, device),
        cmocka_unit_test_prestate(test_graphs_change_no_bit, device),
        cmocka_unit_test_prestate(test_steps_ahead_change_no_bit, device),
        cmocka_unit_test_prestate(test_what_stopped_is_named_with_a_step_behind_it, device),
        cmocka_unit_test_prestate(test_reruns_and_resumes_change_no_bit, device),
        cmocka_unit_test_prestate(test_fp16_skips_and_grows, device),
        cmocka_unit_test_prestate(test_a_bad_weight_is_named, device),
        cmocka_unit_test_prestate(test_fast_is_the_cpus, device),
        cmocka_unit_test_prestate(test_drawn_samples_are_the_callers, device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nn_device_close(&device);
    return failed;
}
