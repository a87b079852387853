/* The commit record: there and back, every byte damaged in turn, newer formats. */
#include <math.h>

#include "tests/unit/store_fixture.h"

#include "common/hash.h"
#include "common/json.h"
#include "parameter/manifest.h"
#include "parameter/seal.h"

static void fill(struct ps_manifest *m)
{
    *m = (struct ps_manifest){
        .version = 7,
        .generation = 3,
        .created_utc_s = 1763787600.25,
        .parent = 6,
        .step = (int64_t)1 << 52,
        .epoch = 4,
        .sample = 12000,
    };
    snprintf(m->producer, sizeof m->producer, "train");
    snprintf(m->run, sizeof m->run, "00000000-0000-4000-8000-000000000001");
    assert_ok(cm_strdup(&m->config, "{\"schema\":1,\"train\":{\"lr\":0.1}}"));
    assert_ok(cm_strdup(&m->fingerprint, "compiler gcc-12\nisa avx2\n"));
    assert_ok(cm_strdup(&m->origin, "batch 45"));
    assert_ok(cm_strdup(&m->notes, "{\"offset\":\"1-0\"}"));
    assert_ok(ps_manifest_set_metric(m, "loss", 0.1));
    assert_ok(ps_manifest_set_metric(m, "accuracy", 0.5));
    assert_ok(ps_manifest_set_metric(m, "loss", (double)NAN));
    assert_ok(ps_manifest_intervene(m, "skip", 10, 12));
    assert_ok(cm_alloc(&m->files, 1, sizeof *m->files, "files"));
    m->files[0] = (struct ps_file){"model.safetensors", 88, UINT64_MAX};
    m->nfiles = 1;
    assert_ok(cm_alloc(&m->checks, 1, sizeof *m->checks, "checks"));
    assert_ok(cm_strdup(&m->checks[0].file, "model.safetensors"));
    assert_ok(cm_strdup(&m->checks[0].name, "conv \"1\".weight"));
    m->checks[0].hash = 1;
    m->checks[0].abs_max = 0.1;
    m->nchecks = 1;
}

static void survives_a_round_trip(void **state)
{
    (void)state;
    struct ps_manifest m, back;
    char *text, *again;
    size_t n, nagain;
    fill(&m);
    assert_ok(ps_manifest_write(&m, &text, &n));
    assert_ok(ps_manifest_parse(&back, text, n, "m"));
    assert_int_equal(back.hash, m.hash);
    assert_int_equal(back.step, m.step);
    assert_true(back.created_utc_s == m.created_utc_s);
    assert_true(isnan(ps_manifest_metric(&back, "loss")));
    assert_true(ps_manifest_metric(&back, "accuracy") == 0.5);
    assert_true(isnan(ps_manifest_metric(&back, "none")));
    assert_string_equal(back.fingerprint, m.fingerprint);
    assert_null(back.data_fingerprint);
    assert_string_equal(back.origin, m.origin);
    assert_string_equal(back.config, m.config);
    assert_true(ps_manifest_file(&back, "model.safetensors")->hash == UINT64_MAX);
    assert_true(ps_manifest_check(&back, "model.safetensors", "conv \"1\".weight")->abs_max == 0.1);
    assert_null(ps_manifest_check(&back, "state.safetensors", "conv \"1\".weight"));
    assert_int_equal(back.interventions[0].last_step, 12);
    assert_ok(ps_manifest_write(&back, &again, &nagain)); /* and not a byte differs */
    assert_int_equal(n, nagain);
    assert_memory_equal(text, again, n);
    cm_free(&text);
    cm_free(&again);
    ps_manifest_release(&m);
    ps_manifest_release(&back);
}

/* One golden file per version of the format is kept for ever: this build must read what 1.0 wrote.
 */
static void reads_the_golden_file(void **state)
{
    (void)state;
    static const char golden[] =
        "{\n  \"format\": \"1.0\",\n  \"version\": 1,\n  \"generation\": 0,\n  \"parent\": 0,\n"
        "  \"producer\": \"train\",\n  \"run\": \"\",\n  \"created_utc_s\": 0,\n"
        "  \"created\": \"1970-01-01T00:00:00Z\",\n  \"step\": 5,\n  \"epoch\": 0,\n"
        "  \"sample\": 0,\n  \"metrics\": {},\n  \"interventions\": [],\n  \"files\": [],\n"
        "  \"tensors\": []\n,\"xxh3\": \"56879c295b1de007\"}\n";
    struct ps_manifest m = {.version = 1, .step = 5}, back;
    char *text;
    size_t n;
    snprintf(m.producer, sizeof m.producer, "train");
    assert_ok(ps_manifest_write(&m, &text, &n));
    assert_int_equal(n, sizeof golden - 1);
    assert_memory_equal(text, golden, n);
    assert_ok(ps_manifest_parse(&back, golden, n, "golden"));
    assert_int_equal(back.step, 5);
    cm_free(&text);
    ps_manifest_release(&m);
    ps_manifest_release(&back);
}

