/* Golden bytes, every rule by which a file is refused, and files cut at every byte. */
#include "tests/unit/store_fixture.h"

#include "parameter/safetensors.h"

/* A file with this header and ndata zero bytes, from malloc. */
static char *make_file(const char *header, size_t ndata, size_t *n)
{
    uint64_t nheader = strlen(header);
    *n = sizeof nheader + nheader + ndata;
    char *bytes = calloc(1, *n + 1);
    assert_non_null(bytes);
    memcpy(bytes, &nheader, sizeof nheader);
    memcpy(bytes + sizeof nheader, header, nheader);
    return bytes;
}

static cm_status parse(struct ps_tensors *set, const char *header, size_t ndata)
{
    size_t n;
    char *bytes = make_file(header, ndata, &n);
    cm_status st = ps_safetensors_parse(set, bytes, n, "f");
    free(bytes);
    return st;
}

/* The example of the format's own documentation. */
static const char golden_header[] = "{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],"
                                    "\"data_offsets\":[0,16]}}";

static void writes_golden_bytes(void **state)
{
    struct fixture *f = *state;
    struct ps_tensors set = {0};
    static const int32_t zeros[4];
    char path[CM_PATH], *bytes = NULL, *golden;
    size_t n, ngolden;
    uint64_t nbytes;
    assert_ok(ps_tensors_add(&set, "test", PS_I32, 2, fixture_shape, zeros));
    assert_ok(cm_path_join(path, f->dir, "golden.safetensors"));
    assert_ok(ps_tensor_file_save(path, &set, &nbytes, NULL));
    assert_ok(cm_file_read(&bytes, &n, path, 1000));
    char padded[72];
    snprintf(padded, sizeof padded, "%-64s", golden_header); /* 60 characters, padded to 64 */
    golden = make_file(padded, 16, &ngolden);
    assert_int_equal(n, ngolden);
    assert_int_equal(n, nbytes);
    assert_memory_equal(bytes, golden, n);
    free(golden);
    cm_free(&bytes);
    ps_tensors_release(&set);
}

static void order_of_adding_does_not_matter(void **state)
{
    struct fixture *f = *state;
    static const uint8_t byte[3] = {1, 2, 3};
    static const int64_t three = 3, wide[1] = {0x0102030405060708}, one = 1;
    static const float w[1] = {0.5f};
    char path[2][CM_PATH], *bytes[2] = {NULL, NULL};
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        struct ps_tensors set = {0};
        for (int k = 0; k < 4; k++)
            switch (i == 0 ? k : 3 - k) {
            case 0:
                assert_ok(ps_tensors_add(&set, "a", PS_U8, 1, &three, byte));
                break;
            case 1:
                assert_ok(ps_tensors_add(&set, "z", PS_I64, 1, &one, wide));
                break;
            case 2:
                assert_ok(ps_tensors_add(&set, "m", PS_F32, 1, &one, w));
                break;
            case 3:
                assert_ok(ps_tensors_set_meta(&set, "b", "2"));
                assert_ok(ps_tensors_set_meta(&set, "a\"\n", "1"));
                assert_ok(ps_tensors_add(&set, "c", PS_U8, 1, &three, byte));
                break;
            default:
                break;
            }
        snprintf(path[i], CM_PATH, "%s/%d", f->dir, i);
        assert_ok(ps_tensor_file_save(path[i], &set, NULL, NULL));
        assert_ok(cm_file_read(&bytes[i], &n[i], path[i], 4096));
        ps_tensors_release(&set);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    struct ps_tensors back = {0};
    assert_ok(ps_safetensors_parse(&back, bytes[0], n[0], "f"));
    const char *order[] = {"z", "m", "a", "c"}; /* alignment descending, then name */
    for (int i = 0; i < 4; i++)
        assert_string_equal(back.t[i].name, order[i]);
    assert_string_equal(ps_tensors_meta(&back, "a\"\n"), "1");
    assert_int_equal((uintptr_t)((const char *)back.t[0].data - bytes[0]) % 8, 0);
    ps_tensors_release(&back);
    cm_free(&bytes[0]);
    cm_free(&bytes[1]);
}

