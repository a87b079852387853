/* Reading a version: nothing is used that was not checked. A manifest proves itself by its seal, a
 * file by size and hash in the manifest; of a file that does not fit the tensors' own hashes say
 * where. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "parameter/numbered.h"
#include "parameter/store_private.h"

struct ps_version {
    char dir[CM_PATH];
    struct ps_manifest manifest;
};

static cm_status check_sizes(const struct ps_version *v)
{
    for (size_t i = 0; i < v->manifest.nfiles; i++) {
        const struct ps_file *f = &v->manifest.files[i];
        char path[CM_PATH];
        uint64_t nbytes;
        CM_TRY(cm_path_join(path, v->dir, f->name));
        cm_status st = cm_file_size(&nbytes, path);
        if (st == CM_ENOTFOUND)
            return CM_FAIL(CM_ECORRUPT, "%s is missing", path);
        CM_TRY(st);
        if (nbytes != f->nbytes)
            return CM_FAIL(CM_ECORRUPT, "%s: %" PRIu64 " bytes, the manifest says %" PRIu64, path,
                           nbytes, f->nbytes);
    }
    return CM_OK;
}

static cm_status load(struct ps_version *v, int64_t version)
{
    char path[CM_PATH];
    CM_TRY(cm_path_join(path, v->dir, PS_MANIFEST_FILE));
    cm_status st = ps_manifest_load(&v->manifest, path);
    if (st == CM_ENOTFOUND && cm_path_is_dir(v->dir))
        return CM_FAIL(CM_ECORRUPT, "%s is missing", path);
    if (st == CM_ENOTFOUND) /* and no other fault, which may pass: readers do not walk past those */
        return CM_FAIL(CM_ENOTFOUND, "%s: there is no such version", v->dir);
    CM_TRY(st);
    if (v->manifest.version != version)
        return CM_FAIL(CM_ECORRUPT, "%s is of version %" PRId64 " (copied or renamed by hand?)",
                       path, v->manifest.version);
    return check_sizes(v);
}

cm_status ps_version_open(struct ps_version **out, const struct ps_store *s, int64_t version)
{
    struct ps_version *v = NULL;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&v, 1, sizeof *v, "version"));
    CM_GOTO(st, ps_store_path(s, v->dir, version), out);
    CM_GOTO(st, load(v, version), out);
    *out = v;
    v = NULL;
out:
    ps_version_close(&v);
    return st;
}

void ps_version_close(struct ps_version **v)
{
    if (!*v)
        return;
    ps_manifest_release(&(*v)->manifest);
    cm_free(v);
}

const struct ps_manifest *ps_version_manifest(const struct ps_version *v)
{
    return &v->manifest;
}

int64_t ps_version_number(const struct ps_version *v)
{
    return v->manifest.version;
}

const char *ps_version_dir(const struct ps_version *v)
{
    return v->dir;
}

/* ---- contents ---- */

static cm_status find_file(const struct ps_version *v, const char *file, char path[CM_PATH],
                           const struct ps_file **entry)
{
    *entry = ps_manifest_file(&v->manifest, file);
    if (!*entry)
        return CM_FAIL(CM_ENOTFOUND, "%s has no file %s", v->dir, file);
    return cm_path_join(path, v->dir, file);
}

static cm_status check_bytes(const struct ps_file *entry, const char *path, const void *bytes,
                             size_t nbytes)
{
    uint64_t hash = cm_xxh64(bytes, nbytes);
    if (nbytes == entry->nbytes && hash == entry->hash)
        return CM_OK;
    char have[CM_XXH_TEXT], want[CM_XXH_TEXT];
    cm_xxh_format(have, hash);
    cm_xxh_format(want, entry->hash);
    return CM_FAIL(CM_ECORRUPT,
                   "%s: %zu bytes with hash %s, the manifest says %" PRIu64 " with %s: damaged",
                   path, nbytes, have, entry->nbytes, want);
}

/* The first tensor of a damaged file that is not what was written; NULL when it is the header. */
static const struct ps_tensor *damaged_tensor(const struct ps_version *v, const char *file,
                                              const struct ps_tensors *set)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct ps_check *c = ps_manifest_check(&v->manifest, file, set->t[i].name);
        if (!c || c->hash != cm_xxh64(set->t[i].data, set->t[i].nbytes))
            return &set->t[i];
    }
    return NULL;
}

cm_status ps_version_map(struct ps_tensor_file **out, const struct ps_version *v, const char *file)
{
    struct ps_tensor_file *f = NULL;
    const struct ps_file *entry;
    char path[CM_PATH];
    size_t nbytes;
    *out = NULL;
    CM_TRY(find_file(v, file, path, &entry));
    cm_status st = ps_tensor_file_open(&f, path);
    if (st == CM_EFORMAT) /* it was well formed when its hash was taken */
        return CM_CONTEXT(CM_ECORRUPT, "damaged");
    CM_TRY(st);
    const void *bytes = ps_tensor_file_bytes(f, &nbytes);
    st = check_bytes(entry, path, bytes, nbytes);
    if (st != CM_OK) {
        const struct ps_tensor *t = damaged_tensor(v, file, ps_tensor_file_set(f));
        if (t)
            st = CM_CONTEXT(st, "tensor %s", t->name);
        ps_tensor_file_close(&f);
        return st;
    }
    *out = f;
    return CM_OK;
}

