/* The logged batch: what is read is what was written, and nothing else is taken for one. */
#include "common/log.h"
#include "common/mem.h"
#include "parameter/safetensors.h"
#include "tests/unit/online_fixture.h"

struct files {
    char dir[CM_PATH], path[CM_PATH];
};

static int setup(void **state)
{
    struct files *f = calloc(1, sizeof *f);
    cm_log_set_level(CM_LOG_ERROR);
    expect_dir_make(f->dir);
    expect_ok(ol_batch_path(f->path, f->dir, 45));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct files *f = *state;
    expect_dir_remove(f->dir);
    free(f);
    return 0;
}

static void load(char **bytes, size_t *n, const char *path)
{
    expect_ok(cm_file_read(bytes, n, path, 1 << 20));
}

static void assert_same(const struct ol_batch *a, const struct ol_batch *b)
{
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->champion, b->champion);
    assert_string_equal(a->epoch, b->epoch);
    assert_memory_equal(&a->shape, &b->shape, sizeof a->shape);
    assert_int_equal(a->noperators, b->noperators);
    assert_memory_equal(a->operators, b->operators, a->noperators * sizeof *a->operators);
    assert_memory_equal(a->after, b->after, a->noperators * sizeof *a->after);
    assert_int_equal(a->nentries, b->nentries);
    for (size_t i = 0; i < a->nentries; i++) {
        struct ol_entry x = a->entries[i], y = b->entries[i];
        if (x.reason || y.reason)
            assert_string_equal(x.reason, y.reason);
        x.reason = y.reason = NULL;
        assert_memory_equal(&x, &y, sizeof x);
    }
    assert_int_equal(a->nimages, b->nimages);
    assert_memory_equal(a->pixels, b->pixels, a->nimages * BATCH_IMAGE);
    assert_memory_equal(a->labels, b->labels, a->nimages * sizeof *a->labels);
    assert_true(a->hash == b->hash);
}

static void test_there_and_back(void **state)
{
    struct files *f = *state;
    struct ol_batch b, back;
    char *bytes;
    size_t n;
    batch_make(&b, 45);
    assert_int_equal(b.nimages, 3);
    assert_int_equal(b.entries[3].row, 2);
    assert_int_equal(b.entries[4].row, -1);
    assert_non_null(strstr(f->path, "/b000045.safetensors"));
    expect_ok(ol_batch_save(&b, f->path));
    load(&bytes, &n, f->path);
    expect_ok(ol_batch_parse(&back, bytes, n, "b45"));
    assert_same(&b, &back);
    cm_free(&bytes);
    ol_batch_release(&b);
    ol_batch_release(&back);
}

/* Nothing to train on: only a dead entry. */
static void test_no_image(void **state)
{
    struct files *f = *state;
    struct ol_batch b = {.number = 1, .champion = 1, .shape = {.c = 3, .h = 2, .w = 2}}, back;
    char *bytes;
    size_t n;
    batch_add(&b, "ann", 11, OL_DEAD, 0);
    expect_ok(ol_batch_save(&b, f->path));
    load(&bytes, &n, f->path);
    expect_ok(ol_batch_parse(&back, bytes, n, "b1"));
    assert_same(&b, &back);
    cm_free(&bytes);
    ol_batch_release(&b);
    ol_batch_release(&back);
}

/* The same batch gives the same file; another champion gives another hash. */
static void test_hash(void **state)
{
    struct files *f = *state;
    struct ol_batch b;
    batch_make(&b, 45);
    expect_ok(ol_batch_save(&b, f->path));
    uint64_t first = b.hash;
    expect_ok(ol_batch_save(&b, f->path));
    assert_true(b.hash == first);
    b.champion++;
    expect_ok(ol_batch_save(&b, f->path));
    assert_true(b.hash != first);
    ol_batch_release(&b);
}

/* A flipped bit anywhere, and a file cut anywhere, is refused; nothing is left behind. */
static void test_every_byte_counts(void **state)
{
    struct files *f = *state;
    struct ol_batch b, back;
    char *bytes;
    size_t n, taken = 0;
    batch_make(&b, 45);
    expect_ok(ol_batch_save(&b, f->path));
    load(&bytes, &n, f->path);
    for (size_t i = 0; i < n; i++) {
        char was = bytes[i];
        bytes[i] = (char)(was ^ 1 << (i % 7));
        if (ol_batch_parse(&back, bytes, n, "damaged") == CM_OK) {
            assert_same(&b, &back); /* a space of the header's padding */
            ol_batch_release(&back);
            taken++;
        }
        bytes[i] = was;
        assert_int_not_equal(ol_batch_parse(&back, bytes, i, "cut"), CM_OK);
        assert_null(back.entries);
    }
    assert_true(taken < 8);
    cm_free(&bytes);
    ol_batch_release(&b);
}

static void test_not_ours(void **state)
{
    struct files *f = *state;
    struct ps_tensors set = {0};
    struct ol_batch back;
    char *bytes;
    size_t n;
    const int64_t dim[] = {1};
    const float x = 1;
    expect_ok(ps_tensors_add(&set, "w", PS_F32, 1, dim, &x));
    expect_ok(ps_tensor_file_save(f->path, &set, NULL, NULL));
    load(&bytes, &n, f->path);
    expect_fault(CM_EFORMAT, "no log of a batch", ol_batch_parse(&back, bytes, n, "w"));
    cm_free(&bytes);
    expect_ok(ps_tensors_set_meta(&set, "batch", "{\"format\":\"1.0\"}"));
    expect_ok(ps_tensors_set_meta(&set, "xxh3", "0123456789abcdef"));
    expect_ok(ps_tensor_file_save(f->path, &set, NULL, NULL));
    load(&bytes, &n, f->path);
    expect_fault(CM_EFORMAT, "no pixels", ol_batch_parse(&back, bytes, n, "w"));
    cm_free(&bytes);
    ps_tensors_release(&set);
}

/* No allocation may fail unseen, and none may leak (the sanitizer looks). */
static void test_out_of_memory(void **state)
{
    struct files *f = *state;
    struct ol_batch b, back;
    char *bytes;
    size_t n;
    batch_make(&b, 45);
    expect_ok(ol_batch_save(&b, f->path));
    load(&bytes, &n, f->path);
    cm_status st = CM_ENOMEM;
    for (long k = 1; st == CM_ENOMEM; k++) {
        cm_mem_fail_at(k);
        st = ol_batch_parse(&back, bytes, n, "b45");
        cm_mem_fail_at(0);
        assert_true(k < 1000);
    }
    assert_int_equal(st, CM_OK);
    ol_batch_release(&back);
    cm_free(&bytes);
    ol_batch_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_image, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_byte_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
