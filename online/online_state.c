#include "online/online_state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"

#define STATE_FILE   "online.json"
#define DEDUP_FILE   "dedup.safetensors"
#define STATE_NBYTES ((size_t)16 << 20)
#define NUMBER_MAX   9007199254740991

cm_status ol_state_init(struct ol_state *s, size_t dedup)
{
    *s = (struct ol_state){.verdict.worst_class = -1};
    return ol_dedup_init(&s->dedup, OL_ENTRY_KEYS * dedup);
}

void ol_state_release(struct ol_state *s)
{
    ol_ledger_release(&s->ledger);
    ol_dedup_release(&s->dedup);
    ol_anchor_release(&s->anchor);
}

int ol_entry_was_right(const struct ol_batch *b, const struct ol_entry *e, const int32_t *predicted)
{
    if (e->row < 0)
        return -1;
    int64_t said = e->served_class >= 0 ? e->served_class : predicted[e->row];
    return said == b->labels[e->row];
}

/* ---- a step of the chain ---- */

/* A stream whose reading began anew (Redis lost data) says so by its "after". */
static cm_status begin_streams(struct ol_state *s, const struct ol_batch *b)
{
    for (size_t i = 0; i < b->noperators; i++) {
        struct ol_stream *stream;
        CM_TRY(ol_ledger_add(&stream, &s->ledger, b->operators[i]));
        if (ol_id_compare(b->after[i], stream->offset) < 0)
            ol_stream_restart(stream);
    }
    return CM_OK;
}

cm_status ol_state_advance(struct ol_state *s, const struct ol_batch *b,
                           const struct ol_gate_verdict *verdict, int64_t weights,
                           const int32_t *predicted, double drift_delta, int64_t *drifts)
{
    CM_TRY(begin_streams(s, b));
    int64_t found = 0;
    for (size_t i = 0; i < b->nentries; i++) {
        const struct ol_entry *e = &b->entries[i];
        enum ol_fate fate = (enum ol_fate)e->fate;
        if (fate == OL_TRAINED && verdict->reason != OL_GATE_PASSED)
            fate = OL_REJECTED;
        ol_stream_account(ol_ledger_find(&s->ledger, b->operators[e->operator_index]), e->id, fate);
        if (e->row < 0)
            continue;
        /* Of a refused entry only the delivery is known: what a bad batch took down with it may be
         * said again, by somebody else or under another id. */
        ol_dedup_add(&s->dedup, ol_entry_delivery(b->operators[e->operator_index], e));
        if (fate == OL_TRAINED)
            ol_dedup_add(&s->dedup, e->content);
        bool error = ol_entry_was_right(b, e, predicted) == 0;
        found += ol_drift_observe(&s->drift, drift_delta, error);
    }
    s->batch = b->number;
    memcpy(s->epoch, b->epoch, sizeof s->epoch);
    s->champion = b->champion;
    s->weights = weights;
    s->verdict = *verdict;
    if (drifts)
        *drifts = found;
    return CM_OK;
}

/* ---- as a file ---- */

static void write_verdict(struct cm_jw *w, const struct ol_gate_verdict *v)
{
    cm_jw_begin(w, "gate", '{');
    cm_jw_string(w, "reason", ol_gate_reason_name(v->reason));
    cm_jw_string(w, "text", v->text);
    cm_jw_f64(w, "champion_accuracy", v->champion_accuracy);
    cm_jw_f64(w, "candidate_accuracy", v->candidate_accuracy);
    cm_jw_i64(w, "worse", v->worse);
    cm_jw_i64(w, "better", v->better);
    cm_jw_f64(w, "statistic", v->statistic);
    cm_jw_i64(w, "worst_class", v->worst_class);
    cm_jw_f64(w, "worst_drop", v->worst_drop);
    cm_jw_f64(w, "update", v->update);
    cm_jw_f64(w, "feedback_champion", v->feedback_champion);
    cm_jw_f64(w, "feedback_candidate", v->feedback_candidate);
    cm_jw_end(w);
}

/* Buckets by size, oldest first. */
static void write_drift(struct cm_jw *w, const struct ol_drift *d)
{
    cm_jw_begin(w, "drift", '{');
    cm_jw_i64(w, "seen", d->seen);
    cm_jw_begin(w, "buckets", '[');
    for (int row = 0; row < OL_DRIFT_ROWS; row++) {
        cm_jw_begin(w, NULL, '[');
        for (int i = 0; i < d->count[row]; i++)
            cm_jw_i64(w, NULL, d->sum[row][i]);
        cm_jw_end(w);
    }
    cm_jw_end(w);
    cm_jw_end(w);
}

