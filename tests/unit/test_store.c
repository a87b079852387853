/* Versions: written, read, damaged, killed half way, fenced off, removed. */
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/unit/store_fixture.h"

#include "parameter/alias.h"

static struct ps_store *open_writer(struct fixture *f)
{
    struct ps_store *s = NULL;
    assert_ok(ps_store_open_writer(&s, f->store, 'v', NULL));
    return s;
}

static void file_of(char path[CM_PATH], const struct fixture *f, int64_t version, const char *file)
{
    snprintf(path, CM_PATH, "%s/v%06lld/%s", f->store, (long long)version, file);
}

static int64_t newest(const struct fixture *f)
{
    struct ps_store *s = NULL;
    struct ps_version *v = NULL;
    assert_ok(ps_store_open(&s, f->store, 'v'));
    int64_t version = ps_version_open_newest(&v, s) == CM_OK ? ps_version_number(v) : -1;
    ps_version_close(&v);
    ps_store_close(&s);
    return version;
}

/* Folders that a crash may leave; none after a clean commit. */
static int count_hidden(const struct fixture *f)
{
    char **names;
    size_t n;
    int hidden = 0;
    assert_ok(cm_dir_list(&names, &n, f->store));
    for (size_t i = 0; i < n; i++)
        hidden += names[i][0] == '.';
    cm_dir_list_free(&names, n);
    return hidden;
}

static void writes_and_reads(void **state)
{
    struct fixture *f = *state;
    struct ps_store *s = open_writer(f);
    struct ps_version *v = NULL;
    struct ps_tensor_file *t = NULL;
    char *text, path[CM_PATH];
    size_t n;
    int64_t version;
    assert_fails(ps_version_open_newest(&v, s), CM_ENOTFOUND);
    assert_ok(fixture_commit(s, 10, &version));
    assert_int_equal(version, 1);
    assert_ok(fixture_commit(s, 20, &version));
    assert_int_equal(version, 2);
    assert_int_equal(count_hidden(f), 0);

    assert_ok(ps_version_open_newest(&v, s));
    const struct ps_manifest *m = ps_version_manifest(v);
    assert_int_equal(m->step, 20);
    assert_int_equal(m->nfiles, 2);
    assert_true(ps_manifest_check(m, "model.safetensors", "w")->abs_max == 3.0);
    assert_ok(ps_version_map(&t, v, "model.safetensors"));
    const struct ps_tensor *w = ps_tensors_find(ps_tensor_file_set(t), "w");
    assert_memory_equal(w->data, fixture_weight, sizeof fixture_weight);
    ps_tensor_file_close(&t);
    assert_ok(ps_version_read(&text, &n, v, "model.json", 100));
    assert_string_equal(text, "{}");
    cm_free(&text);
    assert_fails(ps_version_map(&t, v, "state.safetensors"), CM_ENOTFOUND);
    ps_version_close(&v);

    assert_ok(cm_path_join(path, f->store, "latest"));
    assert_ok(cm_file_read(&text, &n, path, 100));
    assert_string_equal(text, "v000002\n");
    cm_free(&text);
    ps_store_close(&s);
}

static void finds_versions_by_reference(void **state)
{
    struct fixture *f = *state;
    struct ps_store *s = open_writer(f);
    for (int i = 0; i < 3; i++)
        assert_ok(fixture_commit(s, i, NULL));
    assert_ok(ps_alias_set(NULL, f->store, "champion", 0, 1, "test", ""));
    assert_ok(ps_alias_set(NULL, f->store, "champion", 1, 2, "test", ""));
    static const struct {
        const char *ref;
        int64_t version;
    } refs[] = {{"latest", 3}, {"v000002", 2},  {"v3", 3},
                {"1", 1},      {"champion", 2}, {"previous", 1}};
    for (size_t i = 0; i < sizeof refs / sizeof refs[0]; i++) {
        struct ps_version *v = NULL;
        assert_ok(ps_version_open_ref(&v, s, refs[i].ref));
        assert_int_equal(ps_version_number(v), refs[i].version);
        ps_version_close(&v);
    }
    struct ps_version *v = NULL;
    assert_fails(ps_version_open_ref(&v, s, "9"), CM_ENOTFOUND);
    assert_fails(ps_version_open_ref(&v, s, "nobody"), CM_ENOTFOUND);
    assert_fails(ps_version_open_ref(&v, s, "../v000001"), CM_EINVAL);
    assert_fails(ps_version_open_ref(&v, s, ""), CM_EINVAL);
    ps_store_close(&s);
}

