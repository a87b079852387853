#include "common/config.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/mem.h"
#include "tests/unit/expect.h"

enum order { ORDER_FIXED, ORDER_FAST };
static const char *const orders[] = {"fixed", "fast", NULL};

struct train {
    int64_t batch, any;
    double rate;
    bool nesterov;
    int order;
    char name[CM_CONFIG_STRING];
    const struct cm_json *schedule;
};

static const struct cm_key train_keys[] = {
    {"batch", CM_KEY_INT, offsetof(struct train, batch), "512", 1, 65536, NULL, "images",
     "samples a step"},
    {"any", CM_KEY_INT, offsetof(struct train, any), "-1", 0, 0, NULL, NULL, "any integer"},
    {"rate", CM_KEY_FLOAT, offsetof(struct train, rate), "0.1", 0, 10, NULL, NULL, "learning rate"},
    {"nesterov", CM_KEY_BOOL, offsetof(struct train, nesterov), "true", 0, 0, NULL, NULL,
     "momentum"},
    {"order", CM_KEY_CHOICE, offsetof(struct train, order), "\"fixed\"", 0, 0, orders, NULL,
     "sums"},
    {"name", CM_KEY_STRING, offsetof(struct train, name), "\"auto\"", 0, 0, NULL, NULL, "a name"},
    {"schedule", CM_KEY_JSON, offsetof(struct train, schedule), "null", 0, 0, NULL, NULL, "a list"},
};
static const struct cm_section train = {"train", train_keys, sizeof train_keys / sizeof *train_keys,
                                        sizeof(struct train)};

struct data {
    char root[CM_CONFIG_STRING];
};
static const struct cm_key data_keys[] = {
    {"root", CM_KEY_STRING, offsetof(struct data, root), NULL, 0, 0, NULL, NULL,
     "where the files are"},
};
static const struct cm_section data = {"data", data_keys, 1, sizeof(struct data)};

static cm_status read_text(const char *text, const struct cm_section *section, void *into)
{
    struct cm_config *cfg;
    CM_TRY(cm_config_parse(&cfg, text, strlen(text), "x.json"));
    cm_status st = cm_config_read(cfg, section, into);
    cm_config_close(&cfg);
    return st;
}

static void test_defaults(void **state)
{
    (void)state;
    struct train t;
    memset(&t, 0xff, sizeof t);
    expect_ok(read_text("{\"schema\": 1}", &train, &t));
    assert_int_equal(t.batch, 512);
    assert_int_equal(t.any, -1);
    assert_true(t.rate == 0.1);
    assert_true(t.nesterov);
    assert_int_equal(t.order, ORDER_FIXED);
    assert_string_equal(t.name, "auto");
    assert_null(t.schedule);
}

static void test_values(void **state)
{
    (void)state;
    static const char text[] =
        "{\"schema\": 1, \"train\": {\"batch\": 65536, \"any\": 9007199254740991, "
        "\"rate\": 10, \"nesterov\": false, \"order\": \"fast\", \"name\": \"é\", "
        "\"schedule\": [1, 2]}}";
    struct train t;
    struct cm_config *cfg;
    expect_ok(cm_config_parse(&cfg, text, sizeof text - 1, "manifest"));
    expect_ok(cm_config_read(cfg, &train, &t));
    assert_int_equal(t.batch, 65536);
    assert_int_equal(t.any, INT64_C(9007199254740991));
    assert_true(t.rate == 10);
    assert_false(t.nesterov);
    assert_int_equal(t.order, ORDER_FAST);
    assert_string_equal(t.name, "é");
    assert_int_equal(cm_json_count(t.schedule), 2);
    assert_string_equal(cm_config_name(cfg), "manifest");
    assert_int_equal(cm_json_count(cm_config_raw(cfg, "train")), 7);
    assert_null(cm_config_raw(cfg, "serve"));
    cm_config_close(&cfg);
    cm_config_close(&cfg);
}

