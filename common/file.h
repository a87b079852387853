/* Durable files. Every failure names the path; a full disk is CM_ENOSPC, a missing file
 * CM_ENOTFOUND. close() is checked (NFS reports there), a failed fsync is never retried. */
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define CM_PATH 4096

/* dst = a "/" b, or a alone when b is "". CM_EINVAL when longer than CM_PATH - 1. */
CM_MUST_CHECK cm_status cm_path_join(char dst[CM_PATH], const char *a, const char *b);

/* The whole file into memory from cm_alloc, NUL-terminated beyond *n. CM_EFORMAT when larger than
 * max_nbytes. */
CM_MUST_CHECK cm_status cm_file_read(char **data, size_t *n, const char *path, size_t max_nbytes);

/* Read-only and private. Not for files that others truncate in place. Release: cm_file_unmap. */
CM_MUST_CHECK cm_status cm_file_map(const void **data, size_t *n, const char *path);
void cm_file_unmap(const void **data, size_t n);

/* A file being written: temporary name beside path, fsync'd, renamed onto path by commit. One
 * thread at a time. */
struct cm_writer;
CM_MUST_CHECK cm_status cm_writer_open(struct cm_writer **out, const char *path);
CM_MUST_CHECK cm_status cm_writer_put(struct cm_writer *w, const void *data, size_t nbytes);
/* XXH3-64 and number of all bytes put so far. */
uint64_t cm_writer_hash(const struct cm_writer *w);
uint64_t cm_writer_nbytes(const struct cm_writer *w);
/* fsync, close, rename, fsync of the folder; then as cm_writer_close. */
CM_MUST_CHECK cm_status cm_writer_commit(struct cm_writer **w);
/* Without commit: the temporary file is removed and path is as it was. NULL is fine. */
void cm_writer_close(struct cm_writer **w);

/* Replaces path durably and atomically by these bytes. */
CM_MUST_CHECK cm_status cm_file_replace(const char *path, const void *data, size_t nbytes);

/* mkdir -p; existing is fine. New folders are made durable, as all that follows. */
CM_MUST_CHECK cm_status cm_dir_make(const char *path);
/* The same for the folder of a file. */
CM_MUST_CHECK cm_status cm_dir_make_for(const char *file);
/* One level; CM_EEXIST when it is there. */
CM_MUST_CHECK cm_status cm_dir_make_new(const char *path);
/* fsync of the folder itself; of the folder that holds path. */
CM_MUST_CHECK cm_status cm_dir_sync(const char *path);
CM_MUST_CHECK cm_status cm_dir_sync_parent(const char *path);
/* CM_EEXIST when to is there, also as an empty folder. */
CM_MUST_CHECK cm_status cm_dir_rename(const char *from, const char *to);
/* With its files and folders; missing is fine. Links are removed, not followed. */
CM_MUST_CHECK cm_status cm_dir_remove(const char *path);
/* Names (not "." and ".."), sorted bytewise, each from cm_alloc as the list is. */
CM_MUST_CHECK cm_status cm_dir_list(char ***names, size_t *n, const char *path);
void cm_dir_list_free(char ***names, size_t n);

bool cm_path_exists(const char *path);
bool cm_path_is_dir(const char *path);
CM_MUST_CHECK cm_status cm_file_size(uint64_t *nbytes, const char *path);
/* Bytes that an unprivileged writer may still use on path's file system. */
CM_MUST_CHECK cm_status cm_disk_free(uint64_t *nbytes, const char *path);

/* Fault points: cm_fault("store.rename") does nothing unless FLYWHEEL_INJECT names it, as a
 * comma-separated list of POINT=kill | POINT=stop | POINT=enospc | POINT=eio | POINT=delay:MS |
 * POINT=hold, each optionally @N for the N-th passage (1 = first, default) or @* for every one.
 * kill: SIGKILL to oneself; stop: SIGSTOP; enospc, eio: returns CM_ENOSPC, CM_EIO; delay: sleeps,
 * as a slow disk does; hold: the same, for as long as the file $FLYWHEEL_HOLD is there. The durable
 * calls above pass "file.write", "file.fsync", "file.rename", "dir.rename", "dir.fsync" by
 * themselves. */
CM_MUST_CHECK cm_status cm_fault(const char *point);

#endif