static void drafts_refuse_bad_names(void **state)
{
    struct fixture *f = *state;
    struct ps_store *s = open_writer(f);
    struct ps_draft *d = NULL;
    assert_ok(ps_draft_open(&d, s));
    static const char *const bad[] = {"", ".x", "a/b", "../x", "manifest.json"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(ps_draft_put_file(d, bad[i], "", 0), CM_EINVAL);
    assert_ok(ps_draft_put_file(d, "empty", "", 0));
    assert_fails(ps_draft_put_file(d, "empty", "", 0), CM_EEXIST);
    ps_draft_close(&d);
    assert_int_equal(count_hidden(f), 0);
    ps_store_close(&s);
}

/* Each kind of damage to version 2: named, and version 1 is what a reader gets. */
static void walks_back(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *file;
        long flip; /* byte; negative from the end; 0: cut to nothing; 1: remove */
        const char *says;
    } damage[] = {
        {"manifest.json", 20, "checksum"},   {"manifest.json", 0, "cut off"},
        {"manifest.json", 1, "missing"},     {"model.safetensors", -1, "model.safetensors"},
        {"model.safetensors", 0, "0 bytes"}, {"model.safetensors", 1, "missing"},
        {"model.json", -1, "model.json"},
    };
    struct ps_store *s = open_writer(f);
    assert_ok(fixture_commit(s, 1, NULL));
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        int64_t version = 0;
        char path[CM_PATH];
        struct ps_version *v = NULL;
        assert_ok(fixture_commit(s, 2, &version));
        file_of(path, f, version, damage[i].file);
        if (damage[i].flip == 0)
            fixture_overwrite(path, "", 0);
        else if (damage[i].flip == 1)
            assert_int_equal(unlink(path), 0);
        else
            fixture_flip(path, damage[i].flip, 3);
        cm_status st = ps_version_open(&v, s, version);
        if (st == CM_OK)
            st = ps_version_verify(v);
        assert_int_equal(st, CM_ECORRUPT);
        assert_says(damage[i].says);
        ps_version_close(&v);
        assert_int_equal(newest(f), 1);
    }
    ps_store_close(&s);
}

static void names_the_damaged_tensor(void **state)
{
    struct fixture *f = *state;
    struct ps_store *s = open_writer(f);
    struct ps_version *v = NULL;
    struct ps_tensor_file *t = NULL;
    char path[CM_PATH];
    assert_ok(fixture_commit(s, 1, NULL));
    file_of(path, f, 1, "model.safetensors");
    fixture_flip(path, -1, 0); /* w is last: F32 after I64 */
    assert_ok(ps_version_open(&v, s, 1));
    assert_fails(ps_version_map(&t, v, "model.safetensors"), CM_ECORRUPT);
    assert_says("tensor w");
    ps_version_close(&v);
    assert_fails(ps_version_open_newest(&v, s), CM_ECORRUPT);
    assert_says("none of 1 versions is valid");
    ps_store_close(&s);
}

/* Every byte of every file of a version, flipped: found, or harmless because the file is not of the
 * version. */