static void finds_every_flipped_bit(void **state)
{
    (void)state;
    struct ps_manifest m, back;
    char *text;
    size_t n;
    fill(&m);
    assert_ok(ps_manifest_write(&m, &text, &n));
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ (1 << bit));
            cm_status st = ps_manifest_parse(&back, text, n, "m");
            if (st != CM_ECORRUPT && st != CM_EVERSION)
                fail_msg("bit %d of byte %zu: %s", bit, i, cm_status_name(st));
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    for (size_t cut = 0; cut < n; cut++)
        assert_fails(ps_manifest_parse(&back, text, cut, "m"), CM_ECORRUPT);
    cm_free(&text);
    ps_manifest_release(&m);
}

/* A sealed object with this body; the seal is right. */
static cm_status parse_body(struct ps_manifest *out, const char *format, const char *body)
{
    char text[1024], digits[CM_XXH_TEXT];
    int n = snprintf(text, sizeof text, "{\"format\": \"%s\"%s", format, body);
    cm_xxh_format(digits, cm_xxh64(text, (size_t)n));
    n += snprintf(text + n, sizeof text - (size_t)n, ",\"xxh3\": \"%s\"}\n", digits);
    return ps_manifest_parse(out, text, (size_t)n, "m");
}

#define HEAD                                                                                       \
    ",\"version\":1,\"generation\":0,\"parent\":0,\"producer\":\"t\",\"run\":\"\","                \
    "\"created_utc_s\":0,\"step\":0,\"epoch\":0,\"sample\":0,\"metrics\":{},\"interventions\":[]"

static void judges_formats(void **state)
{
    (void)state;
    struct ps_manifest m;
    assert_fails(parse_body(&m, "2.0", ""), CM_EVERSION);
    assert_says("format 2.0, this program reads 1.x");
    static const char other_seal[] = "{\"format\":\"3.1\",\"seal\":\"new\"}";
    assert_fails(ps_manifest_parse(&m, other_seal, sizeof other_seal - 1, "m"), CM_EVERSION);
    assert_fails(parse_body(&m, "x", ""), CM_EFORMAT);
    assert_fails(parse_body(&m, "1.0", ""), CM_EFORMAT);
    assert_says("'version' is missing");
    assert_ok(parse_body(&m, "1.9", HEAD ",\"files\":[],\"tensors\":[],\"later\":{\"x\":1}"));
    ps_manifest_release(&m);
}

static void refuses_bad_members(void **state)
{
    (void)state;
    static const char *const bad[] = {
        (",\"files\":[{\"name\":\"../x\",\"nbytes\":1,"
         "\"xxh3\":\"0000000000000000\"}],\"tensors\":[]"),
        ",\"files\":[{\"name\":\".x\",\"nbytes\":1,\"xxh3\":\"0000000000000000\"}],\"tensors\":[]",
        ",\"files\":[{\"name\":\"\",\"nbytes\":1,\"xxh3\":\"0000000000000000\"}],\"tensors\":[]",
        ",\"files\":[{\"name\":\"x\",\"nbytes\":-1,\"xxh3\":\"0000000000000000\"}],\"tensors\":[]",
        ",\"files\":[{\"name\":\"x\",\"nbytes\":1,\"xxh3\":\"000000000000000\"}],\"tensors\":[]",
        ",\"files\":[{\"name\":\"x\",\"nbytes\":1,\"xxh3\":\"000000000000000G\"}],\"tensors\":[]",
        (",\"files\":[{\"name\":\"x\",\"nbytes\":1,\"xxh3\":\"0000000000000000\"},"
         "{\"name\":\"x\",\"nbytes\":1,\"xxh3\":\"0000000000000000\"}],\"tensors\":[]"),
        ",\"files\":[]",
        ",\"files\":[],\"tensors\":[1]",
        ",\"files\":[],\"tensors\":[],\"config\":1",
        ",\"files\":[],\"tensors\":[],\"notes\":[]",
        ",\"files\":[],\"tensors\":[],\"origin\":1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ps_manifest m;
        char body[900];
        snprintf(body, sizeof body, HEAD "%s", bad[i]);
        cm_status st = parse_body(&m, "1.0", body);
        if (st != CM_EFORMAT)
            fail_msg("%s gave %s", bad[i], cm_status_name(st));
    }
    struct ps_manifest m = {0};
    char *text;
    size_t n;
    assert_ok(cm_strdup(&m.config, "[1]"));
    assert_fails(ps_manifest_write(&m, &text, &n), CM_EINVAL);
    assert_null(text);
    assert_fails(ps_manifest_set_metric(&m, "", 1), CM_EINVAL);
    assert_fails(ps_manifest_intervene(&m, "skip", 5, 4), CM_EINVAL);
    ps_manifest_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_a_round_trip),   cmocka_unit_test(reads_the_golden_file),
        cmocka_unit_test(finds_every_flipped_bit), cmocka_unit_test(judges_formats),
        cmocka_unit_test(refuses_bad_members),
    };
    cm_log_set_level(CM_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
