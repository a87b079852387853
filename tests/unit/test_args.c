#include "common/args.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/config.h"
#include "common/mem.h"
#include "tests/unit/expect.h"

struct values {
    bool json;
    int64_t ranks;
    double rate;
    const char *out;
    struct cm_opt_list set;
};

static const struct cm_opt opts[] = {
    {"json", 'j', CM_OPT_FLAG, offsetof(struct values, json), NULL, "for programs"},
    {"ranks", 'r', CM_OPT_INT, offsetof(struct values, ranks), "W", "how many ranks"},
    {"rate", 0, CM_OPT_FLOAT, offsetof(struct values, rate), "R", "a rate"},
    {"out", 'o', CM_OPT_STRING, offsetof(struct values, out), "FILE", "where to"},
    {"set", 's', CM_OPT_LIST, offsetof(struct values, set), "K=V", "an override"},
};
static const struct cm_key keys[] = {
    {"epochs", CM_KEY_INT, 0, "10", 0, 99, NULL, NULL, "how long to train"}};
static const struct cm_section section = {"train", keys, 1, sizeof(int64_t)};
static const struct cm_section *const sections[] = {&section, NULL};
static const struct cm_command cmd = {
    .name = "flywheel train",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 2,
    .summary = "Trains a model.",
    .details = "More of it.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
    .sections = sections,
};

static struct values values;
static char **operands;
static int noperands;
static bool helped;

/* line is cut at its spaces into argv. */
static cm_status parse(const char *line)
{
    static char copy[512];
    static char *argv[128];
    int argc = 0;
    char *rest = copy;
    snprintf(copy, sizeof copy, "%s", line);
    argv[argc++] = copy; /* argv[0] is skipped */
    for (char *word; (word = strsep(&rest, " "));)
        argv[argc++] = word;
    values = (struct values){.ranks = 1, .rate = 0.5};
    return cm_args_parse(&cmd, argc, argv, &values, &operands, &noperands, &helped);
}

static void test_defaults_stay(void **state)
{
    (void)state;
    expect_ok(parse("c.json"));
    assert_int_equal(noperands, 1);
    assert_string_equal(operands[0], "c.json");
    assert_false(helped || values.json || values.out);
    assert_int_equal(values.ranks, 1);
    assert_true(values.rate == 0.5);
    assert_int_equal(values.set.n, 0);
}

static void test_all_forms(void **state)
{
    (void)state;
    expect_ok(parse("--ranks 4 a --rate=-1.5e3 --json --out=x=y -s a.b=1 --set c.d=2 b"));
    assert_int_equal(values.ranks, 4);
    assert_true(values.rate == -1500 && values.json);
    assert_string_equal(values.out, "x=y");
    assert_int_equal(values.set.n, 2);
    assert_string_equal(values.set.item[0], "a.b=1");
    assert_string_equal(values.set.item[1], "c.d=2");
    assert_int_equal(noperands, 2);
    assert_string_equal(operands[0], "a");
    assert_string_equal(operands[1], "b");

    expect_ok(parse("-r8 -ofile -j -"));
    assert_int_equal(values.ranks, 8);
    assert_string_equal(values.out, "file");
    assert_true(values.json);
    assert_string_equal(operands[0], "-");

    expect_ok(parse("--rate -2 --out= -- --json"));
    assert_true(values.rate == -2 && !values.json);
    assert_string_equal(values.out, "");
    assert_string_equal(operands[0], "--json");
}

static void test_errors_teach(void **state)
{
    (void)state;
    const struct {
        const char *line, *message;
    } list[] = {
        {"c --rank 3", "flywheel train: unknown option --rank (did you mean --ranks?)"},
        {"c --jsno=1", "unknown option --jsno (did you mean --json?)"},
        {"c --hlep", "did you mean --help"},
        {"c --zzzzzz", "unknown option --zzzzzz; see flywheel train --help"},
        {"c -x", "unknown option -x"},
        {"c -jr", "unknown option -jr"},
        {"c --json=1", "--json takes no value"},
        {"c --ranks", "--ranks needs a value: --ranks=W"},
        {"c --out --json", "--out needs a value"},
        {"c --ranks=four", "--ranks: 'four' is not an integer"},
        {"c --ranks=4x", "--ranks: '4x' is not an integer"},
        {"c --ranks=", "--ranks: '' is not an integer"},
        {"c --ranks=99999999999999999999", "is not an integer"},
        {"c --rate=x", "--rate: 'x' is not a number"},
        {"c --rate=nan", "is not a number"},
        {"c --rate=1e999", "is not a number"},
        {"--json", "CONFIG is missing"},
        {"a b c", "'c' is one operand too many"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        expect_fault(CM_EUSAGE, list[i].message, parse(list[i].line));
    char line[512] = "c";
    for (size_t i = 0; i <= CM_OPT_LIST_MAX; i++)
        memcpy(line + 1 + 4 * i, " -sa", 5);
    expect_fault(CM_EUSAGE, "more than 64 times", parse(line));
}

static void test_help(void **state)
{
    (void)state;
    char dir[CM_PATH], path[CM_PATH], *text;
    size_t n;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "stdout"));
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), fd = open(path, O_WRONLY | O_CREAT, 0666);
    dup2(fd, STDOUT_FILENO);
    cm_status st = parse("--help --no-such-option");
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fd);
    expect_ok(st);
    assert_true(helped);
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    const char *parts[] = {"usage: flywheel train [options] CONFIG\n",
                           "Trains a model.",
                           "-r, --ranks W",
                           "how many ranks",
                           "-h, --help",
                           "More of it.",
                           "The config's keys:\n",
                           "train.epochs",
                           "how long to train [integer 0..99; default 10]"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_non_null(strstr(text, parts[i]));
    cm_free(&text);
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_stay),
        cmocka_unit_test(test_all_forms),
        cmocka_unit_test(test_errors_teach),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
