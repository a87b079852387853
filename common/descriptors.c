#include "common/descriptors.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

int cm_descriptors_raise(int want)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return want;
    rlim_t before = limit.rlim_cur;
    if (limit.rlim_cur < (rlim_t)want)
        limit.rlim_cur = (rlim_t)want < limit.rlim_max ? (rlim_t)want : limit.rlim_max;
    if (limit.rlim_cur != before && setrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = before;
    return limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

int cm_descriptors_lowest(int fd)
{
    int lowest = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (lowest < 0)
        return INT_MAX;
    close(lowest);
    return lowest;
}