static cm_status write_state(char **text, size_t *n, const struct ol_state *s)
{
    struct cm_jw w = {.indent = 1};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "format", "1.1");
    cm_jw_i64(&w, "batch", s->batch);
    cm_jw_string(&w, "epoch", s->epoch);
    cm_jw_i64(&w, "champion", s->champion);
    cm_jw_i64(&w, "weights", s->weights);
    write_verdict(&w, &s->verdict);
    write_drift(&w, &s->drift);
    ol_ledger_write(&s->ledger, &w);
    cm_jw_end(&w);
    return cm_jw_take(&w, text, n);
}

static cm_status put_dedup(struct ps_draft *draft, const struct ol_dedup *d)
{
    struct ps_tensors set = {0};
    uint64_t *list = NULL;
    int64_t n = (int64_t)d->n;
    CM_TRY(cm_alloc(&list, d->n, sizeof *list, "dedup window"));
    ol_dedup_list(d, list);
    cm_status st = ps_tensors_append(&set, "hash", PS_U64, 1, &n, list);
    if (st == CM_OK)
        st = ps_draft_put_tensors(draft, DEDUP_FILE, &set);
    ps_tensors_release(&set);
    cm_free(&list);
    return st;
}

cm_status ol_state_commit(const struct ol_state *s, int64_t *version, struct ps_store *store,
                          int64_t parent, const char *run)
{
    struct ps_manifest m = {.parent = parent, .step = s->batch};
    struct ps_draft *draft = NULL;
    char *text = NULL;
    size_t n;
    cm_status st;
    snprintf(m.producer, sizeof m.producer, "online");
    snprintf(m.run, sizeof m.run, "%s", run);
    CM_GOTO(st, write_state(&text, &n, s), out);
    CM_GOTO(st, ps_draft_open(&draft, store), out);
    CM_GOTO(st, ps_draft_put_file(draft, STATE_FILE, text, n), out);
    CM_GOTO(st, put_dedup(draft, &s->dedup), out);
    CM_GOTO(st, ol_anchor_put(&s->anchor, draft), out);
    CM_GOTO(st, ps_draft_commit(&draft, &m), out);
    *version = m.version;
out:
    ps_draft_close(&draft);
    ps_manifest_release(&m);
    cm_free(&text);
    return st;
}

/* ---- and back ---- */

/* A number that may have been none (written as null). */
static cm_status read_number(double *out, const struct cm_json *object, const char *where,
                             const char *key)
{
    const struct cm_json *v = cm_json_get(object, key);
    *out = (double)NAN;
    if (v && cm_json_type(v) == CM_JSON_NULL)
        return CM_OK;
    return cm_json_need_f64(object, where, key, out);
}

