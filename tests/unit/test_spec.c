/* spec.h: every fault is told with the node and the sizes; what is written can be read; the zoo. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/file.h"
#include "common/mem.h"
#include "model/layout.h"
#include "model/spec.h"

static cm_status parse(struct nn_spec **spec, const char *text)
{
    struct cm_json *json;
    assert_int_equal(cm_json_parse(&json, text, strlen(text), "test"), CM_OK);
    cm_status st = nn_spec_parse(spec, json, "net.json");
    cm_json_close(&json);
    return st;
}

#define HEAD       "{\"format\": \"1.0\", \"name\": \"t\", "
#define INPUT      "\"input\": {\"channels\": 3, \"height\": 8, \"width\": 6}, "
#define NET(nodes) HEAD INPUT "\"nodes\": [" nodes "]}"
#define CONV       "{\"name\": \"c\", \"op\": \"conv\", \"out\": 4, \"kernel\": 3}"
#define FLAT       "{\"name\": \"f\", \"op\": \"flatten\"}"
#define FC         "{\"name\": \"fc\", \"op\": \"linear\", \"out\": 5}"

/* A network that is refused, with the status and every piece of the message that helps. */
struct fault {
    const char *text;
    cm_status st;
    const char *says[3];
};

static const struct fault faults[] = {
    {"[1]", CM_EFORMAT, {"net.json", "an object"}},
    {"{}", CM_EFORMAT, {"net.json", "'format'"}},
    {"{\"format\": \"x\"}", CM_EFORMAT, {"'x'", "MAJOR.MINOR"}},
    {"{\"format\": \"2.0\"}", CM_EVERSION, {"2.0", "1.x"}},
    {HEAD "\"nodez\": []}", CM_EFORMAT, {"unknown key 'nodez'", "'nodes'"}},
    {HEAD "\"nodes\": []}", CM_EFORMAT, {"'input'"}},
    {HEAD INPUT "\"nodes\": []}", CM_EFORMAT, {"'nodes' has 0"}},
    {HEAD INPUT "\"nodes\": 3}", CM_EFORMAT, {"nodes"}},
    {HEAD "\"input\": {\"channels\": 2, \"height\": 8, \"width\": 6}, \"nodes\": [" FLAT "]}",
     CM_EFORMAT,
     {"1 or 3 channels"}},
    {HEAD "\"input\": {\"channels\": 3, \"height\": 0, \"width\": 6}, \"nodes\": [" FLAT "]}",
     CM_EFORMAT,
     {"height"}},
    {HEAD "\"input\": {\"channels\": 3, \"height\": 8, \"width\": 6, \"hight\": 1}}",
     CM_EFORMAT,
     {"'hight'", "'height'"}},
    {NET("{\"name\": \"c\", \"op\": \"convv\"}"), CM_EFORMAT, {"c: unknown op 'convv'", "'conv'"}},
    {NET("{\"op\": \"relu\"}"), CM_EFORMAT, {"node 0", "'name'"}},
    {NET("{\"name\": \"c\"}"), CM_EFORMAT, {"net.json: c", "'op'"}},
    {NET("{\"name\": \"\", \"op\": \"relu\"}"), CM_EFORMAT, {"1 to 63 characters"}},
    {NET("{\"name\": \"a b\", \"op\": \"relu\"}"), CM_EFORMAT, {"'a b'", "letters"}},
    {NET("{\"name\": \"input\", \"op\": \"relu\"}"), CM_EFORMAT, {"'input' is taken"}},
    {NET(FLAT ", " FLAT), CM_EFORMAT, {"node 1", "'f' is taken"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"kernel\": 3}"),
     CM_EFORMAT,
     {"c: 'out' is missing"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"out\": 3}"), CM_EFORMAT, {"c: 'kernel'"}},
    {NET("{\"name\": \"p\", \"op\": \"maxpool\"}"), CM_EFORMAT, {"p: 'kernel'"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"out\": 3, \"kernal\": 3}"),
     CM_EFORMAT,
     {"c: unknown key 'kernal'", "'kernel'"}},
    {NET("{\"name\": \"r\", \"op\": \"relu\", \"out\": 3}"), CM_EFORMAT, {"r: unknown key 'out'"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"out\": 70000, \"kernel\": 3}"),
     CM_EFORMAT,
     {"net.json: c", "out"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"out\": 3, \"kernel\": 1.5}"),
     CM_EFORMAT,
     {"net.json: c", "kernel"}},
    {NET("{\"name\": \"d\", \"op\": \"dropout\", \"p\": 1}"), CM_EFORMAT, {"d: 'p' is 1,"}},
    {NET("{\"name\": \"b\", \"op\": \"batchnorm\", \"eps\": 0}"), CM_EFORMAT, {"b: 'eps' is 0"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"out\": 3, \"kernel\": 3, \"init\": \"dirak\"}"),
     CM_EFORMAT,
     {"c: 'init': unknown init 'dirak'", "'dirac'"}},
    {NET(FLAT ", {\"name\": \"fc\", \"op\": \"linear\", \"out\": 5, \"init\": \"dirac\"}"),
     CM_EFORMAT,
     {"fc: init 'dirac' is for conv only"}},
    {NET("{\"name\": \"a\", \"op\": \"add\"}"), CM_EFORMAT, {"a: add takes 2 inputs", "names 0"}},
    {NET("{\"name\": \"r\", \"op\": \"relu\", \"in\": [\"input\", \"input\"]}"),
     CM_EFORMAT,
     {"r: relu takes 1 inputs", "names 2"}},
    {NET("{\"name\": \"r\", \"op\": \"relu\", \"in\": \"nowhere\"}"),
     CM_EFORMAT,
     {"r: input 'nowhere' is no earlier node"}},
    {NET("{\"name\": \"r\", \"op\": \"relu\", \"in\": \"f\"}, " FLAT),
     CM_EFORMAT,
     {"r: input 'f' is no earlier node"}},
    {NET("{\"name\": \"r\", \"op\": \"relu\", \"in\": 3}"), CM_EFORMAT, {"net.json: r"}},
    {NET(CONV ", {\"name\": \"a\", \"op\": \"add\", \"in\": [\"c\", \"input\"]}"),
     CM_ESHAPE,
     {"a: 'c' gives 4x6x4, 'input' gives 3x8x6"}},
    {NET(CONV ", " FC), CM_ESHAPE, {"fc: 'c' gives 4x6x4", "flatten"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"out\": 3, \"kernel\": 9, \"pad\": 1}"),
     CM_ESHAPE,
     {"c: kernel 9 is larger than its padded input of 8"}},
    {NET("{\"name\": \"p\", \"op\": \"maxpool\", \"kernel\": 3, \"pad\": 2}"),
     CM_ESHAPE,
     {"p: pad 2 is more than half the kernel 3"}},
    {NET("{\"name\": \"p\", \"op\": \"avgpool\", \"pad\": 1}"), CM_EFORMAT, {"p: a global"}},
    {NET(CONV ", " FLAT ", {\"name\": \"fc1\", \"op\": \"linear\", \"out\": 5, "
              "\"in_features\": 256}"),
     CM_ESHAPE,
     {"fc1: f gives 96 features, 'in_features' says 256"}},
    {NET("{\"name\": \"c\", \"op\": \"conv\", \"out\": 3, \"kernel\": 3, \"in_channels\": 1}"),
     CM_ESHAPE,
     {"c: input gives 3 channels, 'in_channels' says 1"}},
    {NET(CONV ", {\"name\": \"r\", \"op\": \"relu\", \"in\": \"input\"}, " FLAT),
     CM_EFORMAT,
     {"c: nothing uses its output"}},
    {NET(CONV), CM_ESHAPE, {"c: the last node gives 4x6x4", "flat"}},
    {NET("{\"name\": \"w\", \"op\": \"conv\", \"out\": 20, \"kernel\": 2, \"init\": \"whiten\"}"),
     CM_ESHAPE,
     {"w: init 'whiten' makes 24 filters", "'out' says 20"}},
    {NET(CONV ", {\"name\": \"w\", \"op\": \"conv\", \"out\": 32, \"kernel\": 2, "
              "\"init\": \"whiten\"}"),
     CM_EFORMAT,
     {"w: init 'whiten' needs the image"}},
    {HEAD INPUT "\"classes\": [\"a\", \"b\"], \"nodes\": [" FLAT ", " FC "]}",
     CM_ESHAPE,
     {"2 class names for the 5 logits of fc"}},
    {HEAD INPUT "\"classes\": [1, 2, 3, 4, 5], \"nodes\": [" FLAT ", " FC "]}",
     CM_EFORMAT,
     {"classes"}},
    {HEAD INPUT "\"preprocess\": {\"grey\": true}, \"nodes\": [" FLAT "]}",
     CM_ESHAPE,
     {"'grey' is true, but the input has 3 channels"}},
    {HEAD INPUT "\"preprocess\": {\"crop\": 8}, \"nodes\": [" FLAT "]}",
     CM_ESHAPE,
     {"crop 8", "8x6"}},
    {HEAD INPUT "\"preprocess\": {\"std\": [1, 1]}, \"nodes\": [" FLAT "]}",
     CM_EFORMAT,
     {"'std' has 2 numbers for 3 channels"}},
    {HEAD INPUT "\"preprocess\": {\"std\": [1, 0, 1]}, \"nodes\": [" FLAT "]}",
     CM_EFORMAT,
     {"'std' is 0 for channel 1"}},
    {HEAD INPUT "\"preprocess\": {\"gray\": true}, \"nodes\": [" FLAT "]}",
     CM_EFORMAT,
     {"'gray'", "'grey'"}},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct nn_spec *spec = (struct nn_spec *)1;
        cm_status st = parse(&spec, faults[i].text);
        if (st != faults[i].st)
            print_error("%s\ngives %s: %s\n", faults[i].text, cm_status_name(st), cm_error_text());
        assert_int_equal(st, faults[i].st);
        assert_null(spec);
        for (int k = 0; k < 3 && faults[i].says[k]; k++)
            if (!strstr(cm_error_text(), faults[i].says[k]))
                fail_msg("\"%s\" does not say \"%s\"", cm_error_text(), faults[i].says[k]);
    }
}