static void test_bad_values_teach(void **state)
{
    (void)state;
    const struct {
        const char *section, *message;
    } list[] = {
        {"{\"batch\": 0}", "x.json: train.batch: 0 is not in 1..65536 (images)"},
        {"{\"batch\": 65537}", "65537 is not in 1..65536"},
        {"{\"batch\": 1.5}", "x.json: train.batch: 1.5 is not an integer"},
        {"{\"batch\": \"8\"}", "expected an integer, found a string (samples a step)"},
        {"{\"batch\": null}", "expected an integer, found null"},
        {"{\"any\": 1e300}", "x.json: train.any: 1e+300 is not an integer"},
        {"{\"rate\": -0.1}", "x.json: train.rate: -0.1 is not in 0..10"},
        {"{\"rate\": true}", "expected a number, found true or false"},
        {"{\"nesterov\": 1}", "expected true or false, found a number"},
        {"{\"order\": \"fxed\"}", "'fxed' is none of fixed or fast (did you mean 'fixed'?)"},
        {"{\"order\": \"\"}", "is none of fixed or fast"},
        {"{\"order\": 1}", "expected fixed or fast, found a number"},
        {"{\"name\": []}", "expected a string, found an array"},
        {"{\"schedule\": \"x\"}", "expected an object or an array, found a string"},
        {"{\"bacth\": 1}", "x.json: train: unknown key 'bacth' (did you mean 'batch'?)"},
        {"{\"Batch\": 1}", "did you mean 'batch'"},
        {"{\"completely_else\": 1}", "unknown key 'completely_else'"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char text[256];
        struct train t;
        snprintf(text, sizeof text, "{\"schema\": 1, \"train\": %s}", list[i].section);
        expect_fault(CM_ECONFIG, list[i].message, read_text(text, &train, &t));
    }
    char text[600], longest[300];
    memset(longest, 'x', sizeof longest);
    struct train t;
    snprintf(text, sizeof text, "{\"schema\": 1, \"train\": {\"name\": \"%.255s\"}}", longest);
    expect_ok(read_text(text, &train, &t));
    snprintf(text, sizeof text, "{\"schema\": 1, \"train\": {\"name\": \"%.256s\"}}", longest);
    expect_fault(CM_ECONFIG, "256 bytes, 255 at most", read_text(text, &train, &t));
}

static void test_required_keys(void **state)
{
    (void)state;
    struct data d;
    expect_fault(CM_ECONFIG, "x.json: data.root is missing (where the files are)",
                 read_text("{\"schema\": 1}", &data, &d));
    expect_fault(CM_ECONFIG, "data.root is missing",
                 read_text("{\"schema\": 1, \"data\": {}}", &data, &d));
    expect_ok(read_text("{\"schema\": 1, \"data\": {\"root\": \"here\"}}", &data, &d));
    assert_string_equal(d.root, "here");
}

static void test_bad_files(void **state)
{
    (void)state;
    const struct {
        const char *text, *message;
    } list[] = {
        {"[]", "x.json: must be an object, not an array"},
        {"{}", "\"schema\": 1 is missing"},
        {"{\"schema\": 2}", "schema must be 1"},
        {"{\"schema\": \"1\"}", "schema must be 1"},
        {"{\"schema\": 1, \"trian\": {}}", "unknown section 'trian' (did you mean 'train'?)"},
        {"{\"schema\": 1, \"zzzzzzzzz\": {}}", "there are model, data, train"},
        {"{\"schema\": 1, \"train\": 3}", "train must be an object, not a number"},
        {"{\"schema\": 1,}", "x.json:1:14: "},
        {"{\"schema\": 1, \"schema\": 1}", "'schema' appears twice"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct cm_config *cfg;
        expect_fault(CM_ECONFIG, list[i].message,
                     cm_config_parse(&cfg, list[i].text, strlen(list[i].text), "x.json"));
        assert_null(cfg);
    }
}

static void test_files_and_sets(void **state)
{
    (void)state;
    static const char text[] = "{\"schema\": 1, \"train\": {\"batch\": 8, \"rate\": 0.5}}";
    char dir[CM_PATH], path[CM_PATH];
    struct cm_config *cfg;
    struct train t;
    struct data d;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "c.json"));
    expect_ok(cm_file_replace(path, text, sizeof text - 1));
    const char *sets[] = {"train.batch=16", "train.order=fast",          "train.name=a=b.c",
                          "train.batch=32", "train.schedule={\"a\": 1}", "data.root=somewhere"};
    expect_ok(cm_config_open(&cfg, path, sets, 6));
    assert_string_equal(cm_config_name(cfg), path);
    expect_ok(cm_config_read(cfg, &train, &t));
    expect_ok(cm_config_read(cfg, &data, &d));
    assert_int_equal(t.batch, 32); /* the last one wins */
    assert_true(t.rate == 0.5);
    assert_int_equal(t.order, ORDER_FAST);
    assert_string_equal(t.name, "a=b.c");
    assert_int_equal(cm_json_type(t.schedule), CM_JSON_OBJECT);
    assert_string_equal(d.root, "somewhere");
    cm_config_close(&cfg);
    expect_dir_remove(dir);

    expect_ok(cm_config_open(&cfg, NULL, sets, 1));
    expect_ok(cm_config_read(cfg, &train, &t));
    assert_int_equal(t.batch, 16);
    cm_config_close(&cfg);
    expect_fault(CM_ECONFIG, path, cm_config_open(&cfg, path, NULL, 0));
    assert_null(cfg);
}

