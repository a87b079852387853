/* feedback stats: what waits, what was done with the rest, and whether the account closes. feedback
 * dlq: the dead letters, newest first, each once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "online/command_online.h"
#include "online/online_state.h"
#include "online/queue_args.h"
#include "online/redis_link.h"
#include "online/stream_facts.h"
#include "wire/text.h"

struct values {
    struct ol_queue_args queue;
    int64_t count;
    bool json;
};

#define OPT_JSON                                                                                   \
    {                                                                                              \
        "json", 0, CM_OPT_FLAG, offsetof(struct values, json), NULL, "one JSON object"             \
    }
static const struct cm_opt stats_opts[] = {
    OL_QUEUE_OPTS(struct values, queue),
    {"run", 0, CM_OPT_STRING, offsetof(struct values, queue.run_dir), "DIR",
     "the run directory whose newest state is compared (the config's)"},
    OPT_JSON,
};
static const struct cm_opt dlq_opts[] = {
    OL_QUEUE_OPTS(struct values, queue),
    {"count", 'n', CM_OPT_INT, offsetof(struct values, count), "N", "at most so many (20)"},
    OPT_JSON,
};

static const struct cm_command stats_command = {
    .name = "flywheel feedback stats",
    .operands = "",
    .summary = "Shows every operator's stream: length, lag, and what became of its entries.",
    .details = "lag: entries that no committed state accounts for. Without a run directory\n"
               "(--config or --run) only what Redis knows is shown. lost: entries that another\n"
               "trimmed or deleted before they were read.",
    .opts = stats_opts,
    .nopts = sizeof stats_opts / sizeof *stats_opts,
};
static const struct cm_command dlq_command = {
    .name = "flywheel feedback dlq",
    .operands = "",
    .summary = "Lists entries that could not be used, newest first, with the reason.",
    .opts = dlq_opts,
    .nopts = sizeof dlq_opts / sizeof *dlq_opts,
};

/* ---- stats ---- */

struct stats {
    struct ol_state state;  /* the newest; its ledger has every stream of Redis, too */
    int64_t version;        /* of it; 0: none */
    struct ol_facts *facts; /* of each stream of the ledger */
    int64_t letters;
};

static cm_status note_operator(void *ctx, const char *name)
{
    struct ol_stream *s;
    return ol_ledger_add(&s, ctx, name);
}

static cm_status load_newest(struct stats *t, const struct ol_config *cfg, const char *run_dir)
{
    char dir[CM_PATH];
    struct ps_store *store;
    CM_TRY(ol_state_init(&t->state, (size_t)cfg->dedup));
    if (!*run_dir)
        return CM_OK;
    CM_TRY(cm_path_join(dir, run_dir, "online"));
    if (!cm_path_is_dir(dir))
        return CM_OK;
    CM_TRY(ps_store_open(&store, dir, 's'));
    cm_status st = ol_state_load(&t->state, &t->version, store);
    ps_store_close(&store);
    return st;
}

static cm_status gather(struct stats *t, struct cm_redis *redis)
{
    struct ol_ledger *l = &t->state.ledger;
    const struct cm_redis_value *v;
    CM_TRY(ol_facts_operators(redis, note_operator, l));
    CM_TRY(cm_alloc(&t->facts, l->n, sizeof *t->facts, "streams"));
    for (size_t i = 0; i < l->n; i++) {
        char key[WI_KEY];
        if (wi_key_feedback(key, l->stream[i].name))
            CM_TRY(ol_facts_get(&t->facts[i], redis, key));
    }
    CM_TRY(cm_redis_call(redis, &v, "XLEN", WI_KEY_DLQ, NULL));
    t->letters = v->integer;
    return CM_OK;
}

/* Entries that nobody accounted for: those that were added and not read; but what was deleted from
 * Redis cannot come any more. */
static int64_t lag_of(const struct ol_stream *s, const struct ol_facts *f)
{
    int64_t unread = f->added - s->read;
    unread = unread < 0 ? f->length : unread;
    return unread < f->length ? unread : f->length;
}

static void write_stream(struct cm_jw *w, const struct ol_stream *s, const struct ol_facts *f)
{
    char offset[OL_ID_TEXT];
    ol_id_format(offset, s->offset);
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "operator", s->name);
    cm_jw_i64(w, "length", f->length);
    cm_jw_i64(w, "added", f->added);
    cm_jw_i64(w, "lag", lag_of(s, f));
    cm_jw_i64(w, "lost", ol_facts_lost(f, s));
    cm_jw_string(w, "offset", offset);
    cm_jw_i64(w, "read", s->read);
    cm_jw_i64(w, "trained", s->count.trained);
    cm_jw_i64(w, "rejected", s->count.rejected);
    cm_jw_i64(w, "dead", s->count.dead);
    cm_jw_i64(w, "duplicate", s->count.duplicate);
    cm_jw_end(w);
}

static cm_status print_stats_json(const struct stats *t)
{
    const struct ol_ledger *l = &t->state.ledger;
    struct cm_jw w = {0};
    int64_t lag = 0;
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, "state", t->version);
    cm_jw_i64(&w, "batch", t->state.batch);
    cm_jw_i64(&w, "dead_letters", t->letters);
    cm_jw_begin(&w, "streams", '[');
    for (size_t i = 0; i < l->n; i++) {
        write_stream(&w, &l->stream[i], &t->facts[i]);
        lag += lag_of(&l->stream[i], &t->facts[i]);
    }
    cm_jw_end(&w);
    cm_jw_i64(&w, "lag", lag);
    cm_jw_end(&w);
    return cm_jw_print(&w);
}

