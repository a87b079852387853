/* flywheel predict IMAGE…: asks a gateway about files, many at a time, and prints what it says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/config.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/socket.h"
#include "serve/client_command.h"
#include "serve/serve_config.h"
#include "wire/classes.h"
#include "wire/client.h"
#include "wire/text.h"

#define OUTSTANDING   64
#define FILE_NBYTES   WI_BODY_MAX
#define LABELS_NBYTES ((size_t)256 << 20)
#define MAX_CLASSES   256 /* of the confusion matrix */
#define SHOWN_CLASSES 20

struct options {
    const char *config, *run, *endpoint, *labels;
    int64_t repeat, timeout_ms;
    bool json;
};

static const struct cm_opt opts[] = {
    {"config", 0, CM_OPT_STRING, offsetof(struct options, config), "CONFIG",
     "ask the gateway of this config's run"},
    {"run", 0, CM_OPT_STRING, offsetof(struct options, run), "DIR",
     "ask the gateway of this run directory"},
    {"endpoint", 0, CM_OPT_STRING, offsetof(struct options, endpoint), "E",
     "ask the gateway there, as tcp://host:port or tcp://host:port#KEY (" SV_DEFAULT_LISTEN ")"},
    {"labels", 0, CM_OPT_STRING, offsetof(struct options, labels), "FILE",
     "lines 'path,label': prints accuracy and confusion; without IMAGE, asks about its paths"},
    {"repeat", 0, CM_OPT_INT, offsetof(struct options, repeat), "N", "ask N times about each (1)"},
    {"timeout-ms", 0, CM_OPT_INT, offsetof(struct options, timeout_ms), "MS",
     "give up on an image after this (10000)"},
    {"json", 0, CM_OPT_FLAG, offsetof(struct options, json), NULL, "one JSON object an image"},
};

static const struct cm_command command = {
    .name = "flywheel predict",
    .operands = "[IMAGE…]",
    .min_operands = 0,
    .max_operands = -1,
    .summary = "Ask a gateway about JPEG and PNG files.",
    .details = "Prints path, class, probability, prediction id and version. Exit code 1 when an\n"
               "image was not answered. 'flywheel feedback label' takes the prediction id.",
    .opts = opts,
    .nopts = sizeof opts / sizeof opts[0],
};

struct image {
    const char *path, *label; /* label NULL: none */
};

struct answer {
    char *class; /* NULL: not answered, see reason */
    char *reason;
    float probability;
    struct wi_id prediction_id;
    int64_t version;
};

struct predict {
    struct options options;
    struct image *images;
    size_t nimages, capacity;
    struct answer *answers; /* (nimages * repeat) */
    size_t nanswers;
    char *labels_text;
    char endpoint[SV_ENDPOINT];
    struct wi_client *client;
};

cm_status sv_find_gateway(struct sv_endpoints *e, const char *run_dir)
{
    cm_status st = sv_endpoints_read(e, run_dir);
    if (st == CM_ENOTFOUND)
        return CM_FAIL(st, "no gateway serves %s; start one with 'flywheel serve CONFIG'", run_dir);
    return st;
}

/* ---- what to ask ---- */

static cm_status add_image(struct predict *p, const char *path, const char *label)
{
    if (p->nimages == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 256;
        CM_TRY(cm_realloc(&p->images, capacity, sizeof *p->images, "images"));
        p->capacity = capacity;
    }
    p->images[p->nimages++] = (struct image){path, label};
    return CM_OK;
}

/* Labels of the given images, or, when none are given, all images of the file. */
static cm_status read_labels(struct predict *p, const char *file)
{
    bool take_all = p->nimages == 0;
    size_t n, line_number = 0;
    CM_TRY(cm_file_read(&p->labels_text, &n, file, LABELS_NBYTES));
    for (char *line = p->labels_text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        line_number++;
        char *comma = strrchr(line, ',');
        if (!*line || (line_number == 1 && !strcmp(line, "path,label")))
            continue;
        if (!comma || comma == line || !comma[1])
            return CM_FAIL(CM_EFORMAT, "%s:%zu: expected 'path,label'", file, line_number);
        *comma = '\0';
        if (take_all)
            CM_TRY(add_image(p, line, comma + 1));
        for (size_t i = 0; i < p->nimages && !take_all; i++)
            if (!strcmp(p->images[i].path, line))
                p->images[i].label = comma + 1;
    }
    return CM_OK;
}

