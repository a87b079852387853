#include "model/plugin.h"

#include <unistd.h>

#include "common/version.h"
#include "model/device.h"
#include "tests/unit/expect.h"

/* lib/NAME of the build that this test belongs to. */
static const char *library(const char *name)
{
    static char path[CM_PATH];
    char program[CM_PATH];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    assert_true(n > 0);
    program[n] = '\0';
    *strrchr(program, '/') = '\0';
    int length = snprintf(path, sizeof path, "%s/../lib/%s", program, name);
    assert_true(length > 0 && (size_t)length < sizeof path);
    return path;
}

static void test_missing_file(void **state)
{
    (void)state;
    const struct nn_plugin *plugin;
    expect_fault(CM_EUNSUPPORTED, "libnone.so: cannot open shared object file",
                 nn_plugin_open(&plugin, library("libnone.so")));
    assert_null(plugin);
}

static void test_missing_library(void **state)
{
    (void)state;
    const struct nn_plugin *plugin;
    expect_fault(CM_EUNSUPPORTED, "libplugin_absent.so: cannot open shared object file",
                 nn_plugin_open(&plugin, library("libplugin_needy.so")));
}

static void test_other_build(void **state)
{
    (void)state;
    const struct nn_plugin *plugin;
    expect_fault(CM_EVERSION, "is of build 0.0.9 (other), this program of ",
                 nn_plugin_open(&plugin, library("libplugin_old.so")));
    expect_fault(CM_EVERSION, "compiled from other sources",
                 nn_plugin_open(&plugin, library("libplugin_dirty.so")));
    assert_null(plugin);
}

static void test_no_plugin(void **state)
{
    (void)state;
    const struct nn_plugin *plugin;
    expect_fault(CM_EVERSION, "no 'flywheel_plugin' in it", nn_plugin_open(&plugin, "libm.so.6"));
}

static void test_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "gpu",     "cuda:",      "cuda:x", "cuda:-1",
                                      "cuda:1x", "cuda: 1", "cuda:99999", "CUDA",   "auto"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct nn_device *device;
        expect_fault(CM_ECONFIG, "is not \"cuda\" or \"cuda:N\"", nn_device_open(&device, bad[i]));
        assert_null(device);
    }
}

/* Who deals a host's GPUs out: the ranks of a job, the workers of a gateway. */
static void test_taken_in_turn(void **state)
{
    static const struct {
        const char *which;
        int nth, gpus;
        const char *name;
    } cases[] = {{"cpu", 3, 8, ""},        {"ref", 0, 8, ""},          {"cuda", 3, 8, "cuda:3"},
                 {"cuda", 5, 4, "cuda:1"}, {"auto", 1, 2, "cuda:1"},   {"auto", 1, 0, "cuda:0"},
                 {"cuda", 2, 1, "cuda:0"}, {"cuda:6", 3, 8, "cuda:6"}, {"cuda:9", 0, 0, "cuda:9"}};
    char name[NN_DEVICE_NAME];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nn_device_name_nth(name, cases[i].which, cases[i].nth, cases[i].gpus);
        assert_string_equal(name, cases[i].name);
    }
    assert_true(nn_device_is_name("auto") && nn_device_is_name("cuda:1023"));
    assert_false(nn_device_is_name("cpu") || nn_device_is_name("cuda:1024"));
}

/* The plug-in itself: opens with a driver, and without one says so; without a plug-in, that. */
static void test_device(void **state)
{
    (void)state;
    struct nn_device *device;
    cm_status st = nn_device_open(&device, "cuda:1000");
    assert_int_equal(st, CM_EUNSUPPORTED);
    assert_null(device);
    const char *text = cm_error_text();
    if (access(library(NN_PLUGIN_FILE), F_OK) != 0)
        assert_non_null(strstr(text, "this build has no CUDA"));
    else if (!strstr(text, "no NVIDIA driver here"))
        assert_non_null(strstr(text, "no cuda:1000: this process sees"));
    assert_non_null(strstr(text, "device 'cuda:1000'"));
    print_message("%s\n", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_file), cmocka_unit_test(test_missing_library),
        cmocka_unit_test(test_other_build),  cmocka_unit_test(test_no_plugin),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_taken_in_turn),
        cmocka_unit_test(test_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