cm_status ps_version_read(char **data, size_t *n, const struct ps_version *v, const char *file,
                          size_t max_nbytes)
{
    const struct ps_file *entry;
    char path[CM_PATH];
    *data = NULL;
    CM_TRY(find_file(v, file, path, &entry));
    CM_TRY(cm_file_read(data, n, path, max_nbytes));
    cm_status st = check_bytes(entry, path, *data, *n);
    if (st != CM_OK)
        cm_free(data);
    return st;
}

static bool holds_tensors(const struct ps_version *v, const char *file)
{
    for (size_t i = 0; i < v->manifest.nchecks; i++)
        if (!strcmp(v->manifest.checks[i].file, file))
            return true;
    return false;
}

static cm_status verify_file(const struct ps_version *v, const struct ps_file *entry)
{
    char path[CM_PATH];
    const void *bytes = NULL;
    size_t nbytes;
    if (holds_tensors(v, entry->name)) {
        struct ps_tensor_file *f = NULL;
        CM_TRY(ps_version_map(&f, v, entry->name));
        ps_tensor_file_close(&f);
        return CM_OK;
    }
    CM_TRY(cm_path_join(path, v->dir, entry->name));
    CM_TRY(cm_file_map(&bytes, &nbytes, path));
    cm_status st = check_bytes(entry, path, bytes, nbytes);
    cm_file_unmap(&bytes, nbytes);
    return st;
}

cm_status ps_version_verify(const struct ps_version *v)
{
    for (size_t i = 0; i < v->manifest.nfiles; i++)
        CM_TRY(verify_file(v, &v->manifest.files[i]));
    return CM_OK;
}

/* ---- choosing ---- */

struct ranked {
    int64_t version, generation;
};

static int best_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->generation != y->generation)
        return x->generation < y->generation ? 1 : -1;
    return (x->version < y->version) - (x->version > y->version);
}

/* One that does not even open might be the best of all, so it is tried first, and warned about. */
static cm_status rank(struct ranked **out, size_t *n, const struct ps_store *s)
{
    int64_t *numbers = NULL;
    CM_TRY(ps_store_list(s, &numbers, n));
    cm_status st = cm_alloc(out, *n, sizeof **out, "ranking of versions");
    for (size_t i = 0; st == CM_OK && i < *n; i++) {
        struct ps_version *v = NULL;
        bool opens = ps_version_open(&v, s, numbers[i]) == CM_OK;
        (*out)[i] = (struct ranked){numbers[i], opens ? v->manifest.generation : INT64_MAX};
        ps_version_close(&v);
    }
    if (st == CM_OK)
        qsort(*out, *n, sizeof **out, best_first);
    cm_free(&numbers);
    return st;
}

static cm_status open_verified(struct ps_version **out, const struct ps_store *s, int64_t version)
{
    CM_TRY(ps_version_open(out, s, version));
    cm_status st = ps_version_verify(*out);
    if (st != CM_OK)
        ps_version_close(out);
    return st;
}

cm_status ps_version_open_newest(struct ps_version **out, const struct ps_store *s)
{
    struct ranked *order = NULL;
    size_t n;
    *out = NULL;
    CM_TRY(rank(&order, &n, s));
    cm_status st =
        n == 0 ? CM_FAIL(CM_ENOTFOUND, "%s: there is no version yet", s->dir) : CM_ECORRUPT;
    for (size_t i = 0; i < n; i++) {
        cm_status one = open_verified(out, s, order[i].version);
        /* Removed meanwhile, or damaged: the one before may do. Anything else may pass, or wants a
         * newer build: going back would lose what was done since. */
        if (one != CM_ENOTFOUND && !ps_is_damage(one)) {
            st = one;
            break;
        }
        cm_error_report(CM_LOG_WARN, one, "version skipped, walking back");
    }
    if (n > 0 && st == CM_ECORRUPT)
        st =
            CM_FAIL(CM_ECORRUPT, "%s: none of %zu versions is valid (see the warnings)", s->dir, n);
    cm_free(&order);
    return st;
}

cm_status ps_version_open_ref(struct ps_version **out, const struct ps_store *s, const char *ref)
{
    *out = NULL;
    if (!strcmp(ref, PS_LATEST_FILE))
        return ps_version_open_newest(out, s);
    const char *number = ref + (ref[0] == s->stem[0]);
    size_t digits = strspn(number, "0123456789");
    if (digits > 0 && digits <= 15 && number[digits] == '\0')
        return ps_version_open(out, s, strtoll(number, NULL, 10));
    struct ps_alias alias;
    CM_TRY(ps_alias_get(&alias, s->dir, ref));
    return ps_version_open(out, s, alias.version);
}