static cm_status read_verdict(struct ol_gate_verdict *v, const struct cm_json *json,
                              const char *where)
{
    const struct cm_json *gate;
    const char *reason, *text;
    int64_t worst;
    CM_TRY(cm_json_need(json, where, "gate", CM_JSON_OBJECT, &gate));
    CM_TRY(cm_json_need_string(gate, where, "reason", &reason));
    CM_TRY(cm_json_need_string(gate, where, "text", &text));
    if (!ol_gate_reason_parse(&v->reason, reason))
        return CM_FAIL(CM_EFORMAT, "%s: '%.40s' is no verdict of the gate", where, reason);
    snprintf(v->text, sizeof v->text, "%s", text);
    CM_TRY(cm_json_need_i64(gate, where, "worse", 0, NUMBER_MAX, &v->worse));
    CM_TRY(cm_json_need_i64(gate, where, "better", 0, NUMBER_MAX, &v->better));
    CM_TRY(cm_json_need_i64(gate, where, "worst_class", -1, INT32_MAX, &worst));
    v->worst_class = (int)worst;
    const struct {
        const char *key;
        double *to;
    } numbers[] = {{"champion_accuracy", &v->champion_accuracy},
                   {"candidate_accuracy", &v->candidate_accuracy},
                   {"statistic", &v->statistic},
                   {"worst_drop", &v->worst_drop},
                   {"update", &v->update},
                   {"feedback_champion", &v->feedback_champion},
                   {"feedback_candidate", &v->feedback_candidate}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        CM_TRY(read_number(numbers[i].to, gate, where, numbers[i].key));
    return CM_OK;
}

static cm_status read_bucket(struct ol_drift *d, int row, const struct cm_json *v,
                             const char *where)
{
    int64_t errors, size = INT64_C(1) << row;
    if (d->count[row] == OL_DRIFT_BUCKETS)
        return CM_FAIL(CM_EFORMAT, "%s: drift: too many buckets of %lld", where, (long long)size);
    CM_TRY(cm_json_as_i64(v, where, 0, size, &errors));
    d->sum[row][d->count[row]++] = errors;
    d->n += size;
    d->errors += errors;
    return CM_OK;
}

static cm_status read_drift(struct ol_drift *d, const struct cm_json *json, const char *where)
{
    const struct cm_json *drift, *rows;
    int row = 0;
    *d = (struct ol_drift){0};
    CM_TRY(cm_json_need(json, where, "drift", CM_JSON_OBJECT, &drift));
    CM_TRY(cm_json_need_i64(drift, where, "seen", 0, NUMBER_MAX, &d->seen));
    CM_TRY(cm_json_need(drift, where, "buckets", CM_JSON_ARRAY, &rows));
    CM_JSON_EACH (list, rows) {
        if (row == OL_DRIFT_ROWS || cm_json_type(list) != CM_JSON_ARRAY)
            return CM_FAIL(CM_EFORMAT, "%s: drift: no list of buckets", where);
        CM_JSON_EACH (v, list)
            CM_TRY(read_bucket(d, row, v, where));
        row++;
    }
    return CM_OK;
}

static cm_status read_state(struct ol_state *s, const struct cm_json *json, const char *where)
{
    const char *epoch;
    CM_TRY(cm_json_need_format(json, where, 1, NULL));
    CM_TRY(cm_json_need_i64(json, where, "batch", 1, NUMBER_MAX, &s->batch));
    CM_TRY(cm_json_need_i64(json, where, "champion", 0, NUMBER_MAX, &s->champion));
    CM_TRY(cm_json_need_i64(json, where, "weights", 0, NUMBER_MAX, &s->weights));
    CM_TRY(cm_json_need_string(json, where, "epoch", &epoch));
    if (strlen(epoch) >= sizeof s->epoch)
        return CM_FAIL(CM_EFORMAT, "%s: 'epoch' is no UUID", where);
    snprintf(s->epoch, sizeof s->epoch, "%s", epoch);
    CM_TRY(read_verdict(&s->verdict, json, where));
    CM_TRY(read_drift(&s->drift, json, where));
    return ol_ledger_read(&s->ledger, json, where);
}

static cm_status read_dedup(struct ol_dedup *d, const struct ps_version *version)
{
    struct ps_tensor_file *file;
    CM_TRY(ps_version_map(&file, version, DEDUP_FILE));
    const struct ps_tensor *t = ps_tensors_find(ps_tensor_file_set(file), "hash");
    uint64_t *list = NULL;
    cm_status st = CM_OK;
    if (!t || t->dtype != PS_U64 || t->ndim != 1)
        st = CM_FAIL(CM_EFORMAT, "%s: no dedup window", ps_version_dir(version));
    if (st == CM_OK)
        st = cm_alloc(&list, t->nbytes, 1, "dedup window"); /* in the file it may lie unaligned */
    if (st == CM_OK) {
        if (t->nbytes)
            memcpy(list, t->data, t->nbytes);
        ol_dedup_fill(d, list, (size_t)t->dim[0]);
    }
    cm_free(&list);
    ps_tensor_file_close(&file);
    return st;
}

static cm_status load_version(struct ol_state *s, const struct ps_version *version)
{
    const char *where = ps_version_dir(version);
    struct cm_json *json = NULL;
    char *text;
    size_t n;
    CM_TRY(ps_version_read(&text, &n, version, STATE_FILE, STATE_NBYTES));
    cm_status st = cm_json_parse(&json, text, n, where);
    if (st == CM_OK)
        st = read_state(s, json, where);
    if (st == CM_OK)
        st = read_dedup(&s->dedup, version);
    if (st == CM_OK)
        st = ol_anchor_get(&s->anchor, version); /* since 1.1 */
    cm_json_close(&json);
    cm_free(&text);
    return st;
}

cm_status ol_state_load(struct ol_state *s, int64_t *version, struct ps_store *store)
{
    struct ps_version *newest;
    *version = 0;
    cm_status st = ps_version_open_newest(&newest, store);
    if (st == CM_ENOTFOUND)
        return CM_OK;
    CM_TRY(st);
    ol_ledger_release(&s->ledger);
    st = load_version(s, newest);
    if (st == CM_OK)
        *version = ps_version_number(newest);
    ps_version_close(&newest);
    return st;
}
