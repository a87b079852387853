/* Writing a version. The fault points, in the order of a commit: store.tensors, store.file,
 * store.manifest, store.rename, store.latest (and those of common/file.h inside each). Killed
 * before the rename there is nothing but a folder that readers do not look at; killed after it
 * everything is there. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/numbered.h"
#include "parameter/store_private.h"

#define TRIES 64 /* each is lost to a writer without the lease */

struct ps_draft {
    const struct ps_store *store;
    char dir[CM_PATH];
    struct ps_manifest content; /* files and checks so far */
};

/* A writer that was fenced off fails in odd ways, because its folder is gone: say why. */
static cm_status explain(const struct ps_draft *d, cm_status st)
{
    struct cm_error odd;
    if (st != CM_ENOTFOUND || !d->store->lease)
        return st;
    cm_error_save(&odd);
    if (ps_lease_check(d->store->lease) == CM_EFENCED)
        return CM_EFENCED;
    cm_error_restore(&odd);
    return st;
}

cm_status ps_draft_open(struct ps_draft **out, struct ps_store *s)
{
    struct ps_draft *d = NULL;
    char uuid[CM_UUID_TEXT], name[PS_NUMBERED];
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&d, 1, sizeof *d, "draft of a version"));
    d->store = s;
    cm_uuid_format(uuid, cm_uuid_make());
    snprintf(name, sizeof name, PS_DRAFT_STEM "%06" PRId64 "-%s",
             s->lease ? ps_lease_generation(s->lease) : 0, uuid);
    CM_GOTO(st, cm_path_join(d->dir, s->dir, name), out);
    CM_GOTO(st, cm_dir_make_new(d->dir), out);
    *out = d;
    return CM_OK;
out:
    cm_free(&d);
    return st;
}

/* Path of a new file of the draft, and room for its entry. */
static cm_status add_file(struct ps_draft *d, const char *file, char path[CM_PATH])
{
    struct ps_manifest *c = &d->content;
    if (!ps_manifest_plain_name(file) || !strcmp(file, PS_MANIFEST_FILE))
        return CM_FAIL(CM_EINVAL, "'%s' cannot be a file of a version", file);
    if (ps_manifest_file(c, file))
        return CM_FAIL(CM_EEXIST, "%s/%s is there already", d->dir, file);
    CM_TRY(cm_path_join(path, d->dir, file));
    return cm_realloc(&c->files, c->nfiles + 1, sizeof *c->files, "files of a version");
}

static void note_file(struct ps_draft *d, const char *file, uint64_t nbytes, uint64_t hash)
{
    struct ps_file *f = &d->content.files[d->content.nfiles++];
    *f = (struct ps_file){.nbytes = nbytes, .hash = hash};
    snprintf(f->name, sizeof f->name, "%s", file);
}

static cm_status note_tensors(struct ps_draft *d, const char *file, const struct ps_tensors *set)
{
    struct ps_manifest *c = &d->content;
    CM_TRY(cm_realloc(&c->checks, c->nchecks + set->n, sizeof *c->checks, "tensors of a version"));
    for (size_t i = 0; i < set->n; i++) {
        const struct ps_tensor *t = &set->t[i];
        double abs_max = ps_tensor_abs_max(t);
        struct ps_check check = {
            .hash = cm_xxh64(t->data, t->nbytes),
            .abs_max = isfinite(abs_max) ? abs_max : (double)NAN,
        };
        CM_TRY(cm_strdup(&check.file, file));
        cm_status st = cm_strdup(&check.name, t->name);
        if (st != CM_OK) {
            cm_free(&check.file);
            return st;
        }
        c->checks[c->nchecks++] = check;
    }
    return CM_OK;
}

