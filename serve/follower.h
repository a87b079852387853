/* The thread that watches the store, so that a slow disk stalls nobody else: it reads the alias
 * when told to and every poll_ms, and posts what the gateway should aim at. */
#ifndef SERVE_FOLLOWER_H
#define SERVE_FOLLOWER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "model/spec.h"
#include "serve/mailbox.h"
#include "serve/rollout.h"

/* What a version is, for those who ask the gateway. */
struct sv_card {
    struct sv_version version;
    struct nn_spec *spec; /* owned */
    int64_t step;
    double created_utc_s;
};
void sv_card_close(struct sv_card **card); /* NULL is fine */

/* A letter to the gateway, owned by whoever took it. */
struct sv_news {
    struct sv_letter letter;
    struct sv_version version;
    bool anew;            /* the alias has changed since it was looked at last */
    bool fell_back;       /* not what the alias names: that does not work and nothing else serves */
    struct sv_card *card; /* NULL: the version cannot be read, see reason */
    bool passing;         /* … just now, which says nothing about the version */
    char reason[512];
};
void sv_news_close(struct sv_news **news);

struct sv_follower_config {
    const char *store_dir; /* may appear later */
    const char *alias;     /* "latest": the highest version */
    int poll_ms;
    int retry_ms; /* how long an unreadable version is tried again before that is news */
    struct sv_mailbox *mailbox;
    int letter_kind; /* of the news */
};

struct sv_follower; /* any thread */
/* Copies cfg's texts, borrows the mailbox until stopped. */
CM_MUST_CHECK
cm_status sv_follower_start(struct sv_follower **out, const struct sv_follower_config *cfg);
/* False: its thread hangs in the store, and goes on using the mailbox and what the follower has.
 * NULL is fine. */
bool sv_follower_stop(struct sv_follower **f, int timeout_ms);
void sv_follower_kick(struct sv_follower *f); /* there may be news: look now */
/* version was refused and nothing serves: offer the newest one that the alias has named, or with
 * "latest" that there is, of those that no call has refused since the alias changed. put_off: it
 * was not refused, only out of reach, and counts as refused until sv_follower_retry. */
void sv_follower_fall_back(struct sv_follower *f, int64_t version, bool put_off);
/* What was put off may be within reach again: offer what the alias names once more; when that was
 * refused, the newest former one that was not. */
void sv_follower_retry(struct sv_follower *f);

#endif
