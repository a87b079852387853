#include "common/hash.h"

#include "common/mem.h"
#include "tests/unit/expect.h"

static void test_xxh_known_answers(void **state)
{
    (void)state;
    char text[CM_XXH_TEXT];
    cm_xxh_format(text, cm_xxh64("", 0)); /* xxHash's own value for XXH3-64 of nothing */
    assert_string_equal(text, "2d06800538d394c2");
    cm_xxh_format(text, 0xab);
    assert_string_equal(text, "00000000000000ab");
    assert_true(cm_xxh64("a", 1) != cm_xxh64("b", 1));
}

static void test_xxh_in_pieces(void **state)
{
    (void)state;
    char *data;
    expect_ok(cm_alloc(&data, 10000, 1, "data"));
    for (size_t i = 0; i < 10000; i++)
        data[i] = (char)(i * 31 % 251);
    for (size_t piece = 1; piece < 3000; piece = piece * 3 + 1) {
        struct cm_xxh *h;
        expect_ok(cm_xxh_open(&h));
        for (size_t i = 0; i < 10000; i += piece)
            cm_xxh_update(h, data + i, 10000 - i < piece ? 10000 - i : piece);
        cm_xxh_update(h, NULL, 0);
        assert_true(cm_xxh_digest(h) == cm_xxh64(data, 10000));
        assert_true(cm_xxh_digest(h) == cm_xxh64(data, 10000)); /* asking does not end it */
        cm_xxh_close(&h);
        cm_xxh_close(&h);
    }
    cm_free(&data);
}

/* FIPS 180-4's and RFC 1321's own examples. */
static void test_digests_known_answers(void **state)
{
    (void)state;
    char sha[CM_SHA256_TEXT], md5[CM_MD5_TEXT];
    expect_ok(cm_sha256(sha, "abc", 3));
    assert_string_equal(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_ok(cm_sha256(sha, "", 0));
    assert_string_equal(sha, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_ok(cm_md5(md5, "message digest", 14));
    assert_string_equal(md5, "f96b697d7cb7938d525a2f31aaf161d0");
}

static void test_digests_of_files(void **state)
{
    (void)state;
    char dir[CM_PATH], path[CM_PATH], memory[CM_SHA256_TEXT], file[CM_SHA256_TEXT];
    const size_t n = 700001; /* several chunks and a rest */
    char *data;
    expect_dir_make(dir);
    expect_ok(cm_path_join(path, dir, "data"));
    expect_ok(cm_alloc(&data, n, 1, "data"));
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 7 % 253);
    expect_ok(cm_file_replace(path, data, n));
    expect_ok(cm_sha256(memory, data, n));
    expect_ok(cm_sha256_file(file, path));
    assert_string_equal(file, memory);
    expect_ok(cm_md5(memory, data, n));
    expect_ok(cm_md5_file(file, path));
    assert_string_equal(file, memory);
    cm_free(&data);

    expect_fault(CM_EIO, dir, cm_sha256_file(file, dir));
    expect_ok(cm_path_join(path, dir, "absent"));
    expect_fault(CM_ENOTFOUND, path, cm_md5_file(file, path));
    expect_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xxh_known_answers),
        cmocka_unit_test(test_xxh_in_pieces),
        cmocka_unit_test(test_digests_known_answers),
        cmocka_unit_test(test_digests_of_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
