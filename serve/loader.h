/* Loads one version at a time on a thread of its own at low priority, so that the thread that
 * serves is never stalled. What cannot be read is tried again for a while. */
#ifndef SERVE_LOADER_H
#define SERVE_LOADER_H

#include <stdbool.h>

#include "common/status.h"
#include "serve/served_model.h"

/* May the same load succeed a moment later? A server of files that was away, memory that was out,
 * a version that another host does not see yet. */
bool sv_load_is_passing(cm_status st);

struct sv_loader; /* one thread at a time */
/* done_fd: an eventfd that is written when a load has ended. cfg's texts and sizes are borrowed. */
CM_MUST_CHECK
cm_status sv_loader_open(struct sv_loader **out, const struct sv_model_config *cfg, int retry_ms,
                         int done_fd);
/* Waits for a load under way, but for no retry; NULL is fine. */
void sv_loader_close(struct sv_loader **l);
/* Closes a model; a later load may take its engine over. NULL is fine. Also while busy. */
void sv_loader_recycle(struct sv_loader *l, struct sv_model **m);
/* A load under way is not tried again any more. */
void sv_loader_hurry(struct sv_loader *l);

/* None may be under way. */
void sv_loader_start(struct sv_loader *l, struct sv_version v);
struct sv_load {
    struct sv_version version;
    struct sv_model *model; /* the caller's; NULL: refused */
    bool passing;           /* it could not be read, which says nothing about the version */
    char reason[512];
};
/* Is a load finished? Then it is told once. */
bool sv_loader_take(struct sv_loader *l, struct sv_load *out);

#endif
