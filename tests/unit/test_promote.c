/* Whether a batch was decided before a crash: by the version that it made and that the alias has
 * named. */
#include <sys/stat.h>

#include "online/promote.h"
#include "parameter/alias.h"
#include "tests/unit/store_fixture.h"

#define CHAMPION 1
#define HASH     UINT64_C(0x0123456789abcdef)

struct world {
    struct fixture *files;
    struct ps_store *store;
    int64_t made; /* of batch 45, which began from CHAMPION */
};

/* As the loop writes one: what tells whose it is lies in the manifest. */
static int64_t write_version(struct ps_store *store, const char *producer, int64_t batch)
{
    struct ps_draft *draft;
    struct ps_manifest m = {.parent = CHAMPION};
    snprintf(m.producer, sizeof m.producer, "%s", producer);
    char origin[128];
    snprintf(origin, sizeof origin, "batch %lld, log %016llx, config and build 0", (long long)batch,
             (unsigned long long)HASH);
    assert_ok(cm_strdup(&m.origin, origin));
    assert_ok(ps_draft_open(&draft, store));
    assert_ok(ps_draft_put_file(draft, "model.json", "{}", 2));
    assert_ok(ps_draft_commit(&draft, &m));
    int64_t version = m.version;
    ps_manifest_release(&m);
    return version;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *files = NULL;
    assert_int_equal(fixture_setup(&files), 0);
    w->files = files;
    assert_ok(ps_store_open_writer(&w->store, w->files->store, 'v', NULL));
    assert_int_equal(write_version(w->store, "train", 45), CHAMPION);
    w->made = write_version(w->store, "online", 45);
    write_version(w->store, "online", 46);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *files = w->files;
    ps_store_close(&w->store);
    free(w);
    return fixture_teardown(&files);
}

static void name_champion(struct world *w, int64_t version)
{
    assert_ok(ps_alias_set(NULL, w->files->store, PS_CHAMPION, PS_ANY, version, "online", ""));
}

static cm_status look(struct world *w, int64_t *decided, int64_t champion, uint64_t hash)
{
    struct ol_batch b = {.number = 45, .champion = champion, .hash = hash};
    return ol_promote_decided(decided, w->store, &b, PS_CHAMPION);
}

static int64_t decided(struct world *w)
{
    int64_t version;
    assert_ok(look(w, &version, CHAMPION, HASH));
    return version;
}

static void only_what_was_named_is_decided(void **state)
{
    struct world *w = *state;
    int64_t other;
    assert_int_equal(decided(w), 0); /* no alias at all */
    name_champion(w, CHAMPION);
    assert_int_equal(decided(w), 0); /* published, and no more */
    name_champion(w, w->made);
    assert_int_equal(decided(w), w->made);
    name_champion(w, CHAMPION); /* a person went back: decided all the same */
    assert_int_equal(decided(w), w->made);
    assert_ok(look(w, &other, CHAMPION, HASH + 1));
    assert_int_equal(other, 0); /* the log has other entries */
    assert_ok(look(w, &other, CHAMPION + 1, HASH));
    assert_int_equal(other, 0);
}

static void manifest_of(const struct world *w, char path[CM_PATH])
{
    char name[PS_VERSION_TEXT];
    ps_store_name(w->store, name, w->made);
    snprintf(path, CM_PATH, "%s/%s/manifest.json", w->files->store, name);
}

static void a_damaged_version_is_none(void **state)
{
    struct world *w = *state;
    char path[CM_PATH];
    name_champion(w, w->made);
    manifest_of(w, path);
    fixture_flip(path, 40, 2);
    assert_int_equal(decided(w), 0);
}

/* One that cannot be read now may be the batch's: to train it again would count its entries twice.
 */
static void what_cannot_be_read_decides_nothing(void **state)
{
    struct world *w = *state;
    char path[CM_PATH];
    int64_t version;
    name_champion(w, w->made);
    manifest_of(w, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_fails(look(w, &version, CHAMPION, HASH), CM_EIO);
    assert_says("manifest.json");
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(only_what_was_named_is_decided),
        WORLD(a_damaged_version_is_none),
        WORLD(what_cannot_be_read_decides_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