static void test_defaults(void **state)
{
    (void)state;
    struct nn_spec *spec;
    assert_int_equal(parse(&spec, NET(CONV ", {\"name\": \"b\", \"op\": \"batchnorm\"}, "
                                           "{\"name\": \"p\", \"op\": \"maxpool\", \"kernel\": 2},"
                                           "{\"name\": \"g\", \"op\": \"avgpool\"}, " FC)),
                     CM_OK);
    const struct nn_node *n = spec->nodes;
    assert_int_equal(n[0].input[0], NN_INPUT);
    assert_true(n[0].bias && n[0].stride == 1 && n[0].pad == 0);
    assert_true(n[1].eps == 1e-5 && n[1].momentum == 0.1);
    assert_int_equal(n[2].stride, 2);
    assert_int_equal(n[2].shape.h, 3);
    assert_int_equal(n[2].shape.w, 2);
    assert_int_equal(n[3].shape.h, 1);
    assert_int_equal(n[4].shape.c, 5);
    assert_int_equal(spec->nclasses, 5);
    assert_string_equal(spec->classes[4], "4");
    assert_true(spec->preprocess.std[2] == 1.0f && spec->preprocess.mean[2] == 0.0f);
    nn_spec_close(&spec);
    nn_spec_close(&spec);
}