static void reads_what_is_legal(void **state)
{
    (void)state;
    struct ps_tensors set = {0};
    assert_ok(parse(&set, "{}", 0));
    assert_int_equal(set.n, 0);
    assert_ok(parse(&set, " \n{}  \n", 0)); /* writers that align their header pad it */
    assert_ok(parse(&set, "{\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8));
    assert_int_equal(set.t[0].ndim, 0);
    ps_tensors_release(&set);
    assert_ok(parse(&set,
                    "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                    "\"e\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[2,2]},"
                    "\"d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                    "\"__metadata__\":{\"k\":\"v\"}}",
                    2));
    assert_int_equal(set.n, 3);
    ps_tensors_release(&set);
    for (int i = 0; i < PS_DTYPE_COUNT; i++) {
        char header[128];
        int nbytes = ps_dtype_bits((enum ps_dtype)i); /* 8 elements */
        snprintf(header, sizeof header,
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[8],"
                 "\"data_offsets\":[0,%d]}}",
                 ps_dtype_name((enum ps_dtype)i), nbytes);
        assert_ok(parse(&set, header, (size_t)nbytes));
        assert_int_equal(set.t[0].dtype, i);
        ps_tensors_release(&set);
    }
}

#define TENSOR(dtype, shape, offsets)                                                              \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void refuses_every_bad_header(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t ndata;
        const char *says;
    } bad[] = {
        {"", 0, "f"},
        {"[]", 0, "not an object"},
        {"{", 0, "f"},
        {"{}x", 0, "f"},
        {"{\"t\":1}", 0, "tensor t is a number"},
        {"{\"\xff\":{}}", 0, "f"},
        {TENSOR("\"F33\"", "[1]", "[0,4]"), 4, "dtype 'F33' is unknown"},
        {TENSOR("7", "[1]", "[0,4]"), 4, "dtype"},
        {TENSOR("\"F32\"", "[-1]", "[0,4]"), 4, "f: tensor t"},
        {TENSOR("\"F32\"", "[1.5]", "[0,4]"), 4, "f: tensor t"},
        {TENSOR("\"F32\"", "[\"1\"]", "[0,4]"), 4, "f: tensor t"},
        {TENSOR("\"F32\"", "4", "[0,4]"), 4, "shape"},
        {TENSOR("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "9 dimensions"},
        {TENSOR("\"F32\"", "[9007199254740991,9007199254740991]", "[0,4]"), 4, "too large"},
        {TENSOR("\"F4\"", "[3]", "[0,2]"), 2, "whole number of bytes"},
        {TENSOR("\"F32\"", "[1]", "[0]"), 4, "1 data_offsets"},
        {TENSOR("\"F32\"", "[1]", "[0,4,4]"), 4, "3 data_offsets"},
        {TENSOR("\"F32\"", "[1]", "[4,0]"), 4, "[4, 0)"},
        {TENSOR("\"F32\"", "[1]", "[-4,0]"), 4, "f: tensor t"},
        {TENSOR("\"F32\"", "[1]", "[0,8]"), 4, "not inside the file's 4 bytes"},
        {TENSOR("\"F32\"", "[1]", "[0,3]"), 3, "F32 1 is 4 bytes"},
        {TENSOR("\"F32\"", "[1]", "[1,5]"), 5, "after a hole"},
        {TENSOR("\"F32\"", "[1]", "[0,4]"), 5, "1 bytes behind the last tensor"},
        {"{}", 1, "1 bytes behind the last tensor"},
        {"{\"t\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4, "dtype"},
        {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape"},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}}",
         5, "tensor b begins at byte 2 of the data, inside the one before"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, "f"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is an array"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__ 'k' is a number"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ps_tensors set = {0};
        cm_status st = parse(&set, bad[i].header, bad[i].ndata);
        if (st != CM_EFORMAT && st != CM_EUNSUPPORTED)
            fail_msg("%s gave %s", bad[i].header, cm_status_name(st));
        assert_says(bad[i].says);
        assert_null(set.t);
    }
}

static void refuses_bad_lengths(void **state)
{
    (void)state;
    struct ps_tensors set = {0};
    char bytes[8] = {0};
    assert_fails(ps_safetensors_parse(&set, bytes, 0, "f"), CM_EFORMAT);
    assert_fails(ps_safetensors_parse(&set, bytes, 7, "f"), CM_EFORMAT);
    assert_says("7 bytes");
    assert_fails(ps_safetensors_parse(&set, bytes, 8, "f"), CM_EFORMAT); /* an empty header */
    uint64_t n = PS_HEADER_MAX + 1;
    memcpy(bytes, &n, sizeof n);
    assert_fails(ps_safetensors_parse(&set, bytes, 8, "f"), CM_EFORMAT);
    assert_says("100000001");
    n = 1;
    memcpy(bytes, &n, sizeof n);
    assert_fails(ps_safetensors_parse(&set, bytes, 8, "f"), CM_EFORMAT);
    assert_says("cut off");
    n = UINT64_MAX;
    memcpy(bytes, &n, sizeof n);
    assert_fails(ps_safetensors_parse(&set, bytes, 8, "f"), CM_EFORMAT);
}

static void refuses_every_cut(void **state)
{
    (void)state;
    size_t n;
    char *bytes = make_file(golden_header, 16, &n);
    struct ps_tensors set = {0};
    for (size_t cut = 0; cut < n; cut++) {
        char *part = malloc(cut ? cut : 1); /* exact, so that a sanitizer sees a byte too far */
        memcpy(part, bytes, cut);
        assert_fails(ps_safetensors_parse(&set, part, cut, "f"), CM_EFORMAT);
        free(part);
    }
    assert_ok(ps_safetensors_parse(&set, bytes, n, "f"));
    ps_tensors_release(&set);
    free(bytes);
}

static void refuses_to_write_bad_names(void **state)
{
    struct fixture *f = *state;
    char path[CM_PATH];
    assert_ok(cm_path_join(path, f->dir, "x"));
    struct ps_tensors set = {0};
    assert_ok(ps_tensors_add(&set, "\xff", PS_F32, 2, fixture_shape, fixture_weight));
    assert_fails(ps_tensor_file_save(path, &set, NULL, NULL), CM_EINVAL);
    ps_tensors_release(&set);
    assert_ok(ps_tensors_append(&set, "a", PS_F32, 2, fixture_shape, fixture_weight));
    assert_ok(ps_tensors_append(&set, "a", PS_F32, 2, fixture_shape, fixture_weight));
    assert_fails(ps_tensor_file_save(path, &set, NULL, NULL), CM_EINVAL);
    ps_tensors_release(&set);
    assert_false(cm_path_exists(path));
}

/* Every allocation fails in turn: an error, no leak (the sanitizer looks), and at last success. */
static void survives_lack_of_memory(void **state)
{
    (void)state;
    cm_status st = CM_ENOMEM;
    int k = 0;
    for (; st != CM_OK && k < 200; k++) {
        struct ps_tensors set = {0};
        size_t n;
        char *bytes = make_file("{\"__metadata__\":{\"k\":\"v\"},\"t\":{\"dtype\":\"U8\","
                                "\"shape\":[1],\"data_offsets\":[0,1]}}",
                                1, &n);
        cm_mem_fail_at(k + 1);
        st = ps_safetensors_parse(&set, bytes, n, "f");
        cm_mem_fail_at(0);
        ps_tensors_release(&set);
        free(bytes);
    }
    assert_ok(st);
    assert_in_range(k, 4, 199);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_golden_bytes, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(order_of_adding_does_not_matter, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(reads_what_is_legal),
        cmocka_unit_test(refuses_every_bad_header),
        cmocka_unit_test(refuses_bad_lengths),
        cmocka_unit_test(refuses_every_cut),
        cmocka_unit_test_setup_teardown(refuses_to_write_bad_names, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
