#include "serve/follower.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "parameter/store.h"
#include "serve/version_spec.h"

#define MAX_REFUSED 64
#define LATEST      "latest"

struct sv_follower {
    struct sv_follower_config cfg;
    char *store_dir, *alias;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards the rest of this block */
    pthread_cond_t wake;
    bool stop, kicked;
    int64_t refused[MAX_REFUSED];
    int nrefused;

    /* The thread's own: numbers of changes of the alias. */
    int64_t seen_change, told_change; /* newest one seen; newest one whose version could be read */
    int64_t unreadable_change;        /* whose version could not, as the gateway knows */
    int64_t offered;                  /* version that the gateway was told of last */
    bool told_waiting;
};

void sv_card_close(struct sv_card **card)
{
    if (!*card)
        return;
    nn_spec_close(&(*card)->spec);
    cm_free(card);
}

void sv_news_close(struct sv_news **news)
{
    if (!*news)
        return;
    sv_card_close(&(*news)->card);
    cm_free(news);
}

static cm_status read_card(struct sv_card **out, const struct ps_store *store, int64_t version)
{
    struct ps_version *v = NULL;
    struct sv_card *card = NULL;
    cm_status st;
    CM_GOTO(st, ps_version_open(&v, store, version), out);
    CM_GOTO(st, cm_alloc(&card, 1, sizeof *card, "version"), out);
    const struct ps_manifest *m = ps_version_manifest(v);
    card->version = (struct sv_version){version, m->hash};
    card->step = m->step;
    card->created_utc_s = m->created_utc_s;
    CM_GOTO(st, sv_version_spec(&card->spec, v), out);
    *out = card;
    card = NULL;
out:
    sv_card_close(&card);
    ps_version_close(&v);
    return st;
}

/* Posts what there is to know of a version: its card, or why it has none. Takes the card. */
static void post(struct sv_follower *f, int64_t version, struct sv_card *card, int64_t change,
                 bool fell_back)
{
    struct sv_news *news;
    char reason[sizeof news->reason];
    snprintf(reason, sizeof reason, "%s", card ? "" : cm_error_text());
    if (cm_alloc(&news, 1, sizeof *news, "news") != CM_OK) {
        cm_error_report(CM_LOG_WARN, CM_ENOMEM, "follower");
        sv_card_close(&card);
        return;
    }
    news->letter.kind = f->cfg.letter_kind;
    news->version = card ? card->version : (struct sv_version){.number = version};
    news->change = change;
    news->fell_back = fell_back;
    news->card = card;
    memcpy(news->reason, reason, sizeof reason);
    f->offered = version;
    if (!sv_mailbox_put(f->cfg.mailbox, &news->letter))
        sv_news_close(&news);
}

/* A version that cannot be read is told once, and tried again at every look: on a shared file
 * system the alias may be seen before the version. */
static void offer(struct sv_follower *f, const struct ps_store *store, int64_t version,
                  int64_t change)
{
    struct sv_card *card = NULL;
    cm_status st = read_card(&card, store, version);
    if (st == CM_OK)
        f->told_change = change;
    else if (f->unreadable_change == change)
        return;
    else
        f->unreadable_change = change;
    post(f, version, card, change, false);
}

static bool is_refused(struct sv_follower *f, int64_t version)
{
    bool found = false;
    pthread_mutex_lock(&f->lock);
    for (int i = 0; i < f->nrefused; i++)
        found = found || f->refused[i] == version;
    pthread_mutex_unlock(&f->lock);
    return found;
}

/* The newest version before the present one that the alias named and nobody refused; 0: none. */
static int64_t find_former(struct sv_follower *f)
{
    struct ps_alias *history = NULL;
    size_t n = 0;
    int64_t version = 0;
    if (ps_alias_history(&history, &n, f->store_dir, f->alias) != CM_OK)
        return 0;
    for (size_t i = n; i-- > 0 && !version;)
        if (!is_refused(f, history[i].version))
            version = history[i].version;
    cm_free(&history);
    return version;
}

