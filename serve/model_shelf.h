/* The versions that a worker has, and the one that it loads beside: each is loaded once, kept while
 * the gateway serves it or asked for it last, and given up when no batch uses it any more: the next
 * one takes its engine over, so that two are all that a worker ever allocates. Versions
 * are told apart by number and manifest hash: a store that was made anew starts again at 1. One
 * thread at a time. */
#ifndef SERVE_MODEL_SHELF_H
#define SERVE_MODEL_SHELF_H

#include <stdbool.h>

#include "common/status.h"
#include "serve/loader.h"
#include "serve/served_model.h"

struct sv_shelf;
/* As sv_loader_open. */
CM_MUST_CHECK
cm_status sv_shelf_open(struct sv_shelf **out, const struct sv_model_config *cfg, int retry_ms,
                        int done_fd);
void sv_shelf_close(struct sv_shelf **s); /* waits for a load under way; NULL is fine */

/* NULL: it is not there. Borrowed until sv_shelf_tidy. */
struct sv_model *sv_shelf_find(const struct sv_shelf *s, struct sv_version v);
/* The gateway serves v; number 0: it serves nothing yet, which changes nothing. */
void sv_shelf_serve(struct sv_shelf *s, struct sv_version v);
/* The gateway wants v. True: it is there. False: its load goes on, or is next. */
bool sv_shelf_ask(struct sv_shelf *s, struct sv_version v);
/* Has a load ended? Then it is told once. out->model is only borrowed, until sv_shelf_tidy. */
bool sv_shelf_take(struct sv_shelf *s, struct sv_load *out);
/* Gives up what nobody wants, but for in_use (NULL: none); then the load that is next begins. */
void sv_shelf_tidy(struct sv_shelf *s, const struct sv_model *in_use);
bool sv_shelf_is_loading(const struct sv_shelf *s);
/* No load begins any more, and none is tried again. */
void sv_shelf_end(struct sv_shelf *s);

#endif
