/* The log sink: formats a line in a local buffer and hands it to the kernel in one write, so lines
 * of several threads and processes do not mix; or to a thread that does (lines.h). */
#include "common/log.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/lines.h"
#include "common/utf8.h"

#define LINE     2048
#define CRASH_MS 200  /* for lines under way when the process dies, and for its last word */
#define END_MS   2000 /* the same when it ends */

static const char *const level_name[] = {"error", "warn", "info", "debug"};

/* who and terminal are set before threads start; level and rank may change at any time (a rank
 * knows its number when its threads already run). */
static struct {
    atomic_int level, rank;
    bool terminal;
    char who[32];
    struct cm_lines *_Atomic lines; /* NULL: written at once */
    int lines_id;
} sink = {.level = CM_LOG_INFO, .rank = -1, .who = "flywheel"};

bool cm_terminal(void)
{
    const char *told = getenv(CM_ENV_TERMINAL);
    return isatty(STDERR_FILENO) || (told && strcmp(told, "1") == 0);
}

void cm_log_init(const char *who)
{
    snprintf(sink.who, sizeof sink.who, "%s", who);
    sink.terminal = cm_terminal();
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

/* Text from outside (a key, a file name) must not forge lines or move the cursor. */
static void blank_controls(char *text, size_t n)
{
    for (size_t i = 0, length; i < n; i += length) {
        length = cm_utf8_length(text + i, n - i);
        bool malformed = length == 0; /* a terminal that knows no UTF-8 obeys its bytes */
        length += malformed;
        if (malformed || cm_utf8_is_control(text + i, length))
            memset(text + i, ' ', length);
    }
}

/* Returns the line's length with its newline; 0: it is no line. */
static size_t CM_PRINTF(3, 0)
    write_line(char line[LINE], enum cm_log_level level, const char *fmt, va_list args)
{
    size_t head = write_head(line, LINE, level);
    int n = vsnprintf(line + head, LINE - head, fmt, args);
    if (n < 0)
        return 0;
    size_t end = head + (size_t)n;
    if (end > LINE - 1) {
        end = LINE - 1;
        memset(line + end - 3, '.', 3);
    }
    blank_controls(line + head, end - head);
    line[end++] = '\n';
    return end;
}

/* ctx is not used. */
static void put_out(void *ctx, const char *line, size_t n)
{
    ssize_t ignored = write(STDERR_FILENO, line, n); /* a log that fails has nobody to tell */
    (void)ctx;
    (void)ignored;
}

void cm_log_line(enum cm_log_level level, const char *fmt, ...)
{
    char line[LINE];
    va_list args;
    if (level > cm_log_get_level())
        return;
    va_start(args, fmt);
    size_t n = write_line(line, level, fmt, args);
    va_end(args);
    struct cm_lines *lines = atomic_load(&sink.lines);
    if (n > 0 && !(lines && cm_lines_put(lines, sink.lines_id, line, n)))
        put_out(NULL, line, n);
}

/* ---- through a thread ---- */

static size_t CM_PRINTF(3, 4)
    write_text(char line[LINE], enum cm_log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t n = write_line(line, level, fmt, args);
    va_end(args);
    return n;
}

static void tell_lost(void *ctx, int64_t n)
{
    char line[LINE];
    put_out(ctx, line,
            write_text(line, CM_LOG_WARN,
                       "%lld lines are missing here: they came faster than this log takes them",
                       (long long)n));
}

/* The thread writes on while the one that is at fault waits here. The handler is gone by then, so
 * the signal, which is held back until its return, ends the process as it would have. */
static void on_crash(int number)
{
    cm_lines_await(atomic_load(&sink.lines), CRASH_MS);
    raise(number);
}

cm_status cm_log_detach(struct cm_lines **out)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    const struct cm_line_sink to = {.write = put_out, .lost = tell_lost};
    const struct sigaction wait_first = {.sa_handler = on_crash, .sa_flags = SA_RESETHAND};
    struct sigaction before;
    CM_TRY(cm_lines_start(out));
    CM_TRY(cm_lines_add_sink(*out, &to, &sink.lines_id));
    atomic_store(&sink.lines, *out);
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        if (sigaction(crashes[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL &&
            sigaction(crashes[i], &wait_first, NULL) < 0)
            return CM_FAIL_ERRNO("sigaction");
    return CM_OK;
}

void cm_error_report(enum cm_log_level level, cm_status st, const char *what)
{
    const char *text = cm_error_text();
    cm_log_line(cm_error_is_told() ? CM_LOG_DEBUG : level, "%s%s%s (%s at %s)", what ? what : "",
                what ? ": " : "", *text ? text : cm_status_text(st), cm_status_name(st),
                cm_error_where());
    if (level == CM_LOG_ERROR)
        cm_error_set_told();
}

/* By one more thread: what hangs may be the log itself. */
static void tell_cut_off(void)
{
    const struct cm_line_sink to = {.write = put_out, .lost = tell_lost};
    struct cm_lines *last;
    char line[LINE];
    int id;
    if (cm_lines_start(&last) != CM_OK || cm_lines_add_sink(last, &to, &id) != CM_OK)
        return;
    size_t n = write_text(line, CM_LOG_WARN, "ended before its last lines were written");
    cm_lines_put(last, id, line, n);
    if (cm_lines_stop(last, CRASH_MS))
        cm_lines_close(&last);
}

int cm_main_end(cm_status st)
{
    if (st != CM_OK && st != CM_EPREEMPTED)
        cm_error_report(CM_LOG_ERROR, st, NULL);
    struct cm_lines *lines = atomic_load(&sink.lines);
    if (lines && !cm_lines_stop(lines, END_MS))
        tell_cut_off();
    return cm_status_exit_code(st);
}
