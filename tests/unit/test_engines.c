#include "model/engines.h"

#include "common/mem.h"
#include "tests/unit/expect.h"

static const struct nn_engine first = {"conv1 forward", "12 3=1", 65536};
static const struct nn_engine second = {"fc filter", "abcdef", 0};

static void test_there_and_back(void **state)
{
    (void)state;
    struct nn_engines e = {0}, again = {0};
    char *text;
    expect_ok(nn_engines_add(&e, &first));
    expect_ok(nn_engines_add(&e, &second));
    expect_ok(nn_engines_write(&text, &e));
    assert_string_equal(text, "conv1 forward\t12 3=1\t65536\nfc filter\tabcdef\t0\n");
    expect_ok(nn_engines_read(&again, text));
    assert_int_equal(again.n, 2);
    assert_memory_equal(again.engine, e.engine, 2 * sizeof *e.engine);
    assert_string_equal(nn_engines_find(&again, "fc filter")->name, "abcdef");
    assert_null(nn_engines_find(&again, "fc"));
    cm_free(&text);
    nn_engines_release(&again);
    nn_engines_release(&e);
    nn_engines_release(&e);
}

static void test_same_key_is_replaced(void **state)
{
    (void)state;
    struct nn_engines e = {0};
    struct nn_engine other = first;
    other.workspace = 1;
    for (int i = 0; i < 40; i++) {
        struct nn_engine many = second;
        snprintf(many.key, sizeof many.key, "op%d", i);
        expect_ok(nn_engines_add(&e, &many));
    }
    expect_ok(nn_engines_add(&e, &first));
    expect_ok(nn_engines_add(&e, &other));
    assert_int_equal(e.n, 41);
    assert_int_equal(nn_engines_find(&e, first.key)->workspace, 1);
    nn_engines_release(&e);
}

static void test_bad_text(void **state)
{
    (void)state;
    static const char *const bad[] = {"key",
                                      "key\n",
                                      "key\tname\n",
                                      "key\tname\t\n",
                                      "key\tname\tx\n",
                                      "key\tname\t1",
                                      "\tname\t1\n",
                                      "key\t\t1\n",
                                      "\n",
                                      "key\tname\t1\tmore\n",
                                      "k\tn\t-1\n",
                                      "k\tn\t1 \n",
                                      "k\tn\t99999999999999999999\n"};
    char large[2 * NN_ENGINE_KEY];
    struct nn_engines e = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_fault(CM_EFORMAT, "line 1", nn_engines_read(&e, bad[i]));
    memset(large, 'k', NN_ENGINE_KEY);
    snprintf(large + NN_ENGINE_KEY, NN_ENGINE_KEY, "\tn\t1\n");
    expect_fault(CM_EFORMAT, "line 1", nn_engines_read(&e, large));
    expect_fault(CM_EFORMAT, "line 2", nn_engines_read(&e, "key\tname\t1\nbad\n"));
    nn_engines_release(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_back),
                                       cmocka_unit_test(test_same_key_is_replaced),
                                       cmocka_unit_test(test_bad_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
