/* "flywheel data export": images of a data set as files, as a camera would have taken them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "model/image.h"
#include "trainer/command_data.h"
#include "trainer/data.h"
#include "trainer/shift.h"

#define SOURCES     "sources.txt"
#define SOURCES_MAX ((size_t)64 << 20)

struct values {
    struct cm_opt_list sets;
    const char *part, *shift, *out, *apart_from;
    int64_t first, count;
    bool json;
};
#define AT(field) offsetof(struct values, field)

static const struct cm_opt opts[] = {
    {"part", 'p', CM_OPT_STRING, AT(part), "test|train|holdout", "which images (test)"},
    {"first", 'f', CM_OPT_INT, AT(first), "A", "number of the first one within its part (0)"},
    {"count", 'n', CM_OPT_INT, AT(count), "N", "how many (1)"},
    {"shift", 0, CM_OPT_STRING, AT(shift), "NAME",
     "how the world has changed: none, or dusk, poor light with a colour cast (none)"},
    {"out", 'o', CM_OPT_STRING, AT(out), "DIR", "where they go; made when it is missing"},
    {"apart-from", 0, CM_OPT_STRING, AT(apart_from), "DIR",
     "an earlier export that must share no picture with this one; may itself be shifted"},
    {"set", 's', CM_OPT_LIST, AT(sets), "SECTION.KEY=VALUE", "overrides a value of the config"},
    {"json", 0, CM_OPT_FLAG, AT(json), NULL, "one JSON object on standard output"},
};
static const struct cm_command command = {
    .name = "flywheel data export",
    .operands = "CONFIG",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Writes images of the config's data set as PNG files, with their labels.",
    .details = "DIR gets the images at the size in which the data set is published, labels.csv "
               "(lines 'path,label name', as 'flywheel predict' and 'flywheel feedback' read them) "
               "and sources.txt (the hash of each picture before the shift).",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
};

struct job {
    const struct values *v;
    struct tr_data_config cfg;
    const struct tr_shift *shift;
    struct tr_dataset set;
    struct tr_split split;
    uint64_t *used; /* (nused), sorted: pictures that may not come again */
    size_t nused;
    FILE *labels, *sources; /* into the two texts */
    char *labels_text, *sources_text;
    size_t labels_nbytes, sources_nbytes;
};

/* ---- which images ---- */

static cm_status open_part(struct job *j, int64_t *n)
{
    const char *part = j->v->part;
    bool test = strcmp(part, "test") == 0;

    if (!test && strcmp(part, "train") != 0 && strcmp(part, "holdout") != 0)
        return CM_FAIL(CM_EUSAGE, "--part: there is no '%s', only test, train and holdout", part);
    CM_TRY(tr_data_open_set(&j->set, &j->cfg));
    if (!test)
        CM_TRY(tr_data_split(&j->split, &j->set, &j->cfg));
    *n = test ? j->set.n_test : *part == 't' ? j->split.n_train : j->split.n_holdout;
    return CM_OK;
}

/* The row of image i of the part. */
static int64_t row_of(const struct job *j, int64_t i)
{
    if (strcmp(j->v->part, "test") == 0)
        return j->set.n_train + i;
    return *j->v->part == 't' ? j->split.train[i] : j->split.holdout[i];
}

static cm_status check_range(const struct job *j, int64_t n)
{
    const struct values *v = j->v;
    if (v->first < 0 || v->count < 1 || v->first >= n || v->count > n - v->first)
        return CM_FAIL(CM_EUSAGE,
                       "--first %" PRId64 " --count %" PRId64 ": %s has %" PRId64 " %s images",
                       v->first, v->count, j->set.name, n, v->part);
    return CM_OK;
}

/* ---- apart from an earlier export ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static cm_status parse_sources(struct job *j, const char *text, size_t nbytes, const char *path)
{
    size_t max = nbytes / 17; /* 16 digits and a line end each */
    CM_TRY(cm_alloc(&j->used, max + 1, sizeof *j->used, "hashes of pictures"));
    for (const char *line = text; *line; line += 17) {
        char *end = NULL;
        unsigned long long hash = strtoull(line, &end, 16);
        if (end != line + 16 || *end != '\n')
            return CM_FAIL(CM_ECORRUPT, "%s: line %zu is no hash", path, j->nused + 1);
        j->used[j->nused++] = hash;
    }
    qsort(j->used, j->nused, sizeof *j->used, by_value);
    return CM_OK;
}

static cm_status read_sources(struct job *j)
{
    char path[CM_PATH], *text = NULL;
    size_t nbytes = 0;
    if (!j->v->apart_from)
        return CM_OK;
    CM_TRY(cm_path_join(path, j->v->apart_from, SOURCES));
    CM_TRY(cm_file_read(&text, &nbytes, path, SOURCES_MAX));
    cm_status st = parse_sources(j, text, nbytes, path);
    cm_free(&text);
    return st;
}

/* ---- writing ---- */

/* Not made durable one by one: labels.csv, which comes last, says that they are all there. */
static cm_status write_file(const char *path, const void *data, size_t nbytes)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return CM_FAIL_ERRNO("%s", path);
    bool whole = fwrite(data, 1, nbytes, f) == nbytes;
    int fault = errno;
    if (fclose(f) == 0 && whole)
        return CM_OK;
    errno = whole ? errno : fault;
    return CM_FAIL_ERRNO("%s", path);
}