static void finds_every_damaged_byte(void **state)
{
    struct fixture *f = *state;
    static const char *const files[] = {"manifest.json", "model.safetensors", "model.json"};
    struct ps_store *s = open_writer(f);
    assert_ok(fixture_commit(s, 1, NULL));
    for (size_t k = 0; k < sizeof files / sizeof files[0]; k++) {
        char path[CM_PATH];
        uint64_t n;
        file_of(path, f, 1, files[k]);
        assert_ok(cm_file_size(&n, path));
        for (long at = 0; at < (long)n; at++) {
            struct ps_version *v = NULL;
            fixture_flip(path, at, (int)(at % 8));
            cm_status st = ps_version_open(&v, s, 1);
            if (st == CM_OK)
                st = ps_version_verify(v);
            ps_version_close(&v);
            if (st != CM_ECORRUPT && st != CM_EVERSION)
                fail_msg("%s byte %ld: %s", files[k], at, cm_status_name(st));
            fixture_flip(path, at, (int)(at % 8));
        }
    }
    assert_int_equal(newest(f), 1);
    ps_store_close(&s);
}

static void a_renamed_version_is_refused(void **state)
{
    struct fixture *f = *state;
    struct ps_store *s = open_writer(f);
    struct ps_version *v = NULL;
    char from[CM_PATH], to[CM_PATH];
    assert_ok(fixture_commit(s, 1, NULL));
    snprintf(from, sizeof from, "%s/v000001", f->store);
    snprintf(to, sizeof to, "%s/v000005", f->store);
    assert_int_equal(rename(from, to), 0);
    assert_fails(ps_version_open(&v, s, 5), CM_ECORRUPT);
    assert_says("version 1");
    ps_store_close(&s);
}

/* A child is killed at the k-th passage of each point; readers find version 1 or a whole version 2,
 * and the next writer goes on. */
static void survives_kill_at_every_point(void **state)
{
    struct fixture *f = *state;
    static const char *const points[] = {
        "store.tensors", "store.file", "store.manifest", "store.rename", "dir.rename",
        "store.latest",  "file.write", "file.fsync",     "file.rename",  "dir.fsync"};
    struct ps_store *s = open_writer(f);
    int64_t expect = 1;
    assert_ok(fixture_commit(s, 1, NULL));
    int kills = 0;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        for (int passage = 1; passage < 20; passage++) {
            char inject[64];
            snprintf(inject, sizeof inject, "%s=kill@%d", points[i], passage);
            pid_t child = fork();
            if (child == 0) {
                setenv("FLYWHEEL_INJECT", inject, 1);
                _exit(fixture_commit(s, 2, NULL) == CM_OK ? 0 : 1);
            }
            int code = fixture_wait(child);
            int64_t found = newest(f);
            if (found != expect && found != expect + 1)
                fail_msg("%s: newest is %lld", inject, (long long)found);
            expect = found;
            if (code == 0)
                break; /* fewer passages than that */
            assert_int_equal(code, 128 + SIGKILL);
            kills++;
        }
    assert_in_range(kills, 15, 100);
    assert_ok(fixture_commit(s, 3, NULL));
    assert_int_equal(newest(f), expect + 1);
    ps_store_close(&s);
}

static void reports_faults_and_keeps_the_old(void **state)
{
    struct fixture *f = *state;
    static const char *const points[] = {"store.tensors", "store.file", "store.manifest",
                                         "store.rename",  "dir.rename", "file.write",
                                         "file.fsync",    "file.rename"};
    struct ps_store *s = open_writer(f);
    assert_ok(fixture_commit(s, 1, NULL));
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        char inject[64];
        snprintf(inject, sizeof inject, "%s=enospc", points[i]);
        setenv("FLYWHEEL_INJECT", inject, 1);
        assert_fails(fixture_commit(s, 2, NULL), CM_ENOSPC);
        assert_says("no space left");
        unsetenv("FLYWHEEL_INJECT");
        assert_int_equal(newest(f), 1);
        assert_int_equal(count_hidden(f), 0);
    }
    setenv("FLYWHEEL_INJECT", "store.latest=eio", 1);
    assert_ok(fixture_commit(s, 2, NULL)); /* the hint is only a hint */
    unsetenv("FLYWHEEL_INJECT");
    assert_int_equal(newest(f), 2);
    ps_store_close(&s);
}