/* What the alias names, and the number of the change that made it so. */
static cm_status resolve(struct sv_follower *f, const struct ps_store *store, int64_t *version,
                         int64_t *change)
{
    struct ps_alias alias;
    if (strcmp(f->alias, LATEST) != 0) {
        CM_TRY(ps_alias_get(&alias, f->store_dir, f->alias));
        *version = alias.version;
        *change = alias.number;
        return CM_OK;
    }
    int64_t *all = NULL;
    size_t n = 0;
    CM_TRY(ps_store_list(store, &all, &n));
    *version = *change = n ? all[n - 1] : 0;
    cm_free(&all);
    return n ? CM_OK : CM_FAIL(CM_ENOTFOUND, "%s has no version", f->store_dir);
}

static void offer_former(struct sv_follower *f, const struct ps_store *store, int64_t change)
{
    struct sv_card *card = NULL;
    int64_t former = find_former(f);
    if (!former)
        return;
    cm_status st = read_card(&card, store, former);
    post(f, former, card, change, st == CM_OK);
}

static cm_status look(struct sv_follower *f)
{
    struct ps_store *store = NULL;
    int64_t version, change;
    cm_status st;
    CM_TRY(ps_store_open(&store, f->store_dir, 'v'));
    CM_GOTO(st, resolve(f, store, &version, &change), out);
    if (change > f->seen_change) {
        pthread_mutex_lock(&f->lock);
        f->nrefused = 0; /* a person or the trainer has decided anew */
        pthread_mutex_unlock(&f->lock);
        f->seen_change = change;
    }
    if (change > f->told_change)
        offer(f, store, version, change);
    if (is_refused(f, f->offered))
        offer_former(f, store, change);
out:
    ps_store_close(&store);
    return st;
}

static void look_and_tell(struct sv_follower *f)
{
    cm_status st = look(f);
    if (st == CM_OK) {
        f->told_waiting = false;
        return;
    }
    if (!f->told_waiting && st == CM_ENOTFOUND)
        cm_log_info("nothing to serve yet: %s", cm_error_text());
    else if (!f->told_waiting)
        cm_error_report(CM_LOG_WARN, st, "looking at the store");
    f->told_waiting = true;
}

static void *follow(void *ctx)
{
    struct sv_follower *f = ctx;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        f->kicked = false;
        pthread_mutex_unlock(&f->lock);
        look_and_tell(f);
        int64_t at_ns = cm_now_ns() + f->cfg.poll_ms * INT64_C(1000000);
        struct timespec at = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
        pthread_mutex_lock(&f->lock);
        while (!f->stop && !f->kicked && pthread_cond_timedwait(&f->wake, &f->lock, &at) == 0)
            ;
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

cm_status sv_follower_start(struct sv_follower **out, const struct sv_follower_config *cfg)
{
    struct sv_follower *f = NULL;
    pthread_condattr_t monotonic;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&f, 1, sizeof *f, "follower"));
    f->cfg = *cfg;
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&f->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    CM_GOTO(st, cm_strdup(&f->store_dir, cfg->store_dir), out);
    CM_GOTO(st, cm_strdup(&f->alias, cfg->alias), out);
    int code = pthread_create(&f->thread, NULL, follow, f);
    if (code) {
        st = CM_FAIL(CM_EIO, "cannot start a thread: %s", strerror(code));
        goto out;
    }
    f->started = true;
    *out = f;
    f = NULL;
out:
    sv_follower_stop(&f);
    return st;
}

void sv_follower_stop(struct sv_follower **follower)
{
    struct sv_follower *f = *follower;
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    if (f->started)
        pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    cm_free(&f->store_dir);
    cm_free(&f->alias);
    cm_free(follower);
}

void sv_follower_kick(struct sv_follower *f)
{
    pthread_mutex_lock(&f->lock);
    f->kicked = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

void sv_follower_fall_back(struct sv_follower *f, int64_t version)
{
    pthread_mutex_lock(&f->lock);
    if (f->nrefused < MAX_REFUSED)
        f->refused[f->nrefused++] = version;
    f->kicked = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}
