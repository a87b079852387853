/* plan_fuse.h: which nodes become one op. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "model/plan_fuse.h"

#define TEXT 1024

static const char *node_name(const struct nn_spec *spec, int node)
{
    return node == NN_INPUT ? "input" : spec->nodes[node].name;
}

/* "KIND:NODE<INPUT[+INPUT]>OUTPUT" and what a norm took in, separated by spaces. */
static void describe(char text[TEXT], const struct nn_spec *spec, const struct nn_step *steps,
                     int n)
{
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < n; i++) {
        const struct nn_step *s = &steps[i];
        at += (size_t)snprintf(
            text + at, TEXT - at, "%s%s:%s<%s%s%s>%s%s%s%s%s", i ? " " : "",
            nn_op_kind_name(s->kind), node_name(spec, s->node), node_name(spec, s->x[0]),
            s->nx == 2 ? "+" : "", s->nx == 2 ? node_name(spec, s->x[1]) : "",
            node_name(spec, s->y), s->pool >= 0 ? "|pool=" : "",
            s->pool >= 0 ? node_name(spec, s->pool) : "", s->act >= 0 ? "|act=" : "",
            s->act >= 0 ? node_name(spec, s->act) : "");
    }
}

static void check(const char *nodes, bool fuses, bool training, const char *want,
                  const char *want_logits)
{
    char json_text[2048], text[TEXT];
    struct cm_json *json;
    struct nn_spec *spec;
    struct nn_step steps[32];
    int n, logits;
    snprintf(json_text, sizeof json_text,
             "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, "
             "\"height\": 8, \"width\": 8}, \"nodes\": [%s]}",
             nodes);
    assert_int_equal(cm_json_parse(&json, json_text, strlen(json_text), "test"), CM_OK);
    if (nn_spec_parse(&spec, json, "test") != CM_OK)
        fail_msg("%s", cm_error_text());
    cm_json_close(&json);
    assert_int_equal(nn_plan_steps(steps, &n, &logits, spec, fuses, training), CM_OK);
    describe(text, spec, steps, n);
    assert_string_equal(text, want);
    assert_string_equal(node_name(spec, logits), want_logits);
    nn_spec_close(&spec);
}

#define N(name, op)      "{\"name\": \"" name "\", \"op\": \"" op "\"},"
#define IN(name, op, in) "{\"name\": \"" name "\", \"op\": \"" op "\", \"in\": \"" in "\"},"
#define TWO(name, a, b)  "{\"name\": \"" name "\", \"op\": \"add\", \"in\": [\"" a "\", \"" b "\"]},"
#define CONV(name, in)                                                                             \
    "{\"name\": \"" name "\", \"op\": \"conv\", \"out\": 3, \"kernel\": 3, \"pad\": 1, \"in\": "   \
    "\"" in "\"},"
#define POOL(name, pad)                                                                            \
    "{\"name\": \"" name "\", \"op\": \"maxpool\", \"kernel\": 2, \"pad\": " pad "},"
#define END "{\"name\": \"f\", \"op\": \"flatten\"}"

static void test_chain(void **state)
{
    (void)state;
    static const char nodes[] =
        CONV("c", "input") POOL("p", "0") N("b", "batchnorm") N("g", "gelu") END;
    check(nodes, true, true, "conv:c<input>c norm:b<c>g|pool=p|act=g flatten:f<g>f", "f");
    check(nodes, false, true, "conv:c<input>c pool:p<c>p norm:b<p>b act:g<b>g flatten:f<g>f", "f");
}

/* The place of the fused op is its last node's: the shortcut is ready there. */
static void test_residual(void **state)
{
    (void)state;
    check(CONV("c", "input") N("b", "batchnorm") CONV("s", "input") TWO("a", "b", "s")
              N("r", "relu") END,
          true, true, "conv:c<input>c conv:s<input>s norm:b<c+s>r|act=r flatten:f<r>f", "f");
    /* Two norms meet: one takes the add, the other is its residual. */
    check(CONV("c", "input") N("b", "batchnorm") CONV("s", "input") N("t", "batchnorm")
              TWO("a", "t", "b") N("r", "relu") END,
          true, true, "conv:c<input>c conv:s<input>s norm:t<s>t norm:b<c+t>r|act=r flatten:f<r>f",
          "f");
    check(CONV("c", "input") N("b", "batchnorm") N("r", "relu") TWO("a", "r", "input") END, true,
          true, "conv:c<input>c norm:b<c>r|act=r add:a<r+input>a flatten:f<a>f", "f");
}

/* A value that somebody else reads must exist. */
static void test_not_fused(void **state)
{
    (void)state;
    check(POOL("p", "1") N("b", "batchnorm") END, true, true,
          "pool:p<input>p norm:b<p>b flatten:f<b>f", "f");
    check(POOL("p", "0") N("b", "batchnorm") TWO("a", "b", "p") END, true, true,
          "pool:p<input>p norm:b<p+p>a flatten:f<a>f", "f");
    check(N("b", "batchnorm") N("r", "relu") TWO("a", "b", "r") END, true, true,
          "norm:b<input>b act:r<b>r add:a<b+r>a flatten:f<a>f", "f");
    check(N("b", "batchnorm") TWO("a", "b", "b") END, true, true,
          "norm:b<input>b add:a<b+b>a flatten:f<a>f", "f");
    /* The logits have a reader, too. */
    check(END "," IN("b", "batchnorm", "f") "{\"name\": \"z\", \"op\": \"relu\"}", true, true,
          "flatten:f<input>f norm:b<f>z|act=z", "z");
}

/* Dropout in inference, and flattening one pixel, compute nothing. */
static void test_renamed(void **state)
{
    (void)state;
    static const char nodes[] = CONV("c", "input") N("d", "dropout") N("g", "avgpool") END;
    check(nodes, false, true, "conv:c<input>c dropout:d<c>d pool:g<d>g", "g");
    check(nodes, false, false, "conv:c<input>c pool:g<c>g", "g");
    check(N("b", "batchnorm") N("d", "dropout") N("r", "relu") END, true, false,
          "norm:b<input>r|act=r flatten:f<r>f", "f");
}

static void test_no_memory(void **state)
{
    (void)state;
    struct nn_spec *spec;
    struct nn_step steps[64];
    int n, logits;
    setenv("FLYWHEEL_ZOO", FW_SOURCE_DIR "/model/zoo", 1);
    assert_int_equal(nn_spec_load(&spec, "zoo:resnet9"), CM_OK);
    for (long k = 1; k <= 2; k++) {
        cm_mem_fail_at(k);
        assert_int_equal(nn_plan_steps(steps, &n, &logits, spec, true, true), CM_ENOMEM);
        cm_mem_fail_at(0);
    }
    nn_spec_close(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),     cmocka_unit_test(test_residual),
        cmocka_unit_test(test_not_fused), cmocka_unit_test(test_renamed),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
