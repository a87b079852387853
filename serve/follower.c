#include "serve/follower.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/cond.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/alias.h"
#include "parameter/store.h"
#include "serve/loader.h"
#include "serve/version_spec.h"

#define MAX_REFUSED 64
#define LATEST      "latest"
#define SOON_MS     100

struct refused {
    int64_t version;
    bool put_off; /* until the next retry */
};

/* When a name began to mean what it means. */
struct change {
    int64_t number; /* of the alias' change; of the version, for "latest" */
    double utc_s;   /* 0: unknown */
};

/* What the gateway wants. */
struct wishes {
    struct refused refused[MAX_REFUSED]; /* since the alias changed */
    int nrefused;
    bool fall;  /* nothing serves: a former version is wanted */
    bool retry; /* what was put off is wanted again */
};

struct sv_follower {
    struct sv_follower_config cfg;
    char *store_dir, *alias;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards the rest of this block */
    pthread_cond_t wake;
    bool stop, kicked, ended; /* ended: the thread's last word */
    struct wishes wishes;

    /* The thread's own. */
    struct wishes now;                 /* as they were when this look began */
    bool falling;                      /* a former version is wanted, and was not offered yet */
    struct change seen;                /* the alias' newest change */
    bool told;                         /* the gateway knows what it names … */
    bool told_bad;                     /* … or that this cannot be read */
    bool anew;                         /* it was not offered since the alias changed */
    int64_t unreadable, unreadable_ns; /* a version that cannot be read, and since when */
    bool soon; /* something could not be read: look again soon, whatever poll_ms says */
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
static void post(struct sv_follower *f, int64_t version, struct sv_card *card, bool passing,
                 bool anew, bool fell_back)
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
    news->anew = anew;
    news->fell_back = fell_back;
    news->card = card;
    news->passing = passing;
    memcpy(news->reason, reason, sizeof reason);
    if (!sv_mailbox_put(f->cfg.mailbox, &news->letter))
        sv_news_close(&news);
}

/* Reads the card of a version. False: it cannot be read, and that is not worth telling yet: on a
 * shared file system the alias may be seen before the version, and a server may be away for a
 * moment. */
static bool find_out(struct sv_follower *f, const struct ps_store *store, int64_t version,
                     struct sv_card **card, bool *passing)
{
    cm_status st = read_card(card, store, version);
    *passing = sv_load_is_passing(st);
    if (!*passing) {
        f->unreadable = 0;
        return true;
    }
    if (f->unreadable != version) {
        cm_log_info("version %lld cannot be read yet: %s", (long long)version, cm_error_text());
        f->unreadable = version;
        f->unreadable_ns = cm_now_ns();
    }
    f->soon = cm_now_ns() - f->unreadable_ns < f->cfg.retry_ms * INT64_C(1000000);
    return !f->soon;
}

/* A version that cannot be read is told once, and tried again at every look. */
static void offer(struct sv_follower *f, const struct ps_store *store, int64_t version)
{
    struct sv_card *card = NULL;
    bool passing = false;
    bool known = f->told_bad ? read_card(&card, store, version) == CM_OK
                             : find_out(f, store, version, &card, &passing);
    if (!known)
        return;
    bool anew = f->anew || f->told_bad;
    f->told = card;
    f->told_bad = !card;
    f->anew = false;
    post(f, version, card, passing, anew, false);
}

static bool is_refused(const struct sv_follower *f, int64_t version)
{
    bool found = false;
    for (int i = 0; i < f->now.nrefused; i++)
        found = found || f->now.refused[i].version == version;
    return found;
}

/* The newest of the versions named before that nobody refused; 0: none. */
static int64_t find_former(const struct sv_follower *f, const struct ps_store *store)
{
    struct ps_alias *history = NULL;
    int64_t *all = NULL, version = 0;
    bool latest = strcmp(f->alias, LATEST) == 0;
    size_t n = 0;
    cm_status st = latest ? ps_store_list(store, &all, &n)
                          : ps_alias_history(&history, &n, f->store_dir, f->alias);
    for (size_t i = st == CM_OK ? n : 0; i-- > 0 && !version;) {
        int64_t named = latest ? all[i] : history[i].version;
        version = is_refused(f, named) ? 0 : named;
    }
    cm_free(&history);
    cm_free(&all);
    return version;
}

/* The highest version, and when it was made: a number alone would not show that the store was made
 * anew. */
static cm_status resolve_latest(const struct ps_store *store, int64_t *version,
                                struct change *change)
{
    struct ps_version *v;
    int64_t *all = NULL;
    size_t n = 0;
    CM_TRY(ps_store_list(store, &all, &n));
    *version = n ? all[n - 1] : 0;
    cm_free(&all);
    if (n == 0)
        return CM_FAIL(CM_ENOTFOUND, "%s has no version", ps_store_dir(store));
    *change = (struct change){.number = *version};
    if (ps_version_open(&v, store, *version) == CM_OK) {
        change->utc_s = ps_version_manifest(v)->created_utc_s;
        ps_version_close(&v);
    }
    return CM_OK;
}

