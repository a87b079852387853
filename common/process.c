#include "common/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Numbers of fields in /proc/PID/stat, as proc(5) counts them. */
enum { FIELD_STATE = 3, FIELD_PARENT = 4, FIELD_START = 22 };

/* From the field number `from` to the field number `to`; NULL when the line ends before. */
static const char *skip(const char *at, int from, int to)
{
    for (int number = from; at && number < to; number++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at;
}

bool cm_process_look(struct cm_process *out, pid_t pid)
{
    char path[64], text[1024];
    *out = (struct cm_process){0};
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    /* The name, in parentheses, may hold anything, also parentheses: the last one ends it. */
    const char *name_end = strrchr(text, ')');
    const char *state = name_end && name_end[1] == ' ' ? name_end + 2 : NULL;
    const char *parent = skip(state, FIELD_STATE, FIELD_PARENT);
    const char *start = skip(parent, FIELD_PARENT, FIELD_START);
    if (!start)
        return false;
    *out = (struct cm_process){.state = *state,
                               .parent = (pid_t)strtol(parent, NULL, 10),
                               .start_ticks = strtoull(start, NULL, 10)};
    return true;
}
