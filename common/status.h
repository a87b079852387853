/* Status codes and the error record: how every function of Flywheel fails.
 *
 * Where a fault is found:   return CM_FAIL(CM_EIO, "%s: %zu of %zu bytes", path, got, want);
 * Above it:                 CM_TRY(call());   or   CM_GOTO(st, call(), out);
 * To say what was going on: return CM_CONTEXT(st, "loading version %d", v);
 *
 * The last puts "loading version 3: " in front of the message. Whoever ends the propagation reports
 * it once: cm_error_report() (log.h) or cm_error_text(). Where many processes have one fault, one
 * of them does: cm_error_share(). */
#ifndef COMMON_STATUS_H
#define COMMON_STATUS_H

#include <stdbool.h>

#define CM_MUST_CHECK        __attribute__((warn_unused_result))
#define CM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define CM_STATUS_LIST(X)                                                                          \
    X(CM_OK, "ok")                                                                                 \
    X(CM_EINVAL, "invalid argument")                                                               \
    X(CM_ECONFIG, "bad configuration")                                                             \
    X(CM_EUSAGE, "bad command line")                                                               \
    X(CM_EFORMAT, "malformed data")                                                                \
    X(CM_ECORRUPT, "corrupt data")                                                                 \
    X(CM_EVERSION, "unsupported version")                                                          \
    X(CM_EMISMATCH, "things that must agree differ")                                               \
    X(CM_EUNFIT, "does not fit what is there, nor will the next time")                             \
    X(CM_ESHAPE, "shapes do not fit")                                                              \
    X(CM_ENUMERIC, "not a finite number")                                                          \
    X(CM_EIO, "input/output error")                                                                \
    X(CM_ENOSPC, "no space left")                                                                  \
    X(CM_ENOMEM, "out of memory")                                                                  \
    X(CM_ENOTFOUND, "not found")                                                                   \
    X(CM_EEXIST, "already exists")                                                                 \
    X(CM_EBUSY, "in use by another")                                                               \
    X(CM_EFENCED, "another writer has taken over")                                                 \
    X(CM_ETIMEDOUT, "deadline passed")                                                             \
    X(CM_ECONNECT, "peer not reachable")                                                           \
    X(CM_ECLOSED, "closed")                                                                        \
    X(CM_EUNSUPPORTED, "not supported here")                                                       \
    X(CM_EPREEMPTED, "preempted, resumable")                                                       \
    X(CM_EPEER, "another rank failed")                                                             \
    X(CM_EINTERNAL, "internal error")

typedef enum cm_status {
#define CM_STATUS_ENUM(code, text) code,
    CM_STATUS_LIST(CM_STATUS_ENUM)
#undef CM_STATUS_ENUM
        CM_STATUS_COUNT
} cm_status;

/* "CM_EIO"; "input/output error". Never NULL, also for a number that is no status. */
const char *cm_status_name(cm_status st);
const char *cm_status_text(cm_status st);

/* Exit code of a program that ends with st: 0, 2 for usage and configuration, 75 for CM_EPREEMPTED,
 * 78 for what does not fit and would not the next time (CM_EUNFIT, CM_EVERSION, CM_ESHAPE,
 * CM_EUNSUPPORTED), else 1. Supervisors try nothing again that ended with 2 or 78 and was never
 * well. */
int cm_status_exit_code(cm_status st);

/* Records the fault for this thread (replacing an older one), logs it at debug level, and returns
 * code. */
#define CM_FAIL(code, ...) cm_fail((code), __FILE__, __LINE__, __VA_ARGS__)
cm_status cm_fail(cm_status code, const char *file, int line, const char *fmt, ...) CM_PRINTF(4, 5);

/* CM_FAIL for a failed system call: appends strerror(errno); ENOSPC and EDQUOT give CM_ENOSPC,
 * ENOENT CM_ENOTFOUND, EEXIST and ENOTEMPTY (how NFS and rename say it of a folder) CM_EEXIST,
 * ENOMEM CM_ENOMEM, all else CM_EIO. Read errno before calling anything else. */
#define CM_FAIL_ERRNO(...) cm_fail_errno(__FILE__, __LINE__, __VA_ARGS__)
cm_status cm_fail_errno(const char *file, int line, const char *fmt, ...) CM_PRINTF(3, 4);

/* Puts "text: " in front of this thread's recorded message; returns st unchanged. */
#define CM_CONTEXT(st, ...) cm_error_prefix((st), __VA_ARGS__)
cm_status cm_error_prefix(cm_status st, const char *fmt, ...) CM_PRINTF(2, 3);

/* This thread's last recorded message; "" when none. Valid until the thread records another. */
const char *cm_error_text(void);
/* Where it was recorded, "file.c:12"; same lifetime. */
const char *cm_error_where(void);
/* Takes over a fault recorded on another thread (a lane, a reducer) as this thread's own; returns
 * st. */
cm_status cm_error_adopt(cm_status st, const char *where, const char *text);

/* The record of a thread, kept over clean-up that may fail as well (closers must not replace the
 * message that their caller is about to report), or until another thread takes it over. */
struct cm_error {
    char text[1024], where[64];
    bool shared; /* all processes of the job know of it: they can leave together */
    bool told;   /* reported, by this process or by the one that does so for all */
};
void cm_error_save(struct cm_error *saved);
void cm_error_restore(const struct cm_error *saved);

/* The processes of a job have agreed on this thread's fault (group.h): each of them ends with it,
 * and one reports it. ours: this one; in the others cm_error_report shows it at debug level. */
void cm_error_share(bool ours);
bool cm_error_is_shared(void);
/* Whether nobody needs to report it any more. */
bool cm_error_is_told(void);
void cm_error_set_told(void);

#define CM_TRY(call)                                                                               \
    do {                                                                                           \
        cm_status cm_try_st_ = (call);                                                             \
        if (cm_try_st_ != CM_OK)                                                                   \
            return cm_try_st_;                                                                     \
    } while (0)

/* For functions with one out: label that releases what they hold. */
#define CM_GOTO(st, call, label)                                                                   \
    do {                                                                                           \
        (st) = (call);                                                                             \
        if ((st) != CM_OK)                                                                         \
            goto label;                                                                            \
    } while (0)

#endif
