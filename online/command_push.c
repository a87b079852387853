/* feedback push: labelled images, or labels for answers, into the operator's stream. Many go out in
 * one round trip. Each has an id made of its content, so that a push may be repeated when a
 * connection broke and nobody knows how much arrived: the loop counts it once. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "online/command_online.h"
#include "online/labels_csv.h"
#include "online/queue_args.h"
#include "online/redis_link.h"
#include "wire/feedback.h"

#define CHUNK_ENTRIES 64
#define CHUNK_NBYTES  ((size_t)8 << 20) /* of images: an entry more may be on top */
#define CSV_NBYTES    ((size_t)256 << 20)
#define ATTEMPTS      5
#define PAUSE_MS      200

struct values {
    struct ol_queue_args queue;
    const char *label, *labels, *operator_name, *note;
    struct cm_opt_list ids;
    bool raw, json;
};

static const struct cm_opt opts[] = {
    OL_QUEUE_OPTS(struct values, queue),
    {"label", 'l', CM_OPT_STRING, offsetof(struct values, label), "CLASS",
     "what the images show: a class by name or index"},
    {"labels", 0, CM_OPT_STRING, offsetof(struct values, labels), "FILE",
     "lines \"path,label\": many images at once"},
    {"id", 0, CM_OPT_LIST, offsetof(struct values, ids), "PREDICTION",
     "labels the answer of this id instead of an image; may be given again"},
    {"operator", 'o', CM_OPT_STRING, offsetof(struct values, operator_name), "NAME",
     "whose stream it goes to ($USER)"},
    {"note", 0, CM_OPT_STRING, offsetof(struct values, note), "TEXT", "kept with the entry"},
    {"raw", 0, CM_OPT_FLAG, offsetof(struct values, raw), NULL,
     "the files are pixels as the model takes them, not JPEG or PNG"},
    {"json", 0, CM_OPT_FLAG, offsetof(struct values, json), NULL, "one JSON object for programs"},
};

static const struct cm_command command = {
    .name = "flywheel feedback push",
    .operands = "[IMAGE…]",
    .min_operands = 0,
    .max_operands = -1,
    .summary = "Puts labelled images, or labels for answers, into the feedback queue.",
    .details = "feedback push --label cat a.png b.jpg\n"
               "feedback push --labels labels.csv\n"
               "feedback label --id 0193a4… --label cat\n"
               "The same by hand: redis-cli -x XADD fw:feedback:ann '*' label cat image < a.png\n"
               "A push that was cut off may be repeated as it is: what arrived counts once.",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
};

/* ---- entries, a chunk at a time ---- */

#define ARGS (3 + 2 * WI_FEEDBACK_FIELDS)

struct entry {
    char *image; /* owned */
    char id[CM_XXH_TEXT];
    struct wi_feedback_fields fields;
    const char *argv[ARGS];
    size_t argn[ARGS];
};

struct push {
    const struct values *values;
    char key[WI_KEY];
    struct cm_redis *redis;
    struct entry *chunk; /* CHUNK_ENTRIES */
    size_t n, nbytes;
    int64_t pushed;
};

static void empty_chunk(struct push *p)
{
    for (size_t i = 0; i < p->n; i++)
        cm_free(&p->chunk[i].image);
    p->n = 0;
    p->nbytes = 0;
}

static cm_status send_chunk(struct push *p)
{
    struct cm_redis_args commands[CHUNK_ENTRIES];
    cm_status st = CM_OK;
    for (size_t i = 0; i < p->n; i++)
        commands[i] = (struct cm_redis_args){3 + 2 * (int)p->chunk[i].fields.n, p->chunk[i].argv,
                                             p->chunk[i].argn};
    size_t first = 0;
    for (int attempt = 0; first < p->n; attempt++) {
        size_t done;
        st = cm_redis_pipeline(p->redis, commands + first, p->n - first, &done);
        first += done;
        bool again = st == CM_ECONNECT || st == CM_ECLOSED || st == CM_ETIMEDOUT || st == CM_EBUSY;
        if (st != CM_OK && (!again || attempt + 1 == ATTEMPTS))
            break;
        if (st != CM_OK)
            cm_sleep_us(PAUSE_MS * 1000 << attempt);
    }
    p->pushed += (int64_t)first;
    empty_chunk(p);
    return st == CM_OK ? st : CM_CONTEXT(st, "%lld entries pushed, then", (long long)p->pushed);
}

/* The fields as arguments of XADD; takes image over. */
static cm_status add_entry(struct push *p, struct wi_feedback *f, char *image)
{
    struct entry *e = &p->chunk[p->n];
    const uint64_t parts[] = {cm_xxh64(f->label.s, f->label.n), cm_xxh64(image, f->image.n),
                              cm_xxh64(&f->prediction_id, sizeof f->prediction_id)};
    e->image = image;
    cm_xxh_format(e->id, cm_xxh64(parts, sizeof parts));
    f->id = (struct wi_text){e->id, CM_XXH_TEXT - 1};
    cm_status st = wi_feedback_encode(&e->fields, f);
    if (st != CM_OK) {
        cm_free(&e->image);
        return st;
    }
    const char *const head[] = {"XADD", p->key, "*"};
    for (size_t i = 0; i < 3; i++) {
        e->argv[i] = head[i];
        e->argn[i] = strlen(head[i]);
    }
    for (size_t i = 0; i < e->fields.n; i++) {
        const struct wi_field *field = &e->fields.field[i];
        e->argv[3 + 2 * i] = field->name;
        e->argn[3 + 2 * i] = field->nname;
        e->argv[4 + 2 * i] = field->value;
        e->argn[4 + 2 * i] = field->nvalue;
    }
    p->nbytes += f->image.n;
    p->n++;
    return p->n == CHUNK_ENTRIES || p->nbytes >= CHUNK_NBYTES ? send_chunk(p) : CM_OK;
}