static void test_run_dir(void **state)
{
    (void)state;
    static const char named[] = "{\"schema\": 1, \"run\": \"out/here\"}";
    static const char unnamed[] = "{\"schema\": 1}", wrong[] = "{\"schema\": 1, \"run\": 3}";
    char dir[CM_PATH];
    struct cm_config *cfg;
    expect_ok(cm_config_parse(&cfg, named, sizeof named - 1, "a/b.json"));
    expect_ok(cm_config_run_dir(cfg, NULL, dir));
    assert_string_equal(dir, "out/here");
    expect_ok(cm_config_run_dir(cfg, "chosen", dir));
    assert_string_equal(dir, "chosen");
    cm_config_close(&cfg);
    expect_ok(cm_config_parse(&cfg, unnamed, sizeof unnamed - 1, "a/b.c.json"));
    expect_ok(cm_config_run_dir(cfg, NULL, dir));
    assert_string_equal(dir, "runs/b.c");
    cm_config_close(&cfg);
    expect_fault(CM_ECONFIG, "run must be a string",
                 cm_config_parse(&cfg, wrong, sizeof wrong - 1, "x"));
}

static void test_bad_sets(void **state)
{
    (void)state;
    const struct {
        const char *set, *message;
    } list[] = {{"", "section.key=value"},
                {"train", "section.key=value"},
                {"train.batch", "section.key=value"},
                {"batch=3", "section.key=value"},
                {".batch=3", "section.key=value"},
                {"train.=3", "section.key=value"},
                {"x=train.batch", "section.key=value"},
                {"schema.x=3", "is no section"},
                {"trian.batch=3", "did you mean 'train'"}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct cm_config *cfg;
        expect_fault(CM_ECONFIG, list[i].message, cm_config_open(&cfg, NULL, &list[i].set, 1));
    }
}