static cm_status find_endpoint(const struct options *o, char endpoint[SV_ENDPOINT])
{
    struct sv_endpoints there;
    struct cm_config *config = NULL;
    char run_dir[CM_PATH];
    if (o->endpoint || (!o->config && !o->run)) {
        const char *given = o->endpoint ? o->endpoint : SV_DEFAULT_LISTEN;
        if (!strstr(given, "://"))
            return CM_FAIL(CM_EUSAGE, "--endpoint %s: wants tcp://host:port", given);
        return snprintf(endpoint, SV_ENDPOINT, "%s", given) < SV_ENDPOINT
                   ? CM_OK
                   : CM_FAIL(CM_EUSAGE, "--endpoint: %zu bytes, at most %d are possible",
                             strlen(given), SV_ENDPOINT - 1);
    }
    CM_TRY(cm_config_open(&config, o->config, NULL, 0));
    cm_status st = cm_config_run_dir(config, o->run, run_dir);
    cm_config_close(&config);
    CM_TRY(st);
    CM_TRY(sv_find_gateway(&there, run_dir));
    memcpy(endpoint, there.clients, SV_ENDPOINT);
    return CM_OK;
}

/* ---- asking ---- */

static cm_status keep_reason(struct answer *a, const char *text, size_t n)
{
    CM_TRY(cm_alloc(&a->reason, n + 1, 1, "reason"));
    memcpy(a->reason, text, n);
    return CM_OK;
}

/* What a gateway says in words, fit for a terminal. */
static cm_status keep_words(struct answer *a, const char *text, size_t n)
{
    char quoted[WI_QUOTED];
    if (wi_text_is_plain(text, n))
        return keep_reason(a, text, n);
    wi_text_quote(quoted, text, n);
    return keep_reason(a, quoted, strlen(quoted));
}

static cm_status keep_silence(const struct predict *p, struct answer *a)
{
    char text[SV_ENDPOINT + 128];
    int bare = cm_endpoint_bare(p->endpoint);
    int n =
        snprintf(text, sizeof text, "no answer from %.*s within %d ms: is a gateway there, and %s?",
                 bare, p->endpoint, (int)p->options.timeout_ms,
                 p->endpoint[bare] ? "is the key its own" : "does it want a key (ENDPOINT#KEY)");
    return keep_reason(a, text, (size_t)n);
}

static cm_status take(struct predict *p, const struct wi_answer *from)
{
    struct answer *a = &p->answers[from->tag];
    const struct wi_header *h = &from->header;
    struct wi_classes classes;
    struct wi_class best = {0};
    if (from->st != CM_OK)
        return keep_silence(p, a);
    if (h->status != WI_OK)
        return keep_words(a, from->body ? from->body : "", h->body_nbytes);
    if (wi_classes_open(&classes, from->body, h->body_nbytes) != CM_OK)
        return keep_reason(a, cm_error_text(), strlen(cm_error_text()));
    wi_classes_next(&classes, &best);
    a->probability = best.probability;
    a->prediction_id = h->prediction_id;
    a->version = h->version;
    return cm_strdup(&a->class, best.name);
}

static cm_status take_one(struct predict *p)
{
    struct wi_answer answer;
    CM_TRY(wi_client_poll(p->client, &answer, cm_deadline_in_ms(-1)));
    return take(p, &answer);
}

static cm_status ask(struct predict *p, size_t i)
{
    const struct image *image = &p->images[i / (size_t)p->options.repeat];
    char *data;
    size_t n;
    if (cm_file_read(&data, &n, image->path, FILE_NBYTES) != CM_OK)
        return keep_reason(&p->answers[i], cm_error_text(), strlen(cm_error_text()));
    struct wi_question q = {.image = wi_image_guess(data, n),
                            .top_k = 1,
                            .timeout_ms = (int)p->options.timeout_ms,
                            .tag = i};
    cm_status st = wi_client_submit(p->client, &q, NULL);
    if (st == CM_EFORMAT)
        st = keep_reason(&p->answers[i], cm_error_text(), strlen(cm_error_text()));
    cm_free(&data);
    return st;
}

static cm_status ask_all(struct predict *p)
{
    struct wi_client_config cfg = {.endpoint = p->endpoint, .max_outstanding = OUTSTANDING};
    p->nanswers = p->nimages * (size_t)p->options.repeat;
    CM_TRY(cm_alloc(&p->answers, p->nanswers, sizeof *p->answers, "answers"));
    CM_TRY(wi_client_open(&p->client, &cfg));
    for (size_t i = 0; i < p->nanswers; i++) {
        if (wi_client_outstanding(p->client) == OUTSTANDING)
            CM_TRY(take_one(p));
        CM_TRY(ask(p, i));
    }
    while (wi_client_outstanding(p->client) > 0)
        CM_TRY(take_one(p));
    return CM_OK;
}

/* ---- telling ---- */

static cm_status print_json(const struct image *image, const struct answer *a, const char *id)
{
    struct cm_jw w = {0};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "path", image->path);
    if (image->label)
        cm_jw_string(&w, "label", image->label);
    if (a->class) {
        cm_jw_string(&w, "class", a->class);
        cm_jw_f64(&w, "probability", (double)a->probability);
        cm_jw_string(&w, "prediction_id", id);
        cm_jw_i64(&w, "version", a->version);
    } else {
        cm_jw_string(&w, "error", a->reason);
    }
    cm_jw_end(&w);
    return cm_jw_print(&w);
}

