#include "common/events.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/lines.h"
#include "common/log.h"
#include "common/mem.h"

#define CLOSE_MS 2000

struct cm_events {
    int fd;
    int rank;
    atomic_bool warned;
    atomic_bool torn; /* the last write was cut: the next one ends that line first */
    char *path;
    struct cm_lines *lines; /* NULL: written at once */
    int lines_id;
};

/* A writer that was killed may have left half a line; the next event gets one of its own. */
static cm_status end_torn_line(const struct cm_events *ev)
{
    char last;
    off_t size = lseek(ev->fd, 0, SEEK_END);
    if (size <= 0 || pread(ev->fd, &last, 1, size - 1) != 1 || last == '\n')
        return CM_OK;
    if (write(ev->fd, "\n", 1) != 1)
        return CM_FAIL_ERRNO("cannot write %s", ev->path);
    return CM_OK;
}

cm_status cm_events_open(struct cm_events **out, const char *path, int rank)
{
    cm_status st;
    struct cm_events *self = NULL;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "an event file"));
    self->rank = rank;
    self->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (self->fd < 0) {
        st = CM_FAIL_ERRNO("cannot open %s", path);
        goto out;
    }
    CM_GOTO(st, cm_strdup(&self->path, path), out);
    CM_GOTO(st, end_torn_line(self), out);
    *out = self;
    self = NULL;
out:
    cm_events_close(&self);
    return st;
}

void cm_events_close(struct cm_events **ev)
{
    if (!*ev)
        return;
    if ((*ev)->lines && !cm_lines_remove_sink((*ev)->lines, (*ev)->lines_id, CLOSE_MS)) {
        *ev = NULL; /* its thread is using it, for as long as the file hangs */
        return;
    }
    if ((*ev)->fd >= 0)
        close((*ev)->fd);
    cm_free(&(*ev)->path);
    cm_free(ev);
}

void cm_events_begin(struct cm_events *ev, struct cm_jw *w, const char *event)
{
    *w = (struct cm_jw){0};
    cm_jw_begin(w, NULL, '{');
    cm_jw_f64(w, "t", floor(cm_utc_now() * 1e3) / 1e3); /* to the millisecond */
    cm_jw_string(w, "event", event);
    cm_jw_i64(w, "rank", ev ? ev->rank : 0);
}

static void warn_once(struct cm_events *ev, const char *why)
{
    if (!atomic_exchange(&ev->warned, true))
        cm_log_warn("%s: an event was lost (%s); later losses are not told", ev->path, why);
}

/* A line with its newline, in one call, which is what makes O_APPEND keep lines whole. */
static void append(void *ctx, const char *line, size_t n)
{
    struct cm_events *ev = ctx;
    char newline[] = "\n", *text = (char *)(uintptr_t)line; /* writev reads it only */
    ssize_t lead = atomic_exchange(&ev->torn, false);
    struct iovec part[] = {{newline, (size_t)lead}, {text, n}};
    ssize_t written = writev(ev->fd, part, 2);
    if (written != lead + (ssize_t)n) {
        warn_once(ev, written < 0 ? strerrordesc_np(errno) : "written in part");
        atomic_store(&ev->torn, written > 0 ? written > lead : lead > 0);
    }
}

/* Ends w and gives it to `to`. */
static void put(struct cm_events *ev, struct cm_jw *w, struct cm_lines *to)
{
    char *line;
    size_t n;
    cm_jw_end(w);
    cm_status st = cm_jw_take(w, &line, &n);
    if (st == CM_OK && ev) {
        line[n] = '\n'; /* in place of the NUL */
        if (!to || !cm_lines_put(to, ev->lines_id, line, n + 1))
            append(ev, line, n + 1);
    } else if (ev) {
        warn_once(ev, cm_error_text());
    }
    cm_free(&line);
}

void cm_events_put(struct cm_events *ev, struct cm_jw *w)
{
    put(ev, w, ev ? ev->lines : NULL);
}

static void tell_lost(void *ctx, int64_t n)
{
    struct cm_jw w;
    cm_events_begin(ctx, &w, "events_lost");
    cm_jw_i64(&w, "events", n);
    put(ctx, &w, NULL);
}

cm_status cm_events_through(struct cm_events *ev, struct cm_lines *l)
{
    const struct cm_line_sink to = {.write = append, .lost = tell_lost, .ctx = ev};
    CM_TRY(cm_lines_add_sink(l, &to, &ev->lines_id));
    ev->lines = l;
    return CM_OK;
}
