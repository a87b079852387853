/* A command of several verbs: which one runs, with what, and what is said when none does. */
#include "common/verbs.h"
#include "tests/unit/expect.h"

static char ran;

static cm_status fetch(int argc, char **argv)
{
    assert_int_equal(argc, 2);
    assert_string_equal(argv[0], "fetch");
    ran = argv[1][0];
    return CM_OK;
}

static cm_status refuse(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return CM_FAIL(CM_EBUSY, "the verb's own fault");
}

static const struct cm_verb verbs[] = {
    {"fetch", "bring it", fetch},
    {"fail", "do not", refuse},
};

static cm_status run(const char *const *words)
{
    char copy[4][16], *argv[5] = {"tool"};
    int n = 1;
    for (; words[n - 1]; n++) {
        snprintf(copy[n - 1], sizeof copy[0], "%s", words[n - 1]);
        argv[n] = copy[n - 1];
    }
    return cm_verbs_run("flywheel tool", verbs, 2, n, argv);
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void the_verb_that_is_named_runs(void **state)
{
    (void)state;
    ran = 0;
    expect_ok(RUN("fetch", "x"));
    assert_int_equal(ran, 'x');
    expect_fault(CM_EBUSY, "own fault", RUN("fail"));
}

static void none_is_a_fault_that_names_the_nearest(void **state)
{
    (void)state;
    expect_fault(CM_EUSAGE, "flywheel tool: a verb is missing", RUN(NULL));
    expect_fault(CM_EUSAGE, "no 'fecth' (did you mean 'fetch'?)", RUN("fecth"));
    expect_fault(CM_EUSAGE, "no 'other'; see --help", RUN("other"));
    expect_fault(CM_EUSAGE, "no ''", RUN(""));
}

static void help_and_version_run_nothing(void **state)
{
    (void)state;
    ran = 0;
    expect_ok(RUN("--help"));
    expect_ok(RUN("-h", "fetch"));
    expect_ok(RUN("--version"));
    assert_int_equal(ran, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verb_that_is_named_runs),
        cmocka_unit_test(none_is_a_fault_that_names_the_nearest),
        cmocka_unit_test(help_and_version_run_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
