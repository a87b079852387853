/* What a person sees while something runs: on a terminal (cm_terminal) one line with a bar, redrawn
 * in place; in a pipe plain lines, one per finished unit and at most one every 10 s between. One
 * thread at a time. */
#ifndef COMMON_PROGRESS_H
#define COMMON_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

struct cm_progress {
    const char *label; /* "epoch 3/10"; borrowed until end */
    int64_t total, done;
    int64_t started_ns, drawn_ns;
    double left_s; /* above 0: what the caller knows of the time left; 0: from the pace since begin,
                      where done began at 0 */
    int tty, enabled;
};

/* enabled = 0 shows nothing (ranks other than 0, --json). */
void cm_progress_begin(struct cm_progress *p, const char *label, int64_t total, int enabled);
/* note ("812 images/s  loss 1.234") is shown after bar and time left. Redraws at most 10 times a
 * second. */
void cm_progress_update(struct cm_progress *p, int64_t done, const char *note);
/* The last state stays on the screen as a line of its own. */
void cm_progress_end(struct cm_progress *p, const char *note);

/* The line alone, as a pure function of *p and the time: "epoch 3/10  40%  1:05 left  812
 * images/s". */
void cm_progress_line(char *text, size_t size, const struct cm_progress *p, int64_t now_ns,
                      const char *note);

#endif