static cm_status print_stats(const struct stats *t)
{
    const struct ol_ledger *l = &t->state.ledger;
    printf("%-24s %8s %8s %8s %8s %8s %8s %9s\n", "operator", "length", "lag", "lost", "trained",
           "rejected", "dead", "duplicate");
    for (size_t i = 0; i < l->n; i++) {
        const struct ol_stream *s = &l->stream[i];
        printf("%-24s %8" PRId64 " %8" PRId64 " %8" PRId64 " %8" PRId64 " %8" PRId64 " %8" PRId64
               " %9" PRId64 "\n",
               s->name, t->facts[i].length, lag_of(s, &t->facts[i]), ol_facts_lost(&t->facts[i], s),
               s->count.trained, s->count.rejected, s->count.dead, s->count.duplicate);
    }
    printf("%" PRId64 " dead letters in " WI_KEY_DLQ "\n", t->letters);
    if (t->version == 0)
        printf("no committed state to compare with\n");
    else
        printf("state %" PRId64 ", batch %" PRId64 ": %s\n", t->version, t->state.batch,
               t->state.verdict.text);
    return CM_OK;
}

cm_status ol_command_stats(int argc, char **argv)
{
    struct values v = {0};
    struct stats t = {0};
    struct ol_config cfg;
    struct cm_redis *redis = NULL;
    char **operands, run_dir[CM_PATH];
    int noperands;
    bool helped;
    cm_status st;
    CM_TRY(cm_args_parse(&stats_command, argc, argv, &v, &operands, &noperands, &helped));
    if (helped)
        return CM_OK;
    CM_TRY(ol_queue_config(&cfg, run_dir, &v.queue));
    CM_GOTO(st, load_newest(&t, &cfg, run_dir), out);
    CM_GOTO(st, ol_redis_open(&redis, &cfg, "flywheel-feedback"), out);
    CM_GOTO(st, gather(&t, redis), out);
    st = v.json ? print_stats_json(&t) : print_stats(&t);
out:
    cm_redis_close(&redis);
    cm_free(&t.facts);
    ol_state_release(&t.state);
    return st;
}

/* ---- dead letters ---- */

struct letter {
    const char *source, *reason, *time; /* borrowed from the reply */
};

static struct letter read_letter(const struct cm_redis_value *entry)
{
    struct letter l = {"", "", ""};
    const struct cm_redis_value *pair = entry->element[1].element;
    for (size_t i = 0; i + 1 < entry->element[1].n; i += 2) {
        if (strcmp(pair[i].string, "source") == 0)
            l.source = pair[i + 1].string;
        else if (strcmp(pair[i].string, "reason") == 0)
            l.reason = pair[i + 1].string;
        else if (strcmp(pair[i].string, "time") == 0)
            l.time = pair[i + 1].string;
    }
    return l;
}

/* A crash may have sent one twice: its source tells. */
static bool came_before(const struct cm_redis_value *list, size_t i, const char *source)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(read_letter(&list->element[j]).source, source) == 0)
            return true;
    return false;
}

/* Whoever may write letters may not write to a terminal what it obeys. */
static const char *shown(char quoted[WI_QUOTED], const char *text)
{
    size_t n = strlen(text);
    return wi_text_is_plain(text, n) ? text : wi_text_quote(quoted, text, n);
}

static cm_status print_letters(const struct cm_redis_value *list, bool json)
{
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_begin(&w, "letters", '[');
    for (size_t i = 0; i < list->n; i++) {
        struct letter l = read_letter(&list->element[i]);
        if (came_before(list, i, l.source))
            continue;
        char time[WI_QUOTED], source[WI_QUOTED], reason[WI_QUOTED];
        if (!json)
            printf("%s  %s  %s\n", shown(time, l.time), shown(source, l.source),
                   shown(reason, l.reason));
        cm_jw_begin(&w, NULL, '{');
        cm_jw_string(&w, "source", l.source);
        cm_jw_string(&w, "reason", l.reason);
        cm_jw_string(&w, "time", l.time);
        cm_jw_end(&w);
    }
    cm_jw_end(&w);
    cm_jw_end(&w);
    if (json)
        return cm_jw_print(&w);
    cm_jw_release(&w);
    return CM_OK;
}

cm_status ol_command_dlq(int argc, char **argv)
{
    struct values v = {.count = 20};
    struct ol_config cfg;
    struct cm_redis *redis;
    const struct cm_redis_value *list;
    char **operands, count[24];
    int noperands;
    bool helped;
    CM_TRY(cm_args_parse(&dlq_command, argc, argv, &v, &operands, &noperands, &helped));
    if (helped)
        return CM_OK;
    if (v.count < 1)
        return CM_FAIL(CM_EUSAGE, "--count %lld: at least 1", (long long)v.count);
    CM_TRY(ol_queue_config(&cfg, NULL, &v.queue));
    CM_TRY(ol_redis_open(&redis, &cfg, "flywheel-feedback"));
    snprintf(count, sizeof count, "%lld", (long long)v.count);
    cm_status st =
        cm_redis_call(redis, &list, "XREVRANGE", WI_KEY_DLQ, "+", "-", "COUNT", count, NULL);
    if (st == CM_OK)
        st = print_letters(list, v.json);
    cm_redis_close(&redis);
    return st;
}
