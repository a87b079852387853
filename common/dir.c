/* Folders: made, renamed, listed and removed so that a crash leaves the old state or the new one.
 */
#include "common/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/rename.h"

#define WALK_FDS 32 /* folders that nftw keeps open at once */

/* The folder that holds path; "." for a bare name. */
static cm_status parent_of(char parent[CM_PATH], const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n >= CM_PATH)
        return CM_FAIL(CM_EINVAL, "path longer than %d bytes: %.60s…", CM_PATH - 1, path);
    snprintf(parent, CM_PATH, "%.*s", n ? (int)n : 1, n ? path : ".");
    return CM_OK;
}

cm_status cm_dir_sync(const char *path)
{
    cm_status st = cm_fault("dir.fsync");
    if (st != CM_OK)
        return CM_CONTEXT(st, "cannot fsync folder %s", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return CM_FAIL_ERRNO("cannot open folder %s", path);
    if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: a file system that has no such thing */
        st = CM_FAIL_ERRNO("cannot fsync folder %s", path);
    close(fd);
    return st;
}

cm_status cm_dir_sync_parent(const char *path)
{
    char parent[CM_PATH];
    CM_TRY(parent_of(parent, path));
    return cm_dir_sync(parent);
}

cm_status cm_dir_make_new(const char *path)
{
    if (mkdir(path, 0777) != 0)
        return CM_FAIL_ERRNO("cannot make folder %s", path);
    return cm_dir_sync_parent(path);
}

/* One level; made by somebody else meanwhile is fine (all ranks make the run directory). */
static cm_status make_level(const char *path)
{
    if (mkdir(path, 0777) == 0)
        return cm_dir_sync_parent(path);
    int err = errno;
    if ((err == EEXIST || err == EROFS || err == EACCES) && cm_path_is_dir(path))
        return CM_OK;
    errno = err; /* looking has set another */
    return CM_FAIL_ERRNO("cannot make folder %s", path);
}

cm_status cm_dir_make(const char *path)
{
    char level[CM_PATH];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof level)
        return CM_FAIL(CM_EINVAL, "cannot make folder '%.60s': its name has %zu bytes", path, n);
    if (cm_path_is_dir(path))
        return CM_OK;
    memcpy(level, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (level[i] != '/' || level[i - 1] == '/')
            continue;
        level[i] = '\0';
        CM_TRY(make_level(level));
        level[i] = '/';
    }
    return make_level(level);
}

cm_status cm_dir_make_for(const char *file)
{
    char dir[CM_PATH];
    CM_TRY(parent_of(dir, file));
    return cm_dir_make(dir);
}

cm_status cm_dir_rename(const char *from, const char *to)
{
    cm_status st = cm_fault("dir.rename");
    if (st != CM_OK)
        return CM_CONTEXT(st, "cannot rename %s to %s", from, to);
    errno = cm_rename(from, to, false);
    if (errno != 0)
        return CM_FAIL_ERRNO("cannot rename %s to %s", from, to);
    return cm_dir_sync_parent(to);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)where;
    int gone = kind == FTW_DP ? rmdir(path) : unlink(path);
    return gone == 0 || errno == ENOENT ? 0 : -1;
}

cm_status cm_dir_remove(const char *path)
{
    if (nftw(path, remove_entry, WALK_FDS, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return CM_FAIL_ERRNO("cannot remove %s", path);
    return CM_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static cm_status read_names(DIR *dir, const char *path, char ***names, size_t *n)
{
    size_t capacity = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry && errno != 0)
            return CM_FAIL_ERRNO("cannot list %s", path);
        if (!entry)
            return CM_OK;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (*n == capacity) {
            capacity = 2 * capacity + 16;
            CM_TRY(cm_realloc(names, capacity, sizeof **names, "a folder's names"));
        }
        CM_TRY(cm_strdup(&(*names)[*n], entry->d_name));
        (*n)++;
    }
}

cm_status cm_dir_list(char ***names, size_t *n, const char *path)
{
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return CM_FAIL_ERRNO("cannot list %s", path);
    cm_status st = read_names(dir, path, names, n);
    closedir(dir);
    if (st != CM_OK) {
        cm_dir_list_free(names, *n);
        *n = 0;
    } else if (*n > 0) {
        qsort(*names, *n, sizeof **names, compare_names);
    }
    return st;
}

void cm_dir_list_free(char ***names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cm_free(&(*names)[i]);
    cm_free(names);
}
