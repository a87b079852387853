#include "common/rename.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* NFS: when the server's reply is lost, the client asks again, and a rename that did happen returns
 * ENOENT. The inode tells. */
static int plain_rename(const char *from, const char *to)
{
    struct stat before, after;
    if (lstat(from, &before) != 0)
        return errno;
    if (rename(from, to) == 0)
        return 0;
    int error = errno;
    bool happened = error == ENOENT && lstat(to, &after) == 0 && after.st_ino == before.st_ino &&
                    after.st_dev == before.st_dev;
    return happened ? 0 : error;
}

int cm_rename(const char *from, const char *to, bool replace)
{
    if (replace)
        return plain_rename(from, to);
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    /* File systems without RENAME_NOREPLACE (NFS): a writer that comes between these two calls must
     * be kept away by other means; the store has its lease. */
    struct stat there;
    if (lstat(to, &there) == 0)
        return EEXIST;
    return plain_rename(from, to);
}
