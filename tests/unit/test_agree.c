#include "tests/unit/store_fixture.h"

#include "parameter/agree.h"
#include "parameter/store_config.h"

static void explains_each_difference(void **state)
{
    (void)state;
    static const struct {
        const char *mine, *theirs, *says;
    } cases[] = {
        {"a 1\nb 2\n", "a 1\nb 3\n", "rank 3: b is 3, here 2"},
        {"a 1\nb 2\n", "a 1\n", "rank 3 has no b, which is 2 here"},
        {"a 1\n", "a 1\nb 2\n", "rank 3 has b (2), which is not here"},
        {"a 1\nb 2\n", "b 2\na 1\n", "rank 3 has b where a is here: same items, other order"},
        {"a 1\na 1\n", "a 1\n", "twice"},
        {"", "a 1\n", "rank 3 has a (1)"},
        {"cpu x y z\n", "cpu x y w\n", "cpu is x y w, here x y z"},
        {"a", "a ", "twice"},
    };
    assert_ok(ps_agree_check("a 1\n", "a 1\n", "rank 3"));
    assert_ok(ps_agree_check("", "", "rank 3"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_fails(ps_agree_check(cases[i].mine, cases[i].theirs, "rank 3"), CM_EMISMATCH);
        assert_says(cases[i].says);
    }
}

static void writes_shapes_as_text(void **state)
{
    (void)state;
    struct ps_tensors set = {0};
    char *text;
    size_t n;
    fixture_tensors(&set);
    assert_ok(ps_tensors_add(&set, "a b\nc", PS_U8, 0, NULL, ""));
    assert_ok(ps_agree_text(&text, &n, &set));
    assert_string_equal(text, "w F32 2x2\nsteps I64 scalar\na_b_c U8 scalar\n");
    assert_int_equal(n, strlen(text));
    cm_free(&text);
    ps_tensors_release(&set);
    assert_ok(ps_agree_text(&text, &n, &set));
    assert_string_equal(text, "");
    cm_free(&text);
}

static void compares_a_checkpoint_with_a_network(void **state)
{
    (void)state;
    struct ps_tensors have = {0}, want = {0};
    fixture_tensors(&have);
    assert_ok(ps_tensors_add(&want, "w", PS_F32, 2, fixture_shape, NULL));
    assert_ok(ps_agree_tensors(&have, &want, false, "v1"));
    assert_fails(ps_agree_tensors(&have, &want, true, "v1"), CM_EMISMATCH);
    assert_says("v1: tensor steps is not one of this network");
    assert_fails(ps_agree_tensors(&want, &have, false, "v1"), CM_EMISMATCH);
    assert_says("v1: tensor steps is missing");
    ps_tensors_release(&want);
    int64_t other[2] = {4, 1};
    assert_ok(ps_tensors_add(&want, "w", PS_F32, 2, other, NULL));
    assert_fails(ps_agree_tensors(&have, &want, false, "v1"), CM_EMISMATCH);
    assert_says("v1: tensor w is F32 2x2, not F32 4x1");
    ps_tensors_release(&have);
    ps_tensors_release(&want);
}

static void the_config_table_has_working_defaults(void **state)
{
    (void)state;
    struct cm_config *cfg = NULL;
    struct ps_config store;
    assert_ok(cm_config_open(&cfg, NULL, NULL, 0));
    assert_ok(cm_config_read(cfg, &ps_config_section, &store));
    assert_string_equal(store.dir, "checkpoints");
    struct ps_retention rule = ps_config_retention(&store);
    assert_int_equal(rule.keep_last, 3);
    assert_false(rule.best_is_low);
    cm_config_close(&cfg);
    const char *sets[] = {"store.keep_last=0"};
    assert_ok(cm_config_open(&cfg, NULL, sets, 1));
    assert_fails(cm_config_read(cfg, &ps_config_section, &store), CM_ECONFIG);
    assert_says("keep_last");
    cm_config_close(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(explains_each_difference),
        cmocka_unit_test(writes_shapes_as_text),
        cmocka_unit_test(compares_a_checkpoint_with_a_network),
        cmocka_unit_test(the_config_table_has_working_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
