/* Writing versions: what rank 0 does when the run says "save". Holds the lease of the run
 * directory, so there is one writer; a run that lost its lease cannot publish (CM_EFENCED). One
 * thread at a time. */
#ifndef TRAINER_PUBLISH_H
#define TRAINER_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "parameter/store.h"
#include "trainer/checkpoint.h"
#include "trainer/session.h"

struct tr_publisher;

/* Makes the run directory, takes its lease (steal: from anybody), tells in summary (lost_run.h) of
 * an owner before that ended without a word, opens the store, writes config.json. */
CM_MUST_CHECK cm_status tr_publisher_open(struct tr_publisher **out, const struct tr_session *s,
                                          const char *summary, bool steal);
void tr_publisher_close(struct tr_publisher **p);
struct ps_store *tr_publisher_store(struct tr_publisher *p);
/* Borrowed; for other stores of the same run directory. */
const struct ps_lease *tr_publisher_lease(const struct tr_publisher *p);
const char *tr_publisher_run(const struct tr_publisher *p);          /* the run's UUID */
void tr_publisher_set_run(struct tr_publisher *p, const char *uuid); /* of a run that goes on */

struct tr_publication {
    int64_t version;
    double seconds;
    char sha256[65]; /* of model.safetensors: the identity of the weights */
};

/* One version from state. scores: NULL or the last ones, by name ("test_accuracy"). parent 0: none.
 * producer "train" or "online"; origin: NULL, or what else it is known by (manifest.h). Old
 * versions go as the config's retention says. */
struct tr_publish {
    const struct tr_state *state;
    const struct ps_metric *metrics;
    size_t nmetrics;
    int64_t epoch, sample, parent;
    const char *producer, *origin;
};
CM_MUST_CHECK cm_status tr_publisher_commit(struct tr_publisher *p, const struct tr_publish *what,
                                            struct tr_publication *out);

/* The first champion of a run directory is its first finished training; later ones are chosen by a
 * gate or a person. */
CM_MUST_CHECK cm_status tr_publisher_first_champion(struct tr_publisher *p, int64_t version);

#endif
