/* The log sink: formats a line in a local buffer and hands it to the kernel in one write, so lines
 * of several threads and processes do not mix. */
#include "common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

#define LINE 2048

static const char *const level_name[] = {"error", "warn", "info", "debug"};

/* who and terminal are set before threads start; level and rank may change at any time (a rank
 * knows its number when its threads already run). */
static struct {
    atomic_int level, rank;
    bool terminal;
    char who[32];
} sink = {.level = CM_LOG_INFO, .rank = -1, .who = "flywheel"};

void cm_log_init(const char *who)
{
    snprintf(sink.who, sizeof sink.who, "%s", who);
    sink.terminal = isatty(STDERR_FILENO);
    const char *wanted = getenv("FLYWHEEL_LOG");
    if (!wanted || !*wanted)
        return;
    for (int i = CM_LOG_ERROR; i <= CM_LOG_DEBUG; i++) {
        if (strcmp(wanted, level_name[i]) == 0) {
            cm_log_set_level((enum cm_log_level)i);
            return;
        }
    }
    cm_log_warn("FLYWHEEL_LOG=%s is none of error, warn, info, debug; info it is", wanted);
}

void cm_log_set_rank(int rank)
{
    atomic_store_explicit(&sink.rank, rank, memory_order_relaxed);
}

void cm_log_set_level(enum cm_log_level level)
{
    atomic_store_explicit(&sink.level, (int)level, memory_order_relaxed);
}

enum cm_log_level cm_log_get_level(void)
{
    return (enum cm_log_level)atomic_load_explicit(&sink.level, memory_order_relaxed);
}

/* Writes what stands before the text; returns its length, less than size. */
static size_t write_head(char *line, size_t size, enum cm_log_level level)
{
    char rank[16] = "";
    int number = atomic_load_explicit(&sink.rank, memory_order_relaxed);
    if (number >= 0)
        snprintf(rank, sizeof rank, "[%d]", number);
    int n;
    if (sink.terminal) {
        /* Clears a progress bar that may stand on this line; the bar is drawn again below. */
        const char *mark = level == CM_LOG_ERROR  ? "error: "
                           : level == CM_LOG_WARN ? "warning: "
                                                  : "";
        n = snprintf(line, size, "\r\033[K%s%s: %s", sink.who, rank, mark);
    } else {
        char utc[CM_UTC_TEXT];
        cm_utc_format(utc, cm_utc_now());
        n = snprintf(line, size, "%s %s %s%s: ", utc, level_name[level], sink.who, rank);
    }
    return n < 0 ? 0 : (size_t)n;
}

void cm_log_line(enum cm_log_level level, const char *fmt, ...)
{
    if (level > cm_log_get_level())
        return;
    char line[LINE];
    size_t head = write_head(line, sizeof line, level);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line + head, sizeof line - head, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    size_t end = head + (size_t)n;
    if (end > sizeof line - 1) {
        end = sizeof line - 1;
        memset(line + end - 3, '.', 3);
    }
    /* Text from outside (a key, a file name) must not forge lines or move the cursor. */
    for (size_t i = head; i < end; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = ' ';
    }
    line[end++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, end); /* a log that fails has nobody to tell */
    (void)ignored;
}

void cm_error_report(enum cm_log_level level, cm_status st, const char *what)
{
    const char *text = cm_error_text();
    cm_log_line(level, "%s%s%s (%s at %s)", what ? what : "", what ? ": " : "",
                *text ? text : cm_status_text(st), cm_status_name(st), cm_error_where());
}

int cm_main_end(cm_status st)
{
    if (st != CM_OK && st != CM_EPREEMPTED)
        cm_error_report(CM_LOG_ERROR, st, NULL);
    return cm_status_exit_code(st);
}