/* A later minor version may add keys; a name that this one does not know is no typing error. */
static void test_later_minor_version(void **state)
{
    (void)state;
    struct nn_spec *spec;
    assert_int_equal(parse(&spec, "{\"format\": \"1.7\", \"name\": \"t\", \"novel\": 1, " INPUT
                                  "\"nodes\": [{\"name\": \"f\", \"op\": \"flatten\", "
                                  "\"novel\": 2}]}"),
                     CM_OK);
    nn_spec_close(&spec);
}

static void test_set_classes(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct nn_spec *spec;
    assert_int_equal(parse(&spec, NET(FLAT ", " FC)), CM_OK);
    assert_int_equal(nn_spec_set_classes(spec, names, 4), CM_ESHAPE);
    assert_string_equal(spec->classes[0], "0");
    assert_int_equal(nn_spec_set_classes(spec, names, 5), CM_OK);
    assert_string_equal(spec->classes[3], "d");
    nn_spec_close(&spec);
}

static char *written(const struct nn_spec *spec)
{
    struct cm_jw w = {.indent = 1};
    char *text;
    size_t n;
    assert_int_equal(nn_spec_write(spec, &w), CM_OK);
    assert_int_equal(cm_jw_take(&w, &text, &n), CM_OK);
    return text;
}

static void assert_same(const struct nn_spec *a, const struct nn_spec *b)
{
    assert_string_equal(a->name, b->name);
    assert_memory_equal(&a->input, &b->input, sizeof a->input);
    assert_memory_equal(a->preprocess.mean, b->preprocess.mean, sizeof a->preprocess.mean);
    assert_memory_equal(a->preprocess.std, b->preprocess.std, sizeof a->preprocess.std);
    assert_int_equal(a->preprocess.resize, b->preprocess.resize);
    assert_int_equal(a->preprocess.crop, b->preprocess.crop);
    assert_int_equal(a->preprocess.grey, b->preprocess.grey);
    assert_int_equal(a->nclasses, b->nclasses);
    assert_int_equal(a->nnodes, b->nnodes);
    /* Specs come from zeroed memory, so padding compares equal. */
    assert_memory_equal(a->nodes, b->nodes, (size_t)a->nnodes * sizeof *a->nodes);
}

