#include "online/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/store.h"

#define LOG_NBYTES ((size_t)16 << 30) /* a larger one was not written by us */

cm_status ol_journal_open(struct ol_journal *j, const char *dir, const struct nn_spec *spec,
                          const struct ps_lease *lease)
{
    *j = (struct ol_journal){.spec = spec, .lease = lease};
    CM_TRY(cm_path_join(j->dir, dir, "log"));
    CM_TRY(cm_dir_make(j->dir));
    return ol_journal_clean(j, 0);
}

/* Labels are numbers of classes: with other names they mean something else. */
static cm_status hash_classes(uint64_t *out, const struct nn_spec *spec)
{
    struct cm_xxh *h;
    CM_TRY(cm_xxh_open(&h));
    for (int c = 0; c < spec->nclasses; c++)
        cm_xxh_update(h, spec->classes[c], strlen(spec->classes[c]) + 1);
    *out = cm_xxh_digest(h);
    cm_xxh_close(&h);
    return CM_OK;
}

static cm_status check_batch(const struct ol_journal *j, const struct ol_batch *b, int64_t number)
{
    struct nn_shape in = j->spec->input;
    uint64_t classes;
    CM_TRY(hash_classes(&classes, j->spec));
    if (b->number != number)
        return CM_FAIL(CM_EMISMATCH, "this is batch %" PRId64, b->number);
    if (b->shape.h != in.h || b->shape.w != in.w || b->shape.c != in.c)
        return CM_FAIL(CM_EMISMATCH, "its images are %d x %d x %d, the network's %d x %d x %d",
                       b->shape.h, b->shape.w, b->shape.c, in.h, in.w, in.c);
    if (b->classes && b->classes != classes)
        return CM_FAIL(CM_EMISMATCH, "its labels are of other classes than the network's");
    for (size_t i = 0; i < b->nimages; i++)
        if (b->labels[i] < 0 || b->labels[i] >= j->spec->nclasses)
            return CM_FAIL(CM_EMISMATCH, "a label of %d for %d classes", (int)b->labels[i],
                           j->spec->nclasses);
    return CM_OK;
}

cm_status ol_journal_read(const struct ol_journal *j, char **bytes, size_t *n, int64_t number)
{
    char path[CM_PATH];
    CM_TRY(ol_batch_path(path, j->dir, number));
    return cm_file_read(bytes, n, path, LOG_NBYTES);
}

cm_status ol_journal_recover(const struct ol_journal *j, struct ol_batch *b, int64_t number,
                             bool *there)
{
    char path[CM_PATH], *bytes;
    size_t n;
    *there = false;
    CM_TRY(ol_batch_path(path, j->dir, number));
    cm_status st = ol_journal_read(j, &bytes, &n, number);
    if (st == CM_ENOTFOUND)
        return CM_OK;
    CM_TRY(st);
    st = ol_batch_parse(b, bytes, n, path);
    cm_free(&bytes);
    if (st == CM_OK) {
        st = check_batch(j, b, number);
        if (st != CM_OK) {
            st = CM_CONTEXT(st, "%s", path);
            ol_batch_release(b);
        }
    }
    *there = st == CM_OK;
    if (!ps_is_damage(st) && st != CM_EMISMATCH)
        return st;
    cm_error_report(CM_LOG_WARN, st, "reading the batch from Redis again");
    return CM_OK;
}

cm_status ol_journal_save(const struct ol_journal *j, struct ol_batch *b)
{
    char path[CM_PATH];
    CM_TRY(ol_batch_path(path, j->dir, b->number));
    CM_TRY(hash_classes(&b->classes, j->spec));
    CM_TRY(cm_fault("online.log"));
    CM_TRY(ps_lease_check(j->lease));
    CM_TRY(ol_batch_save(b, path));
    return cm_fault("online.logged");
}

/* The number of "b000045.safetensors", 0 of any other name; *half: it was never finished. */
static int64_t number_of(const char *name, bool *half)
{
    char canonical[CM_PATH];
    int64_t number = name[0] == 'b' ? strtoll(name + 1, NULL, 10) : 0;
    *half = false;
    if (number < 1 || ol_batch_path(canonical, "", number) != CM_OK)
        return 0;
    const char *whole = canonical + strspn(canonical, "/");
    size_t n = strlen(whole);
    *half = strncmp(name, whole, n) == 0 && strncmp(name + n, ".tmp-", 5) == 0;
    return *half || strcmp(name, whole) == 0 ? number : 0;
}

cm_status ol_journal_clean(const struct ol_journal *j, int64_t last)
{
    char **names, path[CM_PATH];
    size_t n;
    CM_TRY(cm_dir_list(&names, &n, j->dir));
    cm_status st = CM_OK;
    for (size_t i = 0; i < n && st == CM_OK; i++) {
        bool half;
        int64_t number = number_of(names[i], &half);
        if (number == 0 || (!half && number > last))
            continue;
        st = cm_path_join(path, j->dir, names[i]);
        if (st == CM_OK && unlink(path) != 0)
            st = CM_FAIL_ERRNO("%s", path);
    }
    cm_dir_list_free(&names, n);
    return st;
}
