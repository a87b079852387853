/* The error record: one fixed buffer per thread, so that reporting a fault can not itself fail or
 * allocate. */
#include "common/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

static _Thread_local struct cm_error fault;

#define TEXT (sizeof fault.text)

const char *cm_status_name(cm_status st)
{
    switch (st) {
#define CASE(code, text)                                                                           \
    case code:                                                                                     \
        return #code;
        CM_STATUS_LIST(CASE)
#undef CASE
    case CM_STATUS_COUNT:
        break;
    }
    return "CM_?";
}

const char *cm_status_text(cm_status st)
{
    switch (st) {
#define CASE(code, text)                                                                           \
    case code:                                                                                     \
        return text;
        CM_STATUS_LIST(CASE)
#undef CASE
    case CM_STATUS_COUNT:
        break;
    }
    return "unknown status";
}

int cm_status_exit_code(cm_status st)
{
    switch (st) {
    case CM_OK:
        return 0;
    case CM_EUSAGE:
    case CM_ECONFIG:
        return 2;
    case CM_EPREEMPTED:
        return 75; /* EX_TEMPFAIL of sysexits.h: try again */
    case CM_EVERSION:
    case CM_EUNFIT:
    case CM_ESHAPE:
    case CM_EUNSUPPORTED:
        return 78; /* EX_CONFIG: it would find the same again */
    default:
        return 1;
    }
}

static cm_status keep(cm_status code, const char *file, int line, const char *text)
{
    const char *slash = strrchr(file, '/');
    snprintf(fault.where, sizeof fault.where, "%s:%d", slash ? slash + 1 : file, line);
    snprintf(fault.text, sizeof fault.text, "%s", text);
    fault.shared = fault.told = false;
    cm_log_debug("%s (%s at %s)", fault.text, cm_status_name(code), fault.where);
    return code;
}

/* The arguments may point into the record (a message that quotes cm_error_text()), so every
 * function below formats into a buffer of its own first. */
cm_status cm_fail(cm_status code, const char *file, int line, const char *fmt, ...)
{
    char text[TEXT];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return keep(code, file, line, text);
}

static cm_status status_of_errno(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return CM_ENOSPC;
    case ENOENT:
        return CM_ENOTFOUND;
    case EEXIST:
    case ENOTEMPTY:
        return CM_EEXIST;
    case ENOMEM:
        return CM_ENOMEM;
    default:
        return CM_EIO;
    }
}

cm_status cm_fail_errno(const char *file, int line, const char *fmt, ...)
{
    int error = errno;
    char text[TEXT];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *why = strerrordesc_np(error); /* NULL for a number that is no errno */
    if (n >= 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", why ? why : "unknown error");
    return keep(status_of_errno(error), file, line, text);
}

cm_status cm_error_prefix(cm_status st, const char *fmt, ...)
{
    char text[2 * TEXT];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, TEXT, fmt, args);
    va_end(args);
    if (n < 0)
        return st;
    size_t lead = (size_t)n < TEXT ? (size_t)n : TEXT - 1;
    snprintf(text + lead, sizeof text - lead, ": %s", fault.text);
    snprintf(fault.text, sizeof fault.text, "%.*s", (int)TEXT - 1, text);
    return st;
}

const char *cm_error_text(void)
{
    return fault.text;
}

const char *cm_error_where(void)
{
    return fault.where;
}

cm_status cm_error_adopt(cm_status st, const char *where, const char *text)
{
    snprintf(fault.where, sizeof fault.where, "%s", where);
    snprintf(fault.text, sizeof fault.text, "%s", text);
    fault.shared = fault.told = false;
    return st;
}

void cm_error_save(struct cm_error *saved)
{
    *saved = fault;
}

void cm_error_restore(const struct cm_error *saved)
{
    fault = *saved;
}

void cm_error_share(bool ours)
{
    fault.shared = true;
    fault.told = !ours;
}

bool cm_error_is_shared(void)
{
    return fault.shared;
}

bool cm_error_is_told(void)
{
    return fault.told;
}

void cm_error_set_told(void)
{
    fault.told = true;
}