/* A real full disk, where the test may mount one. */
static void survives_a_full_disk(void **state)
{
    struct fixture *f = *state;
    assert_ok(cm_dir_make(f->store));
    if (mount("tmpfs", f->store, "tmpfs", 0, "size=256k") != 0) {
        print_message("skipped: no right to mount a small disk\n");
        skip();
    }
    struct ps_store *s = open_writer(f);
    cm_status st = CM_OK;
    int64_t last = 0;
    while (st == CM_OK && last < 1000)
        st = fixture_commit(s, 1, &last);
    assert_int_equal(st, CM_ENOSPC);
    assert_says(f->store);
    assert_int_equal(newest(f), last);
    ps_store_close(&s);
    assert_int_equal(umount(f->store), 0);
}

/* The old owner is stopped on its way to the rename, at last behind its last check; the thief takes
 * over meanwhile, and publishes nothing itself, so that only the fence can be what stops the other.
 */
static void a_frozen_writer_cannot_publish(void **state)
{
    struct fixture *f = *state;
    static const char *const points[] = {"store.tensors", "store.rename", "dir.rename"};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct ps_lease *lease = NULL;
        struct ps_store *s = NULL;
        int status;
        pid_t child = fork();
        if (child == 0) {
            char inject[64];
            snprintf(inject, sizeof inject, "%s=stop", points[i]);
            if (ps_lease_acquire(&lease, f->dir, "", false) != CM_OK ||
                ps_store_open_writer(&s, f->store, 'v', lease) != CM_OK)
                _exit(99);
            setenv("FLYWHEEL_INJECT", inject, 1);
            _exit(fixture_commit(s, 666, NULL));
        }
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        assert_true(WIFSTOPPED(status));
        assert_fails(ps_lease_acquire(&lease, f->dir, "", false), CM_EBUSY);
        assert_ok(ps_lease_acquire(&lease, f->dir, "", true));
        assert_ok(ps_store_open_writer(&s, f->store, 'v', lease));
        assert_int_equal(kill(child, SIGCONT), 0);
        assert_int_equal(fixture_wait(child), CM_EFENCED);
        assert_int_equal(newest(f), i == 0 ? -1 : (int64_t)i);
        assert_ok(fixture_commit(s, 1, NULL));
        assert_int_equal(newest(f), i + 1);
        ps_store_close(&s);
        ps_lease_release(&lease);
    }
}

/* The other half of the fence: a draft made after the taker had cleaned up meets the check. */
static void a_fenced_writer_cannot_begin_again(void **state)
{
    struct fixture *f = *state;
    struct ps_lease *old = NULL, *thief = NULL;
    struct ps_store *a = NULL, *b = NULL;
    assert_ok(ps_lease_acquire(&old, f->dir, "", false));
    assert_ok(ps_store_open_writer(&a, f->store, 'v', old));
    assert_ok(fixture_commit(a, 1, NULL));
    assert_ok(ps_lease_acquire(&thief, f->dir, "", true));
    assert_ok(ps_store_open_writer(&b, f->store, 'v', thief));
    assert_fails(fixture_commit(a, 2, NULL), CM_EFENCED);
    assert_says("generation 2");
    assert_int_equal(newest(f), 1);
    assert_int_equal(count_hidden(f), 0);
    ps_store_close(&a);
    ps_store_close(&b);
    ps_lease_release(&old);
    ps_lease_release(&thief);
}

