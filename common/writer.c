/* A file written beside its final place and renamed onto it: whoever reads path sees the old bytes
 * or the new ones.
 *
 *   open    path.tmp-PID-K, exclusively (K counts up past what a crash or a second writer left)
 *   put     buffered, hashed
 *   commit  write, fsync, close (checked), rename, fsync of the folder
 *
 * fsync comes before rename, or the name could survive a crash that the bytes do not. A failed
 * fsync is not tried again: the kernel may have dropped the pages and called them clean. */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/mem.h"
#include "common/rename.h"

#define BUFFER_NBYTES ((size_t)256 << 10)
#define TEMPS         1000 /* leftovers of one path that are skipped */

struct cm_writer {
    int fd; /* -1 once closed */
    char *path, *temp;
    struct cm_xxh *hash;
    uint64_t nbytes; /* put so far */
    char *buffer;
    size_t nbuffered;
};

/* Opens the first free temporary name. */
static cm_status open_temp(struct cm_writer *self)
{
    size_t size = strlen(self->path) + 40;
    CM_TRY(cm_alloc(&self->temp, size, 1, "a path"));
    for (int k = 0; k < TEMPS; k++) {
        snprintf(self->temp, size, "%s.tmp-%ld-%d", self->path, (long)getpid(), k);
        self->fd = open(self->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (self->fd >= 0)
            return CM_OK;
        if (errno != EEXIST)
            break;
    }
    cm_status st = CM_FAIL_ERRNO("cannot create %s", self->temp);
    cm_free(&self->temp); /* not ours to remove */
    return st;
}

cm_status cm_writer_open(struct cm_writer **out, const char *path)
{
    cm_status st;
    struct cm_writer *self = NULL;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "a writer"));
    self->fd = -1;
    CM_GOTO(st, cm_strdup(&self->path, path), out);
    CM_GOTO(st, cm_alloc(&self->buffer, BUFFER_NBYTES, 1, "a write buffer"), out);
    CM_GOTO(st, cm_xxh_open(&self->hash), out);
    CM_GOTO(st, open_temp(self), out);
    *out = self;
    self = NULL;
out:
    cm_writer_close(&self);
    return st;
}

static cm_status pass(const struct cm_writer *w, const char *fault_point)
{
    cm_status st = cm_fault(fault_point);
    return st == CM_OK ? CM_OK : CM_CONTEXT(st, "cannot write %s", w->path);
}

static cm_status write_all(const struct cm_writer *w, const char *data, size_t nbytes)
{
    while (nbytes > 0) {
        CM_TRY(pass(w, "file.write"));
        ssize_t n = write(w->fd, data, nbytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return CM_FAIL_ERRNO("cannot write %s", w->path);
        data += n;
        nbytes -= (size_t)n;
    }
    return CM_OK;
}

static cm_status flush(struct cm_writer *w)
{
    size_t n = w->nbuffered;
    w->nbuffered = 0;
    return write_all(w, w->buffer, n);
}

cm_status cm_writer_put(struct cm_writer *w, const void *data, size_t nbytes)
{
    if (nbytes == 0)
        return CM_OK;
    cm_xxh_update(w->hash, data, nbytes);
    w->nbytes += nbytes;
    if (nbytes > BUFFER_NBYTES - w->nbuffered)
        CM_TRY(flush(w));
    if (nbytes >= BUFFER_NBYTES)
        return write_all(w, data, nbytes);
    memcpy(w->buffer + w->nbuffered, data, nbytes);
    w->nbuffered += nbytes;
    return CM_OK;
}

uint64_t cm_writer_hash(const struct cm_writer *w)
{
    return cm_xxh_digest(w->hash);
}

uint64_t cm_writer_nbytes(const struct cm_writer *w)
{
    return w->nbytes;
}

static cm_status commit(struct cm_writer *w)
{
    CM_TRY(flush(w));
    CM_TRY(pass(w, "file.fsync"));
    if (fsync(w->fd) != 0)
        return CM_FAIL_ERRNO("cannot fsync %s", w->path);
    int closed = close(w->fd);
    w->fd = -1;
    if (closed != 0)
        return CM_FAIL_ERRNO("cannot close %s", w->path);
    CM_TRY(pass(w, "file.rename"));
    errno = cm_rename(w->temp, w->path, true);
    if (errno != 0)
        return CM_FAIL_ERRNO("cannot rename %s to %s", w->temp, w->path);
    cm_free(&w->temp);
    return cm_dir_sync_parent(w->path);
}

cm_status cm_writer_commit(struct cm_writer **w)
{
    cm_status st = commit(*w);
    cm_writer_close(w);
    return st;
}

void cm_writer_close(struct cm_writer **w)
{
    struct cm_writer *self = *w;
    if (!self)
        return;
    if (self->fd >= 0)
        close(self->fd);
    if (self->temp)
        (void)unlink(self->temp); /* a leftover is only garbage */
    cm_xxh_close(&self->hash);
    cm_free(&self->buffer);
    cm_free(&self->temp);
    cm_free(&self->path);
    cm_free(w);
}

cm_status cm_file_replace(const char *path, const void *data, size_t nbytes)
{
    struct cm_writer *w;
    CM_TRY(cm_writer_open(&w, path));
    cm_status st = cm_writer_put(w, data, nbytes);
    if (st == CM_OK)
        return cm_writer_commit(&w);
    cm_writer_close(&w);
    return st;
}
