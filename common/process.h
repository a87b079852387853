/* What /proc says of a process: enough to name it so that no successor is taken for it. */
#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cm_process {
    char state; /* 'R', 'S', 'T', …; 'Z' and 'X' have ended */
    pid_t parent;
    uint64_t start_ticks; /* since boot: a number may be used again, a number and its start never */
};

/* False when there is no process of that number, or one that cannot be looked at. */
bool cm_process_look(struct cm_process *out, pid_t pid);

#endif