/* What is written resolved reads back as the same values, and prints as the same text again. */
static void test_resolved_round_trip(void **state)
{
    (void)state;
    static const char text[] =
        "{\"schema\": 1, \"train\": {\"rate\": 0.30000000000000004, \"name\": "
        "\"q\\\"\", \"schedule\": {\"x\": [1, null]}}}";
    char *first, *second;
    size_t nfirst, nsecond;
    struct cm_config *cfg;
    struct train t;
    struct cm_jw w = {0};
    expect_ok(cm_config_parse(&cfg, text, sizeof text - 1, "first"));
    expect_ok(cm_config_read(cfg, &train, &t));
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, "schema", 1);
    cm_config_write(&w, &train, &t);
    cm_jw_end(&w);
    expect_ok(cm_jw_take(&w, &first, &nfirst));
    cm_config_close(&cfg);
    assert_non_null(strstr(first, "\"batch\":512"));
    assert_non_null(strstr(first, "\"order\":\"fixed\""));

    expect_ok(cm_config_parse(&cfg, first, nfirst, "second"));
    expect_ok(cm_config_read(cfg, &train, &t));
    assert_true(t.rate == 0.1 + 0.2);
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, "schema", 1);
    cm_config_write(&w, &train, &t);
    cm_jw_end(&w);
    expect_ok(cm_jw_take(&w, &second, &nsecond));
    assert_string_equal(first, second);
    cm_config_close(&cfg);
    cm_free(&first);
    cm_free(&second);
}

static void test_print_and_help(void **state)
{
    (void)state;
    char dir[CM_PATH], path[CM_PATH], *text;
    size_t n;
    struct cm_config *cfg;
    const struct cm_section *both[] = {&train, &data};
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "stdout"));
    expect_ok(cm_config_open(&cfg, NULL, NULL, 0));
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), fd = open(path, O_WRONLY | O_CREAT, 0666);
    dup2(fd, STDOUT_FILENO);
    cm_status good = cm_config_print(cfg, both, 1), bad = cm_config_print(cfg, both, 2);
    cm_config_help(&train);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fd);
    expect_ok(good);
    assert_int_equal(bad, CM_ECONFIG); /* data.root is required, and nothing was printed for it */
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    assert_non_null(strstr(text, "{\n  \"schema\": 1,\n  \"train\": {\n    \"batch\": 512,"));
    assert_non_null(strstr(text, "1..65536 (images)"));
    assert_non_null(strstr(text, "fixed or fast"));
    cm_free(&text);
    cm_config_close(&cfg);
    expect_dir_remove(dir);
}

static void test_nearest(void **state)
{
    (void)state;
    const char *words[] = {"batch", "epochs", "learning_rate", "lr"};
    assert_string_equal(cm_nearest("bacth", words, 4), "batch");
    assert_string_equal(cm_nearest("epoch", words, 4), "epochs");
    assert_string_equal(cm_nearest("learningrate", words, 4), "learning_rate");
    assert_string_equal(cm_nearest("batch", words, 4), "batch");
    assert_null(cm_nearest("momentum", words, 4));
    assert_null(cm_nearest("", words, 4));
    assert_null(cm_nearest("x", words, 0));
    char longest[200];
    memset(longest, 'b', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(cm_nearest(longest, words, 4));
}

static void test_every_failing_allocation_is_told(void **state)
{
    (void)state;
    static const char text[] = "{\"schema\": 1, \"train\": {\"batch\": 8, \"name\": \"x\"}}";
    char dir[CM_PATH], path[CM_PATH];
    const char *sets[] = {"train.batch=16", "data.root=word"};
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "c.json"));
    expect_ok(cm_file_replace(path, text, sizeof text - 1));
    long made = 1;
    for (long k = 0; k <= made; k++) {
        struct cm_config *cfg;
        struct train t;
        cm_mem_fail_at(k);
        cm_status st = cm_config_open(&cfg, path, sets, 2);
        if (st == CM_OK)
            st = cm_config_read(cfg, &train, &t);
        cm_config_close(&cfg);
        long count = cm_mem_fail_at(0);
        made = k == 0 ? count : made;
        assert_int_equal(st, k == 0 ? CM_OK : CM_ENOMEM);
    }
    assert_true(made > 50);
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_bad_values_teach),
        cmocka_unit_test(test_required_keys),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_files_and_sets),
        cmocka_unit_test(test_run_dir),
        cmocka_unit_test(test_bad_sets),
        cmocka_unit_test(test_resolved_round_trip),
        cmocka_unit_test(test_print_and_help),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_every_failing_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