static cm_status write_png(const char *path, const struct nn_image *image)
{
    void *png = NULL;
    size_t nbytes = 0;
    CM_TRY(nn_image_encode_png(image, &png, &nbytes));
    cm_status st = write_file(path, png, nbytes);
    cm_free(&png);
    return st;
}

/* pixels: room for one image. */
static cm_status export_image(struct job *j, int64_t i, uint8_t *pixels)
{
    const struct tr_dataset *ds = &j->set;
    int64_t row = row_of(j, i);
    size_t nbytes = tr_dataset_image_nbytes(ds);
    uint64_t hash = cm_xxh64(tr_dataset_image(ds, row), nbytes);
    char name[64], path[CM_PATH];

    snprintf(name, sizeof name, "%s-%06" PRId64 ".png", j->v->part, i);
    if (j->nused > 0 && bsearch(&hash, j->used, j->nused, sizeof hash, by_value))
        return CM_FAIL(CM_EEXIST, "%s image %" PRId64 " is also in %s", j->v->part, i,
                       j->v->apart_from);
    CM_TRY(cm_path_join(path, j->v->out, name));
    memcpy(pixels, tr_dataset_image(ds, row), nbytes);
    tr_shift_apply(j->shift, pixels, (size_t)ds->h * (size_t)ds->w, ds->channels,
                   (uint64_t)j->cfg.seed, (uint32_t)row);
    struct nn_image image = {.h = ds->h, .w = ds->w, .channels = ds->channels, .pixels = pixels};
    CM_TRY(write_png(path, &image));
    fprintf(j->labels, "%s,%s\n", path, tr_dataset_class(ds, ds->labels[row]));
    fprintf(j->sources, "%016" PRIx64 "\n", hash);
    return CM_OK;
}

/* Ends the text and replaces DIR/name by it. */
static cm_status put_text(struct job *j, FILE **f, char *const *text, const size_t *nbytes,
                          const char *name)
{
    char path[CM_PATH];
    bool bad = ferror(*f) != 0;
    bad = fclose(*f) != 0 || bad;
    *f = NULL;
    if (bad)
        return CM_FAIL(CM_ENOMEM, "%s", name);
    CM_TRY(cm_path_join(path, j->v->out, name));
    return cm_file_replace(path, *text, *nbytes);
}

static cm_status export_all(struct job *j)
{
    uint8_t *pixels = NULL;
    cm_status st = CM_OK;
    CM_TRY(cm_dir_make(j->v->out));
    j->labels = open_memstream(&j->labels_text, &j->labels_nbytes);
    j->sources = open_memstream(&j->sources_text, &j->sources_nbytes);
    if (!j->labels || !j->sources)
        return CM_FAIL_ERRNO("labels of %s", j->v->out);
    CM_TRY(cm_alloc(&pixels, tr_dataset_image_nbytes(&j->set), 1, "an image"));
    for (int64_t i = 0; i < j->v->count && st == CM_OK; i++)
        st = export_image(j, j->v->first + i, pixels);
    cm_free(&pixels);
    CM_TRY(st);
    CM_TRY(put_text(j, &j->sources, &j->sources_text, &j->sources_nbytes, SOURCES));
    return put_text(j, &j->labels, &j->labels_text, &j->labels_nbytes, "labels.csv");
}

static cm_status tell(const struct job *j)
{
    const struct values *v = j->v;
    struct cm_jw w = {0};
    if (!v->json) {
        printf("%" PRId64 " %s images of %s (shift: %s) in %s\n", v->count, v->part, j->set.name,
               j->shift->name, v->out);
        return CM_OK;
    }
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "dataset", j->set.name);
    cm_jw_string(&w, "part", v->part);
    cm_jw_i64(&w, "first", v->first);
    cm_jw_i64(&w, "count", v->count);
    cm_jw_string(&w, "shift", j->shift->name);
    cm_jw_string(&w, "out", v->out);
    cm_jw_end(&w);
    return cm_jw_print(&w);
}

static cm_status export(struct job *j)
{
    int64_t n = 0;
    CM_TRY(tr_shift_find(&j->shift, j->v->shift));
    CM_TRY(open_part(j, &n));
    CM_TRY(check_range(j, n));
    CM_TRY(read_sources(j));
    CM_TRY(export_all(j));
    return tell(j);
}

static cm_status read_config(struct tr_data_config *into, const char *path, const struct values *v)
{
    struct cm_config *cfg = NULL;
    CM_TRY(cm_config_open(&cfg, path, v->sets.item, v->sets.n));
    cm_status st = cm_config_read(cfg, &tr_data_section, into);
    cm_config_close(&cfg);
    return st;
}

static void release(struct job *j)
{
    if (j->labels)
        (void)fclose(j->labels);
    if (j->sources)
        (void)fclose(j->sources);
    free(j->labels_text); /* open_memstream's, not cm_alloc's */
    free(j->sources_text);
    cm_free(&j->used);
    tr_split_release(&j->split);
    tr_dataset_release(&j->set);
}

cm_status tr_command_data_export(int argc, char **argv)
{
    struct values v = {.part = "test", .shift = "none", .count = 1};
    struct job j = {.v = &v};
    char **operands = NULL;
    int n = 0;
    bool helped = false;

    CM_TRY(cm_args_parse(&command, argc, argv, &v, &operands, &n, &helped));
    if (helped)
        return CM_OK;
    if (!v.out)
        return CM_FAIL(CM_EUSAGE, "flywheel data export: --out DIR says where the images go");
    CM_TRY(read_config(&j.cfg, operands[0], &v));
    cm_status st = export(&j);
    release(&j);
    return st;
}
