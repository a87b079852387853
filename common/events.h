/* events.jsonl: one JSON object a line, {"t": utc seconds, "event": "epoch", "rank": 0, own
 * fields}. Appended with one write a line, so lines of several processes never mix. Any thread. */
#ifndef COMMON_EVENTS_H
#define COMMON_EVENTS_H

#include "common/json.h"
#include "common/status.h"

struct cm_events;

CM_MUST_CHECK cm_status cm_events_open(struct cm_events **out, const char *path, int rank);
/* Lines that are under way are waited for, up to 2 s; what a file that hangs needs is kept. */
void cm_events_close(struct cm_events **ev);
/* From now on l's thread writes: events that it has no room for are told as one event
 * "events_lost" with their number. Before other threads use ev; l outlives it. */
struct cm_lines;
CM_MUST_CHECK cm_status cm_events_through(struct cm_events *ev, struct cm_lines *l);

/* w becomes an open object holding t, event and rank; add fields, then cm_events_put (which
 * releases w). A NULL ev makes both do nothing but keep w usable. A failed write warns once and is
 * otherwise ignored: events never stop a run. */
void cm_events_begin(struct cm_events *ev, struct cm_jw *w, const char *event);
void cm_events_put(struct cm_events *ev, struct cm_jw *w);

#endif
