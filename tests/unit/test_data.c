/* Section "data" to rows: the config's defaults and errors, and what tr_data_open promises. */
#include "common/config.h"
#include "tests/unit/expect.h"
#include "trainer/data.h"

static cm_status read_config(struct tr_data_config *cfg, const char *section)
{
    char text[512];
    struct cm_config *file = NULL;
    cm_status st;

    snprintf(text, sizeof text, "{\"schema\": 1, \"data\": %s}", section);
    CM_GOTO(st, cm_config_parse(&file, text, strlen(text), "test.json"), out);
    st = cm_config_read(file, &tr_data_section, cfg);
out:
    cm_config_close(&file);
    return st;
}

static void make_spec(struct nn_spec *spec, int classes, int side, int channels)
{
    *spec = (struct nn_spec){.name = "tiny",
                             .input = {.c = channels, .h = side, .w = side},
                             .preprocess = {.resize = side, .crop = side, .grey = channels == 1},
                             .nclasses = classes};
}

static void config(void **state)
{
    (void)state;
    struct tr_data_config cfg;

    expect_ok(read_config(&cfg, "{}"));
    assert_string_equal(cfg.dataset, "cifar10");
    assert_string_equal(cfg.dir, "data");
    assert_int_equal(cfg.holdout, 0);
    expect_fault(CM_ECONFIG, "holdout", read_config(&cfg, "{\"holduot\": 5}"));
    expect_fault(CM_ECONFIG, "data.holdout", read_config(&cfg, "{\"holdout\": -1}"));
}

static void open_splits_and_converts(void **state)
{
    (void)state;
    struct tr_data_config cfg;
    struct tr_data data, wide;
    struct nn_spec spec;

    expect_ok(read_config(&cfg, "{\"dataset\": \"synthetic:4:100:8x8x3\", \"holdout\": 20, "
                                "\"limit\": 50, \"test_limit\": 10}"));
    make_spec(&spec, 4, 4, 1);
    expect_ok(tr_data_open(&data, &cfg, &spec));
    assert_int_equal(data.set.channels, 1);
    assert_int_equal(data.set.h, 4);
    assert_int_equal(data.split.n_train, 50);
    assert_int_equal(data.split.n_holdout, 20);
    assert_int_equal(data.set.n_train, 100);
    assert_int_equal(data.n_test, 10);
    make_spec(&spec, 4, 8, 3); /* another network holds out the same images */
    expect_ok(tr_data_open(&wide, &cfg, &spec));
    assert_memory_equal(wide.split.holdout, data.split.holdout, 20 * sizeof(uint32_t));
    assert_string_equal(wide.set.fingerprint, data.set.fingerprint);
    for (int64_t i = 0; i < 50; i++)
        for (int64_t j = 0; j < 20; j++)
            assert_int_not_equal(data.split.train[i], data.split.holdout[j]);
    tr_data_release(&data);
    tr_data_release(&wide);
}

static void refusals(void **state)
{
    (void)state;
    struct tr_data_config cfg;
    struct tr_data data;
    struct nn_spec spec;

    make_spec(&spec, 4, 8, 3);
    expect_ok(read_config(&cfg, "{\"dataset\": \"synthetic:5:100:8x8x3\"}"));
    expect_fault(CM_EMISMATCH, "has 4 classes", tr_data_open(&data, &cfg, &spec));
    assert_null(data.set.block);
    make_spec(&spec, 5, 8, 3);
    cfg.holdout = 100;
    expect_fault(CM_ECONFIG, "data.holdout is 100", tr_data_open(&data, &cfg, &spec));
    expect_ok(read_config(&cfg, "{\"dataset\": \"cifar-10\"}"));
    expect_fault(CM_ECONFIG, "did you mean 'cifar10'", tr_data_open(&data, &cfg, &spec));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config),
        cmocka_unit_test(open_splits_and_converts),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