static struct wi_feedback begin_entry(const struct push *p, const char *label)
{
    struct wi_feedback f = {.label = {label, strlen(label)}};
    if (p->values->note)
        f.note = (struct wi_text){p->values->note, strlen(p->values->note)};
    return f;
}

static cm_status push_image(struct push *p, const char *path, const char *label)
{
    struct wi_feedback f = begin_entry(p, label);
    char *image;
    size_t n;
    CM_TRY(cm_file_read(&image, &n, path, WI_FEEDBACK_IMAGE_MAX));
    f.image = wi_image_guess(image, n);
    if (f.image.kind == WI_IMAGE_PIXELS && !p->values->raw) {
        cm_free(&image);
        return CM_FAIL(CM_EFORMAT, "%s: neither JPEG nor PNG (pixels? then --raw)", path);
    }
    cm_status st = add_entry(p, &f, image);
    return st == CM_OK ? st : CM_CONTEXT(st, "%s", path);
}

static cm_status push_answer(struct push *p, const char *id, const char *label)
{
    struct wi_feedback f = begin_entry(p, label);
    if (!wi_id_parse(&f.prediction_id, id, strlen(id)))
        return CM_FAIL(CM_EUSAGE, "--id %s: a prediction id has 32 hexadecimal digits", id);
    return add_entry(p, &f, NULL);
}

static cm_status push_csv(struct push *p, const char *path)
{
    struct ol_labelled *list = NULL;
    char *text;
    size_t n;
    CM_TRY(cm_file_read(&text, &n, path, CSV_NBYTES));
    cm_status st = ol_labels_parse(&list, &n, text, path);
    for (size_t i = 0; i < n && st == CM_OK; i++)
        st = push_image(p, list[i].path, list[i].label);
    if (st == CM_OK) /* while the labels are there: entries borrow them */
        st = send_chunk(p);
    cm_free(&list);
    cm_free(&text);
    return st;
}

/* ---- the command ---- */

static cm_status check_values(const struct values *v, int noperands)
{
    int ways = (v->labels != NULL) + (v->ids.n > 0) + (noperands > 0);
    if (ways != 1)
        return CM_FAIL(CM_EUSAGE, "give images, --labels or --id: one of the three");
    if (!v->labels && !v->label)
        return CM_FAIL(CM_EUSAGE, "--label CLASS is missing: what do the images show?");
    if (v->labels && v->label)
        return CM_FAIL(CM_EUSAGE, "with --labels each line has its own label");
    return CM_OK;
}

static cm_status push_all(struct push *p, char **operands, int noperands)
{
    const struct values *v = p->values;
    if (v->labels)
        CM_TRY(push_csv(p, v->labels));
    for (size_t i = 0; i < v->ids.n; i++)
        CM_TRY(push_answer(p, v->ids.item[i], v->label));
    for (int i = 0; i < noperands; i++)
        CM_TRY(push_image(p, operands[i], v->label));
    return send_chunk(p);
}

static cm_status print_result(const struct push *p)
{
    if (!p->values->json) {
        printf("%" PRId64 " entr%s pushed to %s\n", p->pushed, p->pushed == 1 ? "y" : "ies",
               p->key);
        return CM_OK;
    }
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "stream", p->key);
    cm_jw_i64(&w, "pushed", p->pushed);
    cm_jw_end(&w);
    return cm_jw_print(&w);
}

cm_status ol_command_push(int argc, char **argv)
{
    struct values v = {.operator_name = getenv("USER")};
    struct push p = {.values = &v};
    struct cm_command named = command;
    struct ol_config cfg;
    char **operands;
    int noperands;
    bool helped;
    if (strcmp(argv[0], "label") == 0)
        named.name = "flywheel feedback label";
    CM_TRY(cm_args_parse(&named, argc, argv, &v, &operands, &noperands, &helped));
    if (helped)
        return CM_OK;
    CM_TRY(check_values(&v, noperands));
    if (!v.operator_name)
        return CM_FAIL(CM_EUSAGE, "--operator NAME is missing, and no $USER is set: who labels?");
    if (!wi_key_feedback(p.key, v.operator_name))
        return CM_FAIL(CM_EUSAGE, "--operator '%s': letters, digits, - _ . only", v.operator_name);
    CM_TRY(ol_queue_config(&cfg, NULL, &v.queue));
    CM_TRY(ol_redis_open(&p.redis, &cfg, "flywheel-feedback"));
    cm_status st = cm_alloc(&p.chunk, CHUNK_ENTRIES, sizeof *p.chunk, "entries");
    if (st == CM_OK)
        st = push_all(&p, operands, noperands);
    empty_chunk(&p);
    cm_free(&p.chunk);
    cm_redis_close(&p.redis);
    return st == CM_OK ? print_result(&p) : st;
}
