/* Versions written beside the training. The state is copied into spare memory, which is there from
 * the start; then one thread of the saver computes the golden logits, writes, fsyncs, publishes and
 * collects (publish.h), while the steps go on. Never two versions at once.
 *
 *     idle ──begin──▶ writing ──(durable, or failed)──▶ told by poll or wait ──▶ idle
 *
 * Rank 0 only. While a version is being written the publisher belongs to the saver's thread. */
#ifndef TRAINER_SAVER_H
#define TRAINER_SAVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"
#include "trainer/publish.h"
#include "trainer/train_config.h"

#define TR_SAVER_METRICS 8

struct tr_saver; /* one thread at a time */

/* Borrows publisher and train for its life; state: what later ones are like. The first page faults
 * of the spare memory are taken here. */
CM_MUST_CHECK cm_status tr_saver_open(struct tr_saver **out, struct tr_publisher *publisher,
                                      const struct tr_train_config *train,
                                      const struct tr_state *state);
/* Lets a version that is being written finish, however long that takes: ask tr_saver_wait before.
 * NULL is fine. */
void tr_saver_close(struct tr_saver **s);

/* How a version went. */
struct tr_saved {
    int64_t step;
    cm_status st;
    struct cm_error error;             /* when st is not CM_OK */
    struct tr_publication publication; /* when it is */
    double stall_s;                    /* that the caller stood still for the copy */
};

/* The saver must be idle. Copies all of *what (at most TR_SAVER_METRICS metrics). */
void tr_saver_begin(struct tr_saver *s, const struct tr_publish *what);
bool tr_saver_busy(const struct tr_saver *s);    /* begun and not told yet */
int64_t tr_saver_step(const struct tr_saver *s); /* of the version begun last */
/* True once for each version that was begun, when it is through; never waits. */
bool tr_saver_poll(struct tr_saver *s, struct tr_saved *out);
/* The same, waiting for it: false when the deadline passes, or when nothing is being written. */
bool tr_saver_wait(struct tr_saver *s, struct cm_deadline deadline, struct tr_saved *out);

#endif
