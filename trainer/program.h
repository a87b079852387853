/* Other people's programs as children: xz, gzip and tar to unpack, curl to fetch. */
#ifndef TRAINER_PROGRAM_H
#define TRAINER_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

struct tr_program {
    const char *const *argv; /* NULL-terminated; argv[0] is searched in PATH */
    void *into; /* standard output goes here, at most capacity bytes; NULL: it is not wanted */
    size_t capacity;
    int stall_ms; /* the program is killed when it gives no output for this long; 0: it may take its
                     time */
};

/* Runs to its end. *nbytes gets the size of the output, *code the exit code (128 + signal for a
 * killed one). An exit code is no fault here. CM_ENOTFOUND: there is no such program; CM_EFORMAT:
 * more output than capacity; CM_ETIMEDOUT: stalled. Standard error stays the caller's. Any thread.
 */
CM_MUST_CHECK cm_status tr_program_run(const struct tr_program *program, size_t *nbytes, int *code);

/* Exactly nbytes bytes of path, or, when there is no such file, of path.xz or path.gz, unpacked,
 * into out. used (may be NULL, CM_PATH bytes) gets the file that was read. CM_ENOTFOUND: none of
 * the three. CM_ECORRUPT names the file and both sizes. */
CM_MUST_CHECK cm_status tr_unpack_file(void *out, size_t nbytes, const char *path, char *used);

#endif
