#include "common/progress.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define NS_PER_S    INT64_C(1000000000)
#define REDRAW_NS   (NS_PER_S / 10)
#define PLAIN_NS    (NS_PER_S * 10)
#define BAR_COLUMNS 24
#define BAR_NBYTES  (BAR_COLUMNS * 3 + 1) /* a block is three bytes of UTF-8 */
#define LINE        512
#define DURATION    32

/* "1:05", "2:03:04" */
static void duration_text(char text[DURATION], double s)
{
    long all = s > 0 && s < 1e8 ? lround(s) : 0;
    long hours = all / 3600, minutes = all / 60 % 60, seconds = all % 60;
    if (hours > 0)
        snprintf(text, DURATION, "%ld:%02ld:%02ld", hours, minutes, seconds);
    else
        snprintf(text, DURATION, "%ld:%02ld", minutes, seconds);
}

/* Eighths of a column make the bar move smoothly; U+2588..U+258F are the full block to its eighth.
 */
static void bar_text(char text[BAR_NBYTES], double fraction)
{
    static const char *const part[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    int eighths = (int)lround(fraction * BAR_COLUMNS * 8);
    size_t n = 0;
    for (int i = 0; i < BAR_COLUMNS; i++) {
        int here = eighths - i * 8;
        n += (size_t)snprintf(text + n, BAR_NBYTES - n, "%s",
                              part[here < 0   ? 0
                                   : here > 8 ? 8
                                              : here]);
    }
}

void cm_progress_line(char *text, size_t size, const struct cm_progress *p, int64_t now_ns,
                      const char *note)
{
    double elapsed_s = (double)(now_ns - p->started_ns) / (double)NS_PER_S;
    double fraction = p->total > 0 ? (double)p->done / (double)p->total : 1;
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    bool finished = p->done >= p->total;
    char bar[BAR_NBYTES], time[DURATION] = "", left[DURATION + 8] = "";
    bar_text(bar, fraction);
    if (finished) {
        duration_text(time, elapsed_s);
        snprintf(left, sizeof left, "  %s", time);
    } else if (p->done > 0) {
        duration_text(time, p->left_s > 0 ? p->left_s : elapsed_s * (1 - fraction) / fraction);
        snprintf(left, sizeof left, "  %s left", time);
    }
    const char *gap = note && *note ? "  " : "";
    if (p->tty)
        snprintf(text, size, "%s %s %3d%%%s%s%s", p->label, bar, (int)(fraction * 100), left, gap,
                 note ? note : "");
    else
        snprintf(text, size, "%s %3d%%%s%s%s", p->label, (int)(fraction * 100), left, gap,
                 note ? note : "");
}

/* Cuts a UTF-8 text to a terminal's columns (one a character: there is nothing wider in it). */
static void cut_columns(char *text, int columns)
{
    int column = 0;
    for (char *c = text; *c; c++) {
        bool first_byte = ((unsigned char)*c & 0xc0) != 0x80;
        if (first_byte && column++ == columns) {
            *c = '\0';
            return;
        }
    }
}

static void draw(struct cm_progress *p, const char *note, bool last)
{
    char line[LINE], out[LINE + 16];
    struct winsize window;
    p->drawn_ns = cm_now_ns();
    cm_progress_line(line, sizeof line, p, p->drawn_ns, note);
    if (p->tty) {
        bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1;
        cut_columns(line, known ? window.ws_col - 1 : 79);
    }
    int n = snprintf(out, sizeof out, "%s%s%s", p->tty ? "\r\033[K" : "", line,
                     last || !p->tty ? "\n" : "");
    ssize_t ignored =
        write(STDERR_FILENO, out, (size_t)n); /* one write: whole beside the log's lines */
    (void)ignored;
}

void cm_progress_begin(struct cm_progress *p, const char *label, int64_t total, int enabled)
{
    int64_t now_ns = cm_now_ns();
    *p = (struct cm_progress){.label = label,
                              .total = total,
                              .started_ns = now_ns,
                              .drawn_ns = now_ns,
                              .tty = cm_terminal(),
                              .enabled = enabled};
    if (enabled && p->tty)
        draw(p, NULL, false);
}

void cm_progress_update(struct cm_progress *p, int64_t done, const char *note)
{
    p->done = done;
    if (p->enabled && cm_now_ns() - p->drawn_ns >= (p->tty ? REDRAW_NS : PLAIN_NS))
        draw(p, note, false);
}

void cm_progress_end(struct cm_progress *p, const char *note)
{
    if (p->enabled)
        draw(p, note, true);
    p->enabled = 0;
}