static void removes_by_the_rule(void **state)
{
    struct fixture *f = *state;
    struct ps_store *s = open_writer(f);
    struct ps_retention rule = {.keep_last = 2};
    struct ps_removed removed;
    char path[CM_PATH];
    for (int i = 0; i < 6; i++)
        assert_ok(fixture_commit(s, i, NULL));
    assert_ok(ps_alias_set(NULL, f->store, "champion", 0, 1, "test", ""));
    file_of(path, f, 3, "manifest.json");
    fixture_flip(path, 5, 0); /* broken and old: goes too */

    assert_ok(ps_store_gc(s, &rule, "", 1000, true, &removed));
    assert_int_equal(removed.n, 3);
    cm_free(&removed.version);
    assert_int_equal(count_hidden(f), 0);

    assert_ok(ps_store_gc(s, &rule, "", 1000, false, &removed));
    assert_int_equal(removed.n, 3);
    assert_int_equal(removed.version[0], 2);
    assert_int_equal(removed.version[1], 3);
    assert_int_equal(removed.version[2], 4);
    cm_free(&removed.version);
    assert_int_equal(count_hidden(f), 3); /* kept a while for readers */
    assert_ok(ps_store_gc(s, &rule, "", 0, false, &removed));
    assert_int_equal(removed.n, 0);
    cm_free(&removed.version);
    assert_int_equal(count_hidden(f), 0);
    ps_store_close(&s);
}

/* gc is stopped when it has looked, on its way to the first removal; meanwhile somebody names what
 * it will remove. The version comes back. */