/* What the alias names, and the change that made it so. */
static cm_status resolve(struct sv_follower *f, const struct ps_store *store, int64_t *version,
                         struct change *change)
{
    struct ps_alias alias;
    if (strcmp(f->alias, LATEST) == 0)
        return resolve_latest(store, version, change);
    CM_TRY(ps_alias_get(&alias, f->store_dir, f->alias));
    *version = alias.version;
    *change = (struct change){alias.number, alias.changed_utc_s};
    return CM_OK;
}

/* Numbers grow, unless the store was made anew; then times have. A newest change that does not read
 * for a moment shows an older one, with its older time. */
static bool is_newer(struct change a, struct change b)
{
    return a.number > b.number || (a.utc_s > b.utc_s && b.utc_s > 0);
}

/* One at a time: when it is refused too, the gateway says so, and the next one is offered. */
static void offer_former(struct sv_follower *f, const struct ps_store *store)
{
    struct sv_card *card = NULL;
    bool passing;
    int64_t former = find_former(f, store);
    if (!former || !find_out(f, store, former, &card, &passing))
        return;
    f->falling = false;
    post(f, former, card, passing, false, true);
}

/* A look obeys what was wanted when it began, and leaves what comes meanwhile to the next one. */
static void take_wishes(struct sv_follower *f)
{
    pthread_mutex_lock(&f->lock);
    f->now = f->wishes;
    f->wishes.fall = f->wishes.retry = false;
    pthread_mutex_unlock(&f->lock);
    f->falling = f->falling || f->now.fall;
}

/* A person or the trainer has decided anew. */
static void forget_wishes(struct sv_follower *f)
{
    pthread_mutex_lock(&f->lock);
    f->wishes = (struct wishes){0};
    pthread_mutex_unlock(&f->lock);
    f->now = (struct wishes){0};
    f->falling = false;
}

/* What cannot be read is tried at every look, and what was refused is no good: only the versions
 * before those are worth another try. Else what the alias names is, before any other. */
static void try_again(struct sv_follower *f, int64_t version)
{
    f->falling = f->told_bad || is_refused(f, version);
    if (!f->falling)
        f->told = false;
}

static cm_status look(struct sv_follower *f)
{
    struct ps_store *store = NULL;
    struct change change = {0};
    int64_t version;
    cm_status st;
    CM_TRY(cm_fault("serve.look"));
    CM_TRY(ps_store_open(&store, f->store_dir, 'v'));
    CM_GOTO(st, resolve(f, store, &version, &change), out);
    take_wishes(f);
    if (is_newer(change, f->seen)) {
        forget_wishes(f);
        f->told = f->told_bad = false;
        f->anew = true;
    }
    if (is_newer(change, f->seen) || (change.number == f->seen.number && f->seen.utc_s <= 0))
        f->seen = change;
    if (f->now.retry)
        try_again(f, version);
    if (!f->told && change.number == f->seen.number)
        offer(f, store, version);
    if ((f->told || f->told_bad) && f->falling)
        offer_former(f, store);
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
        f->soon = false;
        look_and_tell(f);
        int64_t ms = f->soon && f->cfg.poll_ms > SOON_MS ? SOON_MS : f->cfg.poll_ms;
        struct cm_deadline next = cm_deadline_in_ms(ms);
        pthread_mutex_lock(&f->lock);
        while (!f->stop && !f->kicked && cm_cond_wait(&f->wake, &f->lock, next))
            ;
    }
    f->ended = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

cm_status sv_follower_start(struct sv_follower **out, const struct sv_follower_config *cfg)
{
    struct sv_follower *f = NULL;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&f, 1, sizeof *f, "follower"));
    f->cfg = *cfg;
    pthread_mutex_init(&f->lock, NULL);
    cm_cond_init(&f->wake);
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
    sv_follower_stop(&f, 0);
    return st;
}

bool sv_follower_stop(struct sv_follower **follower, int timeout_ms)
{
    struct sv_follower *f = *follower;
    if (!f)
        return true;
    struct cm_deadline end = cm_deadline_in_ms(timeout_ms);
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->wake);
    while (f->started && !f->ended && cm_cond_wait(&f->wake, &f->lock, end))
        ;
    bool hangs = f->started && !f->ended;
    pthread_mutex_unlock(&f->lock);
    *follower = NULL;
    if (hangs)
        return false;
    if (f->started)
        pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    cm_free(&f->store_dir);
    cm_free(&f->alias);
    cm_free(&f);
    return true;
}

void sv_follower_kick(struct sv_follower *f)
{
    pthread_mutex_lock(&f->lock);
    f->kicked = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

void sv_follower_fall_back(struct sv_follower *f, int64_t version, bool put_off)
{
    pthread_mutex_lock(&f->lock);
    struct wishes *w = &f->wishes;
    if (w->nrefused < MAX_REFUSED) { /* after so many there is no hope */
        w->refused[w->nrefused++] = (struct refused){version, put_off};
        w->fall = true;
    }
    f->kicked = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

void sv_follower_retry(struct sv_follower *f)
{
    int n = 0;
    pthread_mutex_lock(&f->lock);
    struct wishes *w = &f->wishes;
    for (int i = 0; i < w->nrefused; i++)
        if (!w->refused[i].put_off)
            w->refused[n++] = w->refused[i];
    w->nrefused = n;
    w->retry = f->kicked = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}
