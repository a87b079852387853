/* Entry ids and the account of what became of entries. */
#include "common/mem.h"
#include "online/ledger.h"
#include "tests/unit/expect.h"

static bool parses(const char *text, uint64_t ms, uint64_t seq)
{
    struct ol_id id = {7, 7};
    return ol_id_parse(&id, text, strlen(text)) && id.ms == ms && id.seq == seq;
}

static void test_ids(void **state)
{
    (void)state;
    struct ol_id id = {7, 7};
    char text[OL_ID_TEXT];
    assert_true(parses("0-0", 0, 0));
    assert_true(parses("1795326144802-13", 1795326144802u, 13));
    assert_true(parses("18446744073709551615-18446744073709551615", UINT64_MAX, UINT64_MAX));
    assert_true(parses("12", 12, 0));
    static const char *const bad[] = {
        "", "-", "1-", "-1", "1-2-3", "a-1", "1-1 ", " 1-1", "+1-", "$", "18446744073709551616-0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(ol_id_parse(&id, bad[i], strlen(bad[i])));
    assert_int_equal(id.ms, 7);
    ol_id_format(text, (struct ol_id){UINT64_MAX, UINT64_MAX});
    assert_true(parses(text, UINT64_MAX, UINT64_MAX));
    assert_true(ol_id_compare((struct ol_id){1, 9}, (struct ol_id){2, 0}) < 0);
    assert_true(ol_id_compare((struct ol_id){2, 1}, (struct ol_id){2, 0}) > 0);
    assert_int_equal(ol_id_next((struct ol_id){3, UINT64_MAX}).ms, 4);
    assert_int_equal(ol_id_next((struct ol_id){UINT64_MAX, UINT64_MAX}).ms, UINT64_MAX);
}

static struct ol_stream *add(struct ol_ledger *l, const char *name)
{
    struct ol_stream *s;
    expect_ok(ol_ledger_add(&s, l, name));
    return s;
}

static void fill(struct ol_ledger *l)
{
    add(l, "carol");
    add(l, "ann");
    add(l, "bob");
    struct ol_stream *s = add(l, "bob"); /* once */
    ol_stream_account(s, (struct ol_id){5, 1}, OL_TRAINED);
    ol_stream_account(s, (struct ol_id){5, 2}, OL_REJECTED);
    ol_stream_account(s, (struct ol_id){6, 0}, OL_DEAD);
    ol_stream_account(s, (struct ol_id){7, 0}, OL_DUPLICATE);
    ol_stream_account(s, (struct ol_id){8, 0}, OL_TRAINED);
}

static void test_account(void **state)
{
    (void)state;
    struct ol_ledger l = {0};
    fill(&l);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.stream[0].name, "ann");
    assert_string_equal(l.stream[2].name, "carol");
    assert_null(ol_ledger_find(&l, "dave"));
    struct ol_stream *s = ol_ledger_find(&l, "bob");
    assert_int_equal(s->read, 5);
    assert_int_equal(ol_count_sum(&s->count), 5);
    assert_int_equal(s->count.trained, 2);
    assert_int_equal(s->offset.ms, 8);
    ol_stream_restart(s);
    assert_int_equal(s->read, 0);
    assert_int_equal(s->offset.ms, 0);
    assert_int_equal(ol_count_sum(&s->count), 5);
    ol_ledger_release(&l);
}

static void read_text(struct ol_ledger *l, const char *text, cm_status want, const char *says)
{
    struct cm_json *json;
    expect_ok(cm_json_parse(&json, text, strlen(text), "test"));
    cm_status st = ol_ledger_read(l, json, "state");
    assert_int_equal(st, want);
    if (want != CM_OK && !strstr(cm_error_text(), says))
        fail_msg("'%s' does not say '%s'", cm_error_text(), says);
    cm_json_close(&json);
}

static void test_as_json(void **state)
{
    (void)state;
    struct ol_ledger l = {0}, back;
    struct cm_jw w = {0};
    char *text;
    size_t n;
    fill(&l);
    cm_jw_begin(&w, NULL, '{');
    ol_ledger_write(&l, &w);
    cm_jw_end(&w);
    expect_ok(cm_jw_take(&w, &text, &n));
    read_text(&back, text, CM_OK, "");
    assert_int_equal(back.n, 3);
    assert_memory_equal(back.stream, l.stream, 3 * sizeof *l.stream);
    cm_free(&text);
    ol_ledger_release(&l);
    ol_ledger_release(&back);
}

#define STREAM(name, offset, read)                                                                 \
    "{\"operator\":\"" name "\",\"offset\":\"" offset "\",\"read\":" read                          \
    ",\"trained\":1,\"rejected\":1,\"dead\":1,\"duplicate\":1}"

static void test_bad_json(void **state)
{
    (void)state;
    struct ol_ledger l;
    read_text(&l, "{}", CM_EFORMAT, "streams");
    read_text(&l, "{\"streams\":[{}]}", CM_EFORMAT, "operator");
    read_text(&l, "{\"streams\":[" STREAM("a/b", "1-1", "4") "]}", CM_EFORMAT, "no name");
    read_text(&l, "{\"streams\":[" STREAM("a", "1-1", "4") "," STREAM("a", "1-1", "4") "]}",
              CM_EFORMAT, "twice");
    read_text(&l, "{\"streams\":[" STREAM("a", "x", "4") "]}", CM_EFORMAT, "offset");
    read_text(&l, "{\"streams\":[" STREAM("a", "1-1", "-1") "]}", CM_EFORMAT, "read");
    read_text(&l, "{\"streams\":[" STREAM("a", "1-1", "5") "]}", CM_EFORMAT, "accounted for");
    assert_int_equal(l.n, 0);
    read_text(&l, "{\"streams\":[" STREAM("a", "1-1", "4") "]}", CM_OK, "");
    ol_ledger_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_account),
        cmocka_unit_test(test_as_json),
        cmocka_unit_test(test_bad_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