static void an_alias_set_meanwhile_is_heeded(void **state)
{
    struct fixture *f = *state;
    const struct ps_retention rule = {.keep_last = 1};
    struct ps_store *s = open_writer(f);
    struct ps_removed removed;
    struct ps_version *v;
    int status;
    for (int i = 0; i < 6; i++)
        assert_ok(fixture_commit(s, i, NULL));
    pid_t child = fork();
    if (child == 0) {
        setenv("FLYWHEEL_INJECT", "store.gc=stop", 1);
        cm_status st = ps_store_gc(s, &rule, "", 0, false, &removed);
        _exit(st != CM_OK ? st : removed.n == 4 ? CM_OK : 99);
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    assert_ok(ps_alias_set(NULL, f->store, "pinned", 0, 2, "test", ""));
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(fixture_wait(child), CM_OK);
    assert_ok(ps_version_open_ref(&v, s, "pinned"));
    assert_ok(ps_version_verify(v));
    ps_version_close(&v);
    assert_fails(ps_version_open(&v, s, 3), CM_ENOTFOUND);
    assert_int_equal(count_hidden(f), 0);
    ps_store_close(&s);
}

/* The same, but gc is killed before it looks again: the next owner of the lease does it for it.
 * What nobody names stays in the trash. */
static void the_next_owner_ends_a_killed_gc(void **state)
{
    struct fixture *f = *state;
    const struct ps_retention rule = {.keep_last = 1};
    struct ps_lease *lease = NULL;
    struct ps_store *s = open_writer(f);
    struct ps_removed removed;
    struct ps_version *v;
    int status;
    for (int i = 0; i < 6; i++)
        assert_ok(fixture_commit(s, i, NULL));
    pid_t child = fork();
    if (child == 0) {
        setenv("FLYWHEEL_INJECT", "store.gc=stop,store.gc.hidden=kill", 1);
        _exit(ps_store_gc(s, &rule, "", 1000, false, &removed));
    }
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    assert_ok(ps_alias_set(NULL, f->store, "pinned", 0, 2, "test", ""));
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(fixture_wait(child), 128 + SIGKILL);
    ps_store_close(&s);
    assert_int_equal(count_hidden(f), 5);

    assert_ok(ps_lease_acquire(&lease, f->dir, "", false));
    assert_ok(ps_store_open_writer(&s, f->store, 'v', lease));
    assert_ok(ps_version_open_ref(&v, s, "pinned"));
    assert_ok(ps_version_verify(v));
    ps_version_close(&v);
    assert_fails(ps_version_open(&v, s, 3), CM_ENOTFOUND);
    assert_int_equal(count_hidden(f), 4);
    ps_store_close(&s);
    ps_lease_release(&lease);
}

/* What this build cannot judge is no damage: a version of a newer format stays. */
static void keeps_what_it_cannot_judge(void **state)
{
    struct fixture *f = *state;
    static const char newer[] = "{\"format\": \"2.0\"}\n";
    const struct ps_retention rule = {.keep_last = 1};
    struct ps_store *s = NULL;
    struct ps_removed removed;
    char path[CM_PATH];
    assert_ok(ps_store_open_writer(&s, f->store, 'v', NULL));
    for (int64_t i = 1; i <= 4; i++)
        assert_ok(fixture_commit(s, i, NULL));
    file_of(path, f, 1, "manifest.json");
    fixture_overwrite(path, newer, sizeof newer - 1);
    file_of(path, f, 2, "manifest.json");
    fixture_flip(path, 40, 0);
    assert_ok(ps_store_gc(s, &rule, "", 0, false, &removed));
    assert_int_equal(removed.n, 2); /* 2 is damaged, 3 is old; 1 was written by a newer build */
    assert_int_equal(removed.version[0], 2);
    assert_int_equal(removed.version[1], 3);
    cm_free(&removed.version);
    ps_store_close(&s);
}

/* Nor may a reader go back behind it: the run would lose what was done since. */
static void goes_back_from_damage_only(void **state)
{
    struct fixture *f = *state;
    static const char newer[] = "{\"format\": \"2.0\"}\n";
    struct ps_store *s = NULL;
    struct ps_version *v = NULL;
    char path[CM_PATH];
    assert_ok(ps_store_open_writer(&s, f->store, 'v', NULL));
    for (int64_t i = 1; i <= 3; i++)
        assert_ok(fixture_commit(s, i, NULL));
    file_of(path, f, 3, "manifest.json");
    fixture_overwrite(path, newer, sizeof newer - 1);
    assert_fails(ps_version_open_newest(&v, s), CM_EVERSION);
    assert_null(v);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* opens, and cannot be read: EISDIR */
    assert_fails(ps_version_open_newest(&v, s), CM_EIO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(newest(f), 2); /* missing: damaged */
    file_of(path, f, 2, "manifest.json");
    *strrchr(path, '/') = '\0';
    assert_ok(cm_dir_remove(path));
    assert_fails(ps_version_open(&v, s, 2), CM_ENOTFOUND);
    assert_says("v000002: there is no such version");
    assert_int_equal(symlink("v000002", path), 0); /* there, and cannot be looked at: ELOOP */
    assert_fails(ps_version_open_newest(&v, s), CM_EIO);
    ps_store_close(&s);
}

/* Two stores without a lease race for the same numbers: none is lost, none written twice. */
static void racing_commits_take_different_numbers(void **state)
{
    struct fixture *f = *state;
    struct ps_store *s = open_writer(f);
    pid_t child[4];
    for (int i = 0; i < 4; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            cm_status st = CM_OK;
            for (int k = 0; k < 5 && st == CM_OK; k++)
                st = fixture_commit(s, i, NULL);
            _exit(st);
        }
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(fixture_wait(child[i]), CM_OK);
    int64_t *list;
    size_t n;
    assert_ok(ps_store_list(s, &list, &n));
    assert_int_equal(n, 20);
    assert_int_equal(list[19], 20);
    cm_free(&list);
    ps_store_close(&s);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(writes_and_reads),
        WITH_FOLDER(finds_versions_by_reference),
        WITH_FOLDER(drafts_refuse_bad_names),
        WITH_FOLDER(walks_back),
        WITH_FOLDER(names_the_damaged_tensor),
        WITH_FOLDER(finds_every_damaged_byte),
        WITH_FOLDER(a_renamed_version_is_refused),
        WITH_FOLDER(survives_kill_at_every_point),
        WITH_FOLDER(reports_faults_and_keeps_the_old),
        WITH_FOLDER(survives_a_full_disk),
        WITH_FOLDER(a_frozen_writer_cannot_publish),
        WITH_FOLDER(a_fenced_writer_cannot_begin_again),
        WITH_FOLDER(removes_by_the_rule),
        WITH_FOLDER(an_alias_set_meanwhile_is_heeded),
        WITH_FOLDER(the_next_owner_ends_a_killed_gc),
        WITH_FOLDER(keeps_what_it_cannot_judge),
        WITH_FOLDER(goes_back_from_damage_only),
        WITH_FOLDER(racing_commits_take_different_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
