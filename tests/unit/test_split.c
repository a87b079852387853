/* The holdout: exact, disjoint, stable, and equal images never parted. */
#include "common/mem.h"
#include "tests/unit/expect.h"
#include "trainer/split.h"

#define N 1000

static void make_hashes(uint64_t *hash, uint64_t first)
{
    for (uint64_t i = 0; i < N; i++)
        hash[i] = (first + i) * 0x9e3779b97f4a7c15u;
}

/* Each row on exactly one side. */
static void expect_partition(const struct tr_split *s, int64_t n)
{
    int seen[N] = {0};
    for (int64_t i = 0; i < s->n_train; i++)
        seen[s->train[i]]++;
    for (int64_t i = 0; i < s->n_holdout; i++)
        seen[s->holdout[i]]++;
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(seen[i], 1);
}

static void exact_and_disjoint(void **state)
{
    (void)state;
    uint64_t hash[N];
    struct tr_split s;

    make_hashes(hash, 1);
    for (int64_t k = 0; k < N; k += 111) {
        expect_ok(tr_split_make(&s, hash, N, k, 0, 7));
        assert_int_equal(s.n_holdout, k);
        assert_int_equal(s.n_train, N - k);
        expect_partition(&s, N);
        tr_split_release(&s);
    }
}

/* By content, not by place: moved rows are held out at their new place; another seed holds out
 * others. */
static void follows_content(void **state)
{
    (void)state;
    uint64_t hash[N], moved[N];
    struct tr_split a, b, c;
    int same = 0;

    make_hashes(hash, 1);
    for (int i = 0; i < N; i++)
        moved[(i + 300) % N] = hash[i];
    expect_ok(tr_split_make(&a, hash, N, 100, 0, 7));
    expect_ok(tr_split_make(&b, moved, N, 100, 0, 7));
    expect_ok(tr_split_make(&c, hash, N, 100, 0, 8));
    for (int i = 0; i < 100; i++) {
        int found = 0;
        for (int j = 0; j < 100; j++) {
            found += b.holdout[j] == (a.holdout[i] + 300) % N;
            same += c.holdout[j] == a.holdout[i];
        }
        assert_int_equal(found, 1);
    }
    assert_in_range(same, 0, 40); /* 10 expected */
    tr_split_release(&a);
    tr_split_release(&b);
    tr_split_release(&c);
}

static void limit_leaves_the_holdout(void **state)
{
    (void)state;
    uint64_t hash[N];
    struct tr_split all, some;

    make_hashes(hash, 1);
    expect_ok(tr_split_make(&all, hash, N, 50, 0, 7));
    expect_ok(tr_split_make(&some, hash, N, 50, 200, 7));
    assert_int_equal(some.n_train, 200);
    assert_memory_equal(some.train, all.train, 200 * sizeof *all.train);
    assert_memory_equal(some.holdout, all.holdout, 50 * sizeof *all.holdout);
    tr_split_release(&all);
    tr_split_release(&some);
}

static void equal_images_stay_together(void **state)
{
    (void)state;
    uint64_t hash[N];
    struct tr_split s;

    for (uint64_t i = 0; i < N; i++)
        hash[i] = i % 700; /* pairs and single images */
    for (uint64_t seed = 0; seed < 20; seed++) {
        bool held[700] = {false};
        expect_ok(tr_split_make(&s, hash, N, 101, 0, seed));
        expect_partition(&s, N);
        for (int64_t i = 0; i < s.n_holdout; i++)
            held[hash[s.holdout[i]]] = true;
        for (int64_t i = 0; i < s.n_train; i++)
            assert_false(held[hash[s.train[i]]]);
        tr_split_release(&s);
    }
    memset(hash, 0, sizeof hash);
    expect_fault(CM_ECONFIG, "equal images", tr_split_make(&s, hash, N, 10, 0, 1));
    assert_null(s.train);
}

static void too_large(void **state)
{
    (void)state;
    uint64_t hash[N];
    struct tr_split s;

    make_hashes(hash, 1);
    expect_fault(CM_ECONFIG, "data.holdout is 1000 of 1000", tr_split_make(&s, hash, N, N, 0, 1));
    expect_fault(CM_ECONFIG, "data.holdout", tr_split_make(&s, hash, N, -1, 0, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_and_disjoint),
        cmocka_unit_test(follows_content),
        cmocka_unit_test(limit_leaves_the_holdout),
        cmocka_unit_test(equal_images_stay_together),
        cmocka_unit_test(too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
