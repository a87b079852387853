/* A worker's versions and their loads (loader.c, model_shelf.c): each is loaded once, kept while it
 * is wanted, told apart by its hash, and tried again when it cannot be read. */
#include "tests/unit/store_fixture.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "serve/model_shelf.h"
#include "tests/unit/model_fixture.h"

#define VERSIONS 3
#define LONG_MS  60000

static const int batches[] = {1, 2};

struct shelf {
    struct sv_shelf *s;
    struct sv_version v[VERSIONS + 1]; /* by number */
    int done_fd;
};

static void open_shelf(struct shelf *t, const struct fixture *f, int retry_ms)
{
    struct sv_model_config cfg = {
        .store_dir = f->store,
        .engine = {.batches = batches, .nbatches = 2, .threads = 1, .precision = NN_PRECISION_FP32},
        .max_pixels = 1 << 20};
    struct model_fixture m = {0};
    int64_t number = 0;
    assert_ok(ps_store_open_writer(&m.store, f->store, 'v', NULL));
    assert_ok(model_fixture_take(&m, "lenet"));
    for (int i = 1; i <= VERSIONS; i++) {
        struct ps_version *v;
        assert_ok(model_fixture_version(&m, (uint64_t)i, MODEL_GOOD, &number));
        assert_ok(ps_version_open(&v, m.store, number));
        t->v[i] = (struct sv_version){number, ps_version_manifest(v)->hash};
        ps_version_close(&v);
    }
    ps_store_close(&m.store);
    model_fixture_release(&m);
    t->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(t->done_fd >= 0);
    assert_ok(sv_shelf_open(&t->s, &cfg, retry_ms, t->done_fd));
}

static void close_shelf(struct shelf *t)
{
    sv_shelf_close(&t->s);
    sv_shelf_close(&t->s);
    close(t->done_fd);
}

/* As a worker does: what is not wanted any more goes, then the load begins. */
static bool ask(struct shelf *t, struct sv_version v)
{
    bool there = sv_shelf_ask(t->s, v);
    sv_shelf_tidy(t->s, NULL);
    return there;
}

/* The load under way ends. */
static struct sv_load await_load(struct shelf *t)
{
    struct pollfd p = {.fd = t->done_fd, .events = POLLIN};
    struct sv_load load;
    uint64_t n;
    assert_int_equal(poll(&p, 1, LONG_MS), 1);
    assert_int_equal(read(t->done_fd, &n, sizeof n), sizeof n);
    assert_true(sv_shelf_take(t->s, &load));
    sv_shelf_tidy(t->s, NULL);
    return load;
}

static void load(struct shelf *t, int i)
{
    assert_false(ask(t, t->v[i]));
    assert_non_null(await_load(t).model);
    sv_shelf_tidy(t->s, NULL);
    assert_non_null(sv_shelf_find(t->s, t->v[i]));
}

static void test_keeps_what_is_wanted(void **state)
{
    struct shelf t;
    open_shelf(&t, *state, 0);
    load(&t, 1);
    sv_shelf_serve(t.s, t.v[1]);
    load(&t, 2); /* the candidate */
    assert_true(ask(&t, t.v[2]));
    assert_non_null(sv_shelf_find(t.s, t.v[1]));
    sv_shelf_serve(t.s, (struct sv_version){0}); /* a gateway that has just started */
    sv_shelf_tidy(t.s, NULL);
    assert_non_null(sv_shelf_find(t.s, t.v[1]));
    sv_shelf_serve(t.s, t.v[2]);
    sv_shelf_tidy(t.s, sv_shelf_find(t.s, t.v[1])); /* a batch still computes with it */
    assert_non_null(sv_shelf_find(t.s, t.v[1]));
    sv_shelf_tidy(t.s, NULL);
    assert_null(sv_shelf_find(t.s, t.v[1]));
    assert_non_null(sv_shelf_find(t.s, t.v[2]));
    close_shelf(&t);
}

static void test_loads_once(void **state)
{
    struct shelf t;
    struct sv_load end;
    open_shelf(&t, *state, 0);
    setenv("FLYWHEEL_INJECT", "serve.load=delay:100", 1);
    assert_false(ask(&t, t.v[1]));
    assert_false(ask(&t, t.v[1])); /* asked again while it loads */
    assert_non_null(await_load(&t).model);
    assert_false(sv_shelf_is_loading(t.s));
    assert_false(sv_shelf_take(t.s, &end));
    /* The last wish counts: 3, not 2, follows when the present load ends. */
    setenv("FLYWHEEL_INJECT", "serve.load=delay:101", 1);
    assert_false(ask(&t, t.v[3]));
    assert_false(ask(&t, t.v[2]));
    assert_false(ask(&t, t.v[3]));
    assert_int_equal(await_load(&t).version.number, 3);
    assert_false(sv_shelf_is_loading(t.s));
    close_shelf(&t);
}

static void test_same_number_other_bytes(void **state)
{
    struct shelf t;
    open_shelf(&t, *state, 0);
    load(&t, 1);
    struct sv_version forged = {1, t.v[1].hash + 1};
    assert_null(sv_shelf_find(t.s, forged));
    assert_false(ask(&t, forged));
    struct sv_load end = await_load(&t);
    assert_null(end.model);
    assert_false(end.passing);
    assert_non_null(strstr(end.reason, "manifest"));
    close_shelf(&t);
}

static void test_tries_again(void **state)
{
    struct shelf t;
    open_shelf(&t, *state, LONG_MS);
    setenv("FLYWHEEL_INJECT", "serve.load=eio@1,serve.load=eio@2", 1);
    assert_false(ask(&t, t.v[1]));
    assert_non_null(await_load(&t).model);
    /* A verdict is none to wait for. */
    assert_false(ask(&t, (struct sv_version){2, 1}));
    assert_false(await_load(&t).passing);
    /* At the end nobody waits either. */
    setenv("FLYWHEEL_INJECT", "serve.load=eio@*", 1);
    assert_false(ask(&t, t.v[3]));
    sv_shelf_end(t.s);
    assert_true(await_load(&t).passing);
    assert_false(ask(&t, t.v[2]));
    assert_false(sv_shelf_is_loading(t.s));
    close_shelf(&t);
}

static void test_says_that_it_could_not_read(void **state)
{
    struct shelf t;
    open_shelf(&t, *state, 0);
    assert_false(ask(&t, (struct sv_version){99, 0}));
    struct sv_load end = await_load(&t);
    assert_null(end.model);
    assert_true(end.passing);
    assert_non_null(strstr(end.reason, "99"));
    assert_true(sv_load_is_passing(CM_EIO) && sv_load_is_passing(CM_ENOMEM));
    assert_false(sv_load_is_passing(CM_ECORRUPT) || sv_load_is_passing(CM_OK));
    close_shelf(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keeps_what_is_wanted, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_loads_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_same_number_other_bytes, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_tries_again, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_says_that_it_could_not_read, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