cm_status ps_draft_put_tensors(struct ps_draft *d, const char *file, const struct ps_tensors *set)
{
    char path[CM_PATH];
    uint64_t nbytes, hash;
    CM_TRY(add_file(d, file, path));
    CM_TRY(cm_fault("store.tensors"));
    cm_status st = ps_tensor_file_save(path, set, &nbytes, &hash);
    if (st != CM_OK)
        return explain(d, st);
    note_file(d, file, nbytes, hash);
    return note_tensors(d, file, set);
}

cm_status ps_draft_put_file(struct ps_draft *d, const char *file, const void *data, size_t nbytes)
{
    char path[CM_PATH];
    CM_TRY(add_file(d, file, path));
    CM_TRY(cm_fault("store.file"));
    cm_status st = cm_file_replace(path, data, nbytes);
    if (st != CM_OK)
        return explain(d, st);
    note_file(d, file, nbytes, cm_xxh64(data, nbytes));
    return CM_OK;
}

/* What the draft knows moves into the manifest that its writer filled. */
static void take_content(struct ps_draft *d, struct ps_manifest *m)
{
    struct ps_manifest given = {
        .files = m->files, .nfiles = m->nfiles, .checks = m->checks, .nchecks = m->nchecks};
    ps_manifest_release(&given);
    m->files = d->content.files;
    m->nfiles = d->content.nfiles;
    m->checks = d->content.checks;
    m->nchecks = d->content.nchecks;
    d->content = (struct ps_manifest){0};
    m->generation = d->store->lease ? ps_lease_generation(d->store->lease) : 0;
    m->created_utc_s = cm_utc_now();
}

/* One try with the next free number. CM_EEXIST: another writer took it. */
static cm_status publish(struct ps_draft *d, struct ps_manifest *m)
{
    const struct ps_store *s = d->store;
    char path[CM_PATH], to[CM_PATH];
    char *text = NULL;
    size_t n;
    CM_TRY(ps_numbered_highest(&m->version, s->dir, s->stem));
    m->version++;
    CM_TRY(ps_store_path(s, to, m->version));
    CM_TRY(cm_path_join(path, d->dir, PS_MANIFEST_FILE));
    CM_TRY(ps_manifest_write(m, &text, &n));
    cm_status st = cm_fault("store.manifest");
    if (st == CM_OK)
        st = cm_file_replace(path, text, n);
    cm_free(&text);
    CM_TRY(st);
    CM_TRY(cm_fault("store.rename"));
    if (s->lease)
        CM_TRY(ps_lease_check(s->lease));
    return cm_dir_rename(d->dir, to);
}

/* Only a hint, so its failure does not undo a version that is there. */
static void point_latest(const struct ps_store *s, int64_t version)
{
    char path[CM_PATH], name[PS_VERSION_TEXT], text[PS_VERSION_TEXT + 1];
    ps_store_name(s, name, version);
    snprintf(text, sizeof text, "%s\n", name);
    cm_status st = cm_path_join(path, s->dir, PS_LATEST_FILE);
    if (st == CM_OK)
        st = cm_fault("store.latest");
    if (st == CM_OK)
        st = cm_file_replace(path, text, strlen(text));
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "the version is written, the hint 'latest' is not");
}

cm_status ps_draft_commit(struct ps_draft **draft, struct ps_manifest *m)
{
    struct ps_draft *d = *draft;
    take_content(d, m);
    cm_status st = CM_EEXIST;
    for (int i = 0; i < TRIES && st == CM_EEXIST; i++)
        st = publish(d, m);
    if (st == CM_OK)
        point_latest(d->store, m->version);
    else
        st = explain(d, st);
    ps_draft_close(draft);
    return st;
}

void ps_draft_close(struct ps_draft **draft)
{
    if (!*draft)
        return;
    struct ps_draft *d = *draft;
    struct cm_error record;
    cm_error_save(&record);
    /* After a commit the folder has another name, and a missing one is fine to remove. */
    if (cm_dir_remove(d->dir) != CM_OK)
        cm_log_warn("left behind: %s", cm_error_text());
    cm_error_restore(&record);
    ps_manifest_release(&d->content);
    cm_free(draft);
}
