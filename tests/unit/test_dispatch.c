/* Commands found and not found, and the launcher's options among a tier's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/status.h"
#include "launcher/dispatch.h"

#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})
#define W(text)    ((char[]){text})

static void test_every_verb_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < la_nverbs; i++) {
        char name[32], sub[32];
        snprintf(name, sizeof name, "%s", la_verbs[i].name);
        snprintf(sub, sizeof sub, "%s", la_verbs[i].sub ? la_verbs[i].sub : "CONFIG");
        const struct la_verb *verb = NULL;
        int used = 0;
        assert_int_equal(la_verb_find(&verb, 3, WORDS(W("flywheel"), name, sub), &used), CM_OK);
        assert_ptr_equal(verb, &la_verbs[i]);
        assert_int_equal(used, la_verbs[i].sub ? 2 : 1);
        assert_true((verb->program != NULL) != (verb->own != NULL));
        assert_true(strlen(verb->summary) > 10);
    }
}

static void expect_usage(int argc, char **argv, const char *message)
{
    const struct la_verb *verb = NULL;
    int used = 0;
    assert_int_equal(la_verb_find(&verb, argc, argv, &used), CM_EUSAGE);
    assert_null(verb);
    assert_non_null(strstr(cm_error_text(), message));
}

static void test_unknown_words_name_the_nearest(void **state)
{
    (void)state;
    expect_usage(1, WORDS(W("flywheel")), "no command");
    expect_usage(2, WORDS(W("flywheel"), W("tarin")), "did you mean 'train'");
    expect_usage(2, WORDS(W("flywheel"), W("zzzzzzzzzzz")), "--help");
    expect_usage(2, WORDS(W("flywheel"), W("")), "no command");
    expect_usage(2, WORDS(W("flywheel"), W("bench")), "which");
    expect_usage(3, WORDS(W("flywheel"), W("bench"), W("alreduce")), "did you mean 'allreduce'");
    expect_usage(3, WORDS(W("flywheel"), W("train "), W("c")), "did you mean 'train'");
}

static void test_options_are_taken_out(void **state)
{
    (void)state;
    char **args =
        WORDS(W("c.json"), W("--ranks"), W("4"), W("--set"), W("a.b=1"), W("--restarts=3"));
    struct la_launch launch;
    assert_int_equal(la_launch_take(&launch, args, 6), CM_OK);
    assert_int_equal(launch.ranks, 4);
    assert_int_equal(launch.restarts, 3);
    assert_string_equal(launch.config, "c.json");
    assert_int_equal(launch.nrest, 3);
    assert_string_equal(launch.rest[0], "c.json");
    assert_string_equal(launch.rest[1], "--set");
    assert_string_equal(launch.rest[2], "a.b=1");
    assert_false(launch.help);
}

static void test_what_is_not_the_launchers_stays(void **state)
{
    (void)state;
    char **args = WORDS(W("--run"), W("--resume=2"), W("--help"), W("--"), W("--rank"));
    struct la_launch launch;
    assert_int_equal(la_launch_take(&launch, args, 5), CM_OK);
    assert_int_equal(launch.ranks, 0);
    assert_int_equal(launch.restarts, -1);
    assert_int_equal(launch.nrest, 5);
    assert_true(launch.help);
    assert_null(launch.config);
    assert_int_equal(la_launch_take(&launch, WORDS(W("-h")), 1), CM_OK);
    assert_true(launch.help);
    assert_int_equal(la_launch_take(&launch, WORDS(W("--"), W("-h")), 2), CM_OK);
    assert_false(launch.help);
}

static void test_a_misspelt_option_is_not_the_tiers(void **state)
{
    (void)state;
    struct la_launch launch;
    assert_int_equal(la_launch_take(&launch, WORDS(W("c.json"), W("--rank"), W("2")), 3),
                     CM_EUSAGE);
    assert_non_null(strstr(cm_error_text(), "--rank (did you mean --ranks?)"));
    assert_int_equal(la_launch_take(&launch, WORDS(W("--restart=3")), 1), CM_EUSAGE);
    assert_non_null(strstr(cm_error_text(), "--restart (did you mean --restarts?)"));
}

static void test_bad_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "0", "-1", "two", "2x", "4097", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char value[32];
        snprintf(value, sizeof value, "%s", bad[i]);
        struct la_launch launch;
        assert_int_equal(la_launch_take(&launch, WORDS(W("--ranks"), value), 2), CM_EUSAGE);
    }
    struct la_launch launch;
    assert_int_equal(la_launch_take(&launch, WORDS(W("--restarts")), 1), CM_EUSAGE);
    assert_int_equal(la_launch_take(&launch, WORDS(W("--restarts=-1")), 1), CM_EUSAGE);
    assert_int_equal(la_launch_take(&launch, WORDS(W("--restarts=0")), 1), CM_OK);
}

static void test_a_missing_tier_is_named(void **state)
{
    (void)state;
    struct la_argv argv = {0};
    assert_int_equal(la_verb_argv(&argv, &la_verbs[0], "/nowhere", NULL, 0), CM_ENOTFOUND);
    assert_non_null(strstr(cm_error_text(), "/nowhere/flywheel-train"));
    la_argv_release(&argv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_verb_is_found),
        cmocka_unit_test(test_unknown_words_name_the_nearest),
        cmocka_unit_test(test_options_are_taken_out),
        cmocka_unit_test(test_what_is_not_the_launchers_stays),
        cmocka_unit_test(test_a_misspelt_option_is_not_the_tiers),
        cmocka_unit_test(test_bad_numbers),
        cmocka_unit_test(test_a_missing_tier_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