static cm_status print_answers(const struct predict *p)
{
    for (size_t i = 0; i < p->nanswers; i++) {
        const struct image *image = &p->images[i / (size_t)p->options.repeat];
        const struct answer *a = &p->answers[i];
        char id[WI_ID_TEXT];
        wi_id_format(id, a->prediction_id);
        if (p->options.json)
            CM_TRY(print_json(image, a, id));
        else if (a->class)
            printf("%s  %s  %.4f  %s  v%lld\n", image->path, a->class, (double)a->probability, id,
                   (long long)a->version);
        else
            printf("%s  error: %s\n", image->path, a->reason);
    }
    return CM_OK;
}

struct confusion {
    const char *names[MAX_CLASSES];
    int n;
    int64_t count[MAX_CLASSES][MAX_CLASSES]; /* [label][class] */
    int64_t right, total;
};

static int class_number(struct confusion *c, const char *name)
{
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->names[i], name))
            return i;
    if (c->n == MAX_CLASSES)
        return MAX_CLASSES - 1;
    c->names[c->n] = name;
    return c->n++;
}

static void print_matrix(const struct confusion *c)
{
    printf("%-14s", "label \\ class");
    for (int j = 0; j < c->n; j++)
        printf(" %10.10s", c->names[j]);
    putchar('\n');
    for (int i = 0; i < c->n; i++) {
        printf("%-14.14s", c->names[i]);
        for (int j = 0; j < c->n; j++)
            printf(" %10lld", (long long)c->count[i][j]);
        putchar('\n');
    }
}

/* Of all answers to labelled images; unanswered ones count as wrong. */
static cm_status print_score(const struct predict *p)
{
    struct confusion *c;
    CM_TRY(cm_alloc(&c, 1, sizeof *c, "confusion"));
    for (size_t i = 0; i < p->nanswers; i++) {
        const struct image *image = &p->images[i / (size_t)p->options.repeat];
        const char *class = p->answers[i].class;
        if (!image->label)
            continue;
        c->total++;
        c->right += class && !strcmp(class, image->label);
        if (class) {
            int label = class_number(c, image->label);
            c->count[label][class_number(c, class)]++;
        }
    }
    double accuracy = c->total ? (double)c->right / (double)c->total : 0;
    if (p->options.json) {
        printf("{\"images\":%lld,\"right\":%lld,\"accuracy\":%.6f}\n", (long long)c->total,
               (long long)c->right, accuracy);
    } else {
        if (c->n <= SHOWN_CLASSES)
            print_matrix(c);
        printf("accuracy %.4f (%lld of %lld)\n", accuracy, (long long)c->right,
               (long long)c->total);
    }
    cm_free(&c);
    return CM_OK;
}

static void release(struct predict *p)
{
    wi_client_close(&p->client);
    for (size_t i = 0; p->answers && i < p->nanswers; i++) {
        cm_free(&p->answers[i].class);
        cm_free(&p->answers[i].reason);
    }
    cm_free(&p->answers);
    cm_free(&p->images);
    cm_free(&p->labels_text);
}

static cm_status run(struct predict *p, char **operands, int noperands)
{
    if (p->options.repeat < 1 || p->options.timeout_ms < 1 || p->options.timeout_ms > INT32_MAX)
        return CM_FAIL(CM_EUSAGE, "--repeat and --timeout-ms want a number from 1");
    for (int i = 0; i < noperands; i++)
        CM_TRY(add_image(p, operands[i], NULL));
    if (p->options.labels)
        CM_TRY(read_labels(p, p->options.labels));
    if (p->nimages == 0)
        return CM_FAIL(CM_EUSAGE, "no image; see 'flywheel predict --help'");
    CM_TRY(find_endpoint(&p->options, p->endpoint));
    CM_TRY(ask_all(p));
    CM_TRY(print_answers(p));
    if (p->options.labels)
        CM_TRY(print_score(p));
    size_t unanswered = 0;
    for (size_t i = 0; i < p->nanswers; i++)
        unanswered += !p->answers[i].class;
    return unanswered
               ? CM_FAIL(CM_EIO, "%zu of %zu requests without an answer", unanswered, p->nanswers)
               : CM_OK;
}

cm_status sv_command_predict(int argc, char **argv)
{
    struct predict p = {.options = {.repeat = 1, .timeout_ms = 10000}};
    char **operands;
    int noperands;
    bool helped;
    CM_TRY(cm_args_parse(&command, argc, argv, &p.options, &operands, &noperands, &helped));
    if (helped)
        return CM_OK;
    cm_status st = run(&p, operands, noperands);
    release(&p);
    return st;
}