struct zoo {
    const char *name;
    int64_t parameters, trained;
};

/* lenet       conv 3·6·25+6 and 6·16·25+16, linear 400·120+120, 120·84+84, 84·10+10
 * simplenet   3·64·9+64, 64·128·9+128, 8192·10+10
 * convnet-gray 1·32·9+32, 32·64·9+64, 2304·128+128, 128·10+10
 * speednet    trained: whiten bias 24, convs 13824+36864+147456+3·589824, norm biases 2·64+4·256,
 *             head 2560; frozen besides: whitening 288, norm weights 1152
 * resnet9     convs 9·(3·64 + 64·128 + 2·128² + 128·256 + 256·512 + 2·512²) = 6563520, head 5120
 *             (6568640 together), norms 2·(64 + 3·128 + 256 + 3·512) = 4480
 * resnet18    torchvision's ResNet-18 has 11689512; with a 3x3 stem (1728 for 9408) and 10 classes
 *             (5130 for 513000) that is 11173962 */
static const struct zoo zoo[] = {
    {"lenet", 62006, 62006},
    {"simplenet", 157578, 157578},
    {"convnet-gray", 315146, 315146},
    {"speednet", 1971352 + 288 + 1152, 1971352},
    {"resnet9", 6573120, 6573120},
    {"resnet18", 11173962, 11173962},
    {"resnet18-224", 11689512, 11689512},
};

static void test_zoo(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof zoo / sizeof *zoo; i++) {
        char name[64];
        struct nn_spec *spec, *again;
        struct nn_layout *layout;
        snprintf(name, sizeof name, "zoo:%s", zoo[i].name);
        if (nn_spec_load(&spec, name) != CM_OK)
            fail_msg("%s: %s", name, cm_error_text());
        assert_string_equal(spec->name, zoo[i].name);
        assert_int_equal(spec->nclasses, i == 6 ? 1000 : 10);
        assert_int_equal(nn_layout_open(&layout, spec), CM_OK);
        assert_int_equal(layout->parameters, zoo[i].parameters);
        assert_int_equal(layout->trained_parameters, zoo[i].trained);

        char *text = written(spec);
        assert_int_equal(parse(&again, text), CM_OK);
        assert_same(spec, again);
        char *twice = written(again);
        assert_string_equal(text, twice);
        cm_free(&twice);
        cm_free(&text);
        nn_spec_close(&again);
        nn_layout_close(&layout);
        nn_spec_close(&spec);
    }
}

static void test_load_faults(void **state)
{
    (void)state;
    struct nn_spec *spec;
    assert_int_equal(nn_spec_load(&spec, "zoo:transformer"), CM_ENOTFOUND);
    assert_non_null(strstr(cm_error_text(), "transformer.json"));
    assert_null(strstr(cm_error_text(), "did you mean"));
    assert_int_equal(nn_spec_load(&spec, "zoo:lenett"), CM_ENOTFOUND);
    assert_non_null(strstr(cm_error_text(), "did you mean 'zoo:lenet'?"));
    assert_int_equal(nn_spec_load(&spec, "zoo:../lenet"), CM_ENOTFOUND);
    assert_int_equal(nn_spec_load(&spec, "no/such/file.json"), CM_ENOTFOUND);
    assert_null(spec);
}

/* A failed allocation at any call leaks nothing (the address sanitizer looks) and is told. */
static void test_no_memory(void **state)
{
    (void)state;
    static const char text[] = NET(CONV ", " FLAT ", " FC);
    struct cm_json *json;
    struct nn_spec *spec;
    assert_int_equal(cm_json_parse(&json, text, strlen(text), "test"), CM_OK);
    long k = 1;
    for (;; k++) {
        cm_mem_fail_at(k);
        cm_status st = nn_spec_parse(&spec, json, "net.json");
        cm_mem_fail_at(0);
        if (st == CM_OK)
            break;
        assert_int_equal(st, CM_ENOMEM);
        assert_null(spec);
    }
    assert_true(k > 3);
    nn_spec_close(&spec);
    cm_json_close(&json);
}

int main(void)
{
    setenv("FLYWHEEL_ZOO", FW_SOURCE_DIR "/model/zoo", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_later_minor_version),
        cmocka_unit_test(test_set_classes),
        cmocka_unit_test(test_zoo),
        cmocka_unit_test(test_load_faults),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
