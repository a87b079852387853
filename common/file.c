/* Reading files, and questions about paths. Writing is in writer.c, folders in dir.c. */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/mem.h"

cm_status cm_path_join(char dst[CM_PATH], const char *a, const char *b)
{
    int n = snprintf(dst, CM_PATH, "%s%s%s", a, *b ? "/" : "", b);
    if (n < 0 || n >= CM_PATH)
        return CM_FAIL(CM_EINVAL, "path longer than %d bytes: %.60s…/%.60s", CM_PATH - 1, a, b);
    return CM_OK;
}

/* Reads until the end: what fstat says is only the first guess (/proc says 0; a log may grow
 * meanwhile). */
static cm_status read_all(int fd, char **data, size_t *n, const char *path, size_t guess,
                          size_t max)
{
    size_t capacity = guess + 1;
    CM_TRY(cm_alloc(data, capacity, 1, path));
    *n = 0;
    for (;;) {
        ssize_t got = read(fd, *data + *n, capacity - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return CM_FAIL_ERRNO("cannot read %s", path);
        if (got == 0)
            break;
        *n += (size_t)got;
        if (*n > max)
            return CM_FAIL(CM_EFORMAT, "%s: larger than %zu bytes", path, max);
        if (*n == capacity) {
            capacity += capacity / 2 + 4096;
            CM_TRY(cm_realloc(data, capacity, 1, path));
        }
    }
    (*data)[*n] = '\0'; /* *n < capacity */
    return CM_OK;
}

/* In the place of a file it would be waited for for ever, for somebody to write into it. The pipe
 * that a shell hands over as /dev/fd/N has no place. */
static bool is_fifo_with_a_name(int fd, const struct stat *info)
{
    struct statfs fs;
    return S_ISFIFO(info->st_mode) && (fstatfs(fd, &fs) != 0 || fs.f_type != PIPEFS_MAGIC);
}

static cm_status open_read(int *fd, struct stat *info, const char *path)
{
    cm_status st = CM_OK;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return CM_FAIL_ERRNO("cannot open %s", path);
    if (fstat(*fd, info) != 0)
        st = CM_FAIL_ERRNO("cannot stat %s", path);
    else if (is_fifo_with_a_name(*fd, info))
        st = CM_FAIL(CM_EIO, "%s is no regular file", path);
    else if (!S_ISREG(info->st_mode) && fcntl(*fd, F_SETFL, 0) != 0)
        st = CM_FAIL_ERRNO("cannot read %s", path);
    if (st != CM_OK)
        close(*fd);
    return st;
}

cm_status cm_file_read(char **data, size_t *n, const char *path, size_t max_nbytes)
{
    int fd;
    struct stat info = {0};
    *data = NULL;
    *n = 0;
    CM_TRY(open_read(&fd, &info, path));
    cm_status st;
    if ((uint64_t)info.st_size > max_nbytes)
        st = CM_FAIL(CM_EFORMAT, "%s: %jd bytes, %zu at most", path, (intmax_t)info.st_size,
                     max_nbytes);
    else
        st = read_all(fd, data, n, path, (size_t)info.st_size, max_nbytes);
    close(fd);
    if (st != CM_OK) {
        cm_free(data);
        *n = 0;
    }
    return st;
}

cm_status cm_file_map(const void **data, size_t *n, const char *path)
{
    int fd;
    struct stat info = {0};
    *data = NULL;
    *n = 0;
    CM_TRY(open_read(&fd, &info, path));
    cm_status st = CM_OK;
    if (!S_ISREG(info.st_mode)) {
        st = CM_FAIL(CM_EIO, "%s is no regular file", path);
    } else if (info.st_size == 0) {
        *data = ""; /* mmap refuses length 0 */
    } else {
        void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            st = CM_FAIL_ERRNO("cannot map %s", path);
        } else {
            *data = p;
            *n = (size_t)info.st_size;
        }
    }
    close(fd); /* the mapping keeps the file */
    return st;
}

void cm_file_unmap(const void **data, size_t n)
{
    union { /* munmap takes a pointer to what may be written, which this is not */
        const void *in;
        void *out;
    } p = {.in = *data};
    if (p.in && n > 0)
        munmap(p.out, n);
    *data = NULL;
}

bool cm_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool cm_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

cm_status cm_file_size(uint64_t *nbytes, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return CM_FAIL_ERRNO("cannot stat %s", path);
    *nbytes = (uint64_t)info.st_size;
    return CM_OK;
}

cm_status cm_disk_free(uint64_t *nbytes, const char *path)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0)
        return CM_FAIL_ERRNO("cannot ask for the free space of %s", path);
    *nbytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return CM_OK;
}
