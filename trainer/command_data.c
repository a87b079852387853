/* The verbs of "flywheel data". */
#include "trainer/command_data.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/args.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/verbs.h"
#include "model/image.h"
#include "trainer/cifar10.h"
#include "trainer/data.h"
#include "trainer/download.h"

#define ATTEMPTS 5
#define STALL_S  30

struct options {
    const char *dir, *from, *dataset, *save;
    bool json;
};
#define AT(field) offsetof(struct options, field)
#define OPT_DIR                                                                                    \
    {                                                                                              \
        "dir", 'd', CM_OPT_STRING, AT(dir), "DIR", "folder of the data sets (data)"                \
    }
#define OPT_JSON                                                                                   \
    {                                                                                              \
        "json", 0, CM_OPT_FLAG, AT(json), NULL, "one JSON object on standard output"               \
    }

static const struct cm_opt get_opts[] = {
    OPT_DIR,
    {"from", 'f', CM_OPT_STRING, AT(from), "URL|FILE|DIR",
     "another source: a mirror's URL, the archive, or a folder of .bin or .bin.xz files"},
};
static const struct cm_opt verify_opts[] = {OPT_DIR, OPT_JSON};
static const struct cm_opt show_opts[] = {
    OPT_DIR,
    OPT_JSON,
    {"dataset", 's', CM_OPT_STRING, AT(dataset), "NAME",
     "cifar10, fashion-mnist or synthetic:CLASSES:N:HxWxC (cifar10)"},
    {"save", 'o', CM_OPT_STRING, AT(save), "OUT.png", "writes the image as PNG"},
};

static const struct cm_command get_command = {
    .name = "flywheel data get",
    .operands = "cifar10",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "Gets CIFAR-10: found on this machine or downloaded, checked, decoded once.",
    .details = "Without --from, $CIFAR10_DIR and the data folder are looked at before the network. "
               "A download that breaks is resumed, by the command itself or by running it again.",
    .opts = get_opts,
    .nopts = sizeof get_opts / sizeof *get_opts,
};
static const struct cm_command verify_command = {
    .name = "flywheel data verify",
    .operands = "",
    .min_operands = 0,
    .max_operands = 0,
    .summary = "Checks every CIFAR-10 file that training would use, and names the bad ones.",
    .opts = verify_opts,
    .nopts = sizeof verify_opts / sizeof *verify_opts,
};
static const struct cm_command show_command = {
    .name = "flywheel data show",
    .operands = "[INDEX]",
    .min_operands = 0,
    .max_operands = 1,
    .summary = "Shows a data set, or one image of it (test images follow the training images).",
    .opts = show_opts,
    .nopts = sizeof show_opts / sizeof *show_opts,
};

/* ---- get ---- */

static cm_status download_archive(const char *url, const char *dir, char archive[CM_PATH])
{
    struct tr_download d = {.url = url,
                            .path = archive,
                            .md5 = tr_cifar10_facts.archive_md5,
                            .attempts = ATTEMPTS,
                            .stall_s = STALL_S,
                            .progress = isatty(STDERR_FILENO)};
    CM_TRY(cm_dir_make(dir));
    CM_TRY(cm_path_join(archive, dir, tr_cifar10_facts.archive));
    cm_log_info("downloading %s to %s (about 170 MB)", url, archive);
    return tr_download(&d);
}

/* Where the data is, after a download if it must be. *fetched: the archive is ours to remove. */
static cm_status locate(char source[CM_PATH], bool *fetched, const struct options *o)
{
    *fetched = false;
    if (o->from && !strstr(o->from, "://"))
        return snprintf(source, CM_PATH, "%s", o->from) < CM_PATH
                   ? CM_OK
                   : CM_FAIL(CM_EUSAGE, "--from: the path is too long");
    if (!o->from) {
        cm_status st = tr_cifar10_find(source, &tr_cifar10_facts, o->dir);
        if (st != CM_ENOTFOUND || getenv("CIFAR10_DIR"))
            return st;
    }
    *fetched = true;
    return download_archive(o->from ? o->from : tr_cifar10_facts.url, o->dir, source);
}

static void print_set(const struct tr_dataset *ds)
{
    printf("%s: %" PRId64 " training and %" PRId64 " test images of %d x %d x %d, %d classes, "
           "fingerprint %s\n",
           ds->name, ds->n_train, ds->n_test, ds->h, ds->w, ds->channels, ds->nclasses,
           ds->fingerprint);
}

static cm_status install(const struct options *o)
{
    char source[CM_PATH], cache[CM_PATH];
    struct tr_dataset ds = {0};
    bool fetched = false;
    cm_status st = CM_OK;

    CM_TRY(locate(source, &fetched, o));
    cm_log_info("checking and decoding %s", source);
    CM_TRY(tr_cifar10_read(&ds, &tr_cifar10_facts, source));
    CM_GOTO(st, cm_dir_make(o->dir), out);
    CM_GOTO(st, tr_cifar10_cache_path(cache, o->dir), out);
    CM_GOTO(st, tr_dataset_save(&ds, cache), out);
    if (fetched && unlink(source)) /* all of it is in the cache, checked */
        cm_log_warn("%s stays behind", source);
    print_set(&ds);
    printf("written to %s\n", cache);
out:
    tr_dataset_release(&ds);
    return st;
}

static cm_status get(int argc, char **argv)
{
    struct options o = {.dir = "data"};
    struct tr_dataset ds;
    char **operands = NULL;
    int n = 0;
    bool helped = false;

    CM_TRY(cm_args_parse(&get_command, argc, argv, &o, &operands, &n, &helped));
    if (helped)
        return CM_OK;
    if (strcmp(operands[0], "cifar10") != 0)
        return CM_FAIL(CM_EUSAGE,
                       "flywheel data get: there is no '%s'; it gets cifar10 (fashion-mnist is "
                       "Debian's package dataset-fashion-mnist, synthetic needs no files)",
                       operands[0]);
    if (!o.from && tr_cifar10_map(&ds, &tr_cifar10_facts, o.dir) == CM_OK) {
        print_set(&ds);
        printf("already there, and whole\n");
        tr_dataset_release(&ds);
        return CM_OK;
    }
    return install(&o);
}

/* ---- verify ---- */

struct tally {
    int good, bad;
    bool json;
    struct cm_jw w;
};

static void tell(struct tally *t, const char *what, cm_status st)
{
    *(st == CM_OK ? &t->good : &t->bad) += 1;
    if (!t->json) {
        printf("%-4s %s%s%s\n", st == CM_OK ? "ok" : "BAD", what, st == CM_OK ? "" : ": ",
               st == CM_OK ? "" : cm_error_text());
        return;
    }
    cm_jw_begin(&t->w, NULL, '{');
    cm_jw_string(&t->w, "file", what);
    cm_jw_bool(&t->w, "ok", st == CM_OK);
    if (st != CM_OK)
        cm_jw_string(&t->w, "error", cm_error_text());
    cm_jw_end(&t->w);
}

/* The files one by one; of an archive only its own hash, which says the same. */
static cm_status verify_source(struct tally *t, const char *source)
{
    char path[CM_PATH], md5[CM_MD5_TEXT];

    CM_TRY(cm_path_join(path, source, tr_cifar10_facts.archive));
    if (cm_path_exists(path)) {
        cm_status st = cm_md5_file(md5, path);
        if (st == CM_OK && strcmp(md5, tr_cifar10_facts.archive_md5) != 0)
            st = CM_FAIL(CM_ECORRUPT,
                         "MD5 %s, expected %s; remove it and run 'flywheel data get "
                         "cifar10'",
                         md5, tr_cifar10_facts.archive_md5);
        tell(t, path, st);
    }
    if (cm_path_exists(path) && !tr_cifar10_has_files(&tr_cifar10_facts, source))
        return CM_OK;
    for (int i = 0; i < TR_CIFAR10_FILES; i++) {
        CM_TRY(cm_path_join(path, source, tr_cifar10_facts.file[i].name));
        tell(t, path, tr_cifar10_verify_file(&tr_cifar10_facts, source, i));
    }
    return CM_OK;
}

static cm_status verify_all(struct tally *t, const char *dir)
{
    char path[CM_PATH];
    struct tr_dataset ds;

    cm_status st = tr_cifar10_map(&ds, &tr_cifar10_facts, dir);
    if (st != CM_ENOTFOUND) {
        cm_status named = tr_cifar10_cache_path(path, dir);
        tell(t, named == CM_OK ? path : dir, st);
        tr_dataset_release(&ds);
    }
    st = tr_cifar10_find(path, &tr_cifar10_facts, dir);
    if (st == CM_OK)
        return verify_source(t, path);
    return st == CM_ENOTFOUND && t->good + t->bad && !getenv("CIFAR10_DIR") ? CM_OK : st;
}

static cm_status verify(int argc, char **argv)
{
    struct options o = {.dir = "data"};
    struct tally t = {0};
    char **operands = NULL;
    int n = 0;
    bool helped = false;

    CM_TRY(cm_args_parse(&verify_command, argc, argv, &o, &operands, &n, &helped));
    if (helped)
        return CM_OK;
    t.json = o.json;
    cm_jw_begin(&t.w, NULL, '{');
    cm_jw_begin(&t.w, "files", '[');
    cm_status st = verify_all(&t, o.dir);
    cm_jw_end(&t.w);
    cm_jw_i64(&t.w, "bad", t.bad);
    cm_jw_end(&t.w);
    if (st == CM_OK && t.json)
        st = cm_jw_print(&t.w);
    cm_jw_release(&t.w);
    if (st == CM_OK && t.bad)
        return CM_FAIL(CM_ECORRUPT, "%d of %d files are bad", t.bad, t.good + t.bad);
    return st;
}

/* ---- show ---- */

static cm_status save_png(const struct tr_dataset *ds, int64_t i, const char *path)
{
    struct nn_image image = {.h = ds->h, .w = ds->w, .channels = ds->channels};
    size_t nbytes = tr_dataset_image_nbytes(ds), npng = 0;
    void *png = NULL;
    cm_status st = CM_OK;

    CM_TRY(cm_alloc(&image.pixels, nbytes, 1, "an image"));
    memcpy(image.pixels, tr_dataset_image(ds, i), nbytes);
    CM_GOTO(st, nn_image_encode_png(&image, &png, &npng), out);
    st = cm_file_replace(path, png, npng);
out:
    cm_free(&png);
    nn_image_release(&image);
    return st;
}

static cm_status show_set(const struct tr_dataset *ds, bool json)
{
    struct cm_jw w = {0};
    int64_t *count = NULL; /* (nclasses): training images */

    CM_TRY(cm_alloc(&count, (size_t)ds->nclasses, sizeof *count, "counts of the classes"));
    for (int64_t i = 0; i < ds->n_train; i++)
        count[ds->labels[i]]++;
    if (!json)
        print_set(ds);
    cm_jw_begin(&w, NULL, '{');
    cm_jw_string(&w, "dataset", ds->name);
    cm_jw_i64(&w, "train", ds->n_train);
    cm_jw_i64(&w, "test", ds->n_test);
    cm_jw_i64(&w, "height", ds->h);
    cm_jw_i64(&w, "width", ds->w);
    cm_jw_i64(&w, "channels", ds->channels);
    cm_jw_string(&w, "fingerprint", ds->fingerprint);
    cm_jw_begin(&w, "classes", '{');
    for (int c = 0; c < ds->nclasses; c++) {
        cm_jw_i64(&w, tr_dataset_class(ds, c), count[c]);
        if (!json)
            printf("%4d %-16s %" PRId64 "\n", c, tr_dataset_class(ds, c), count[c]);
    }
    cm_jw_end(&w);
    cm_jw_end(&w);
    cm_free(&count);
    cm_status st = json ? cm_jw_print(&w) : CM_OK;
    cm_jw_release(&w);
    return st;
}

static cm_status show_image(const struct tr_dataset *ds, const char *text, const struct options *o)
{
    char *end = NULL;
    long long i = strtoll(text, &end, 10);
    struct cm_jw w = {0};

    if (end == text || *end || i < 0 || i >= tr_dataset_count(ds))
        return CM_FAIL(CM_EUSAGE, "flywheel data show: '%s' is no image number (0..%" PRId64 ")",
                       text, tr_dataset_count(ds) - 1);
    if (o->save)
        CM_TRY(save_png(ds, i, o->save));
    const char *part = i < ds->n_train ? "train" : "test",
               *class = tr_dataset_class(ds, ds->labels[i]);
    if (!o->json) {
        printf("%s image %lld (%s): label %d, %s\n", ds->name, i, part, ds->labels[i], class);
        return CM_OK;
    }
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, "index", i);
    cm_jw_string(&w, "part", part);
    cm_jw_i64(&w, "label", ds->labels[i]);
    cm_jw_string(&w, "class", class);
    cm_jw_end(&w);
    cm_status st = cm_jw_print(&w);
    cm_jw_release(&w);
    return st;
}

static cm_status show(int argc, char **argv)
{
    struct options o = {.dir = "data", .dataset = "cifar10"};
    struct tr_data_config cfg = {.seed = 1};
    struct tr_dataset ds;
    char **operands = NULL;
    int n = 0;
    bool helped = false;

    CM_TRY(cm_args_parse(&show_command, argc, argv, &o, &operands, &n, &helped));
    if (helped)
        return CM_OK;
    if (o.save && n == 0)
        return CM_FAIL(CM_EUSAGE, "flywheel data show: --save needs the number of an image");
    snprintf(cfg.dataset, sizeof cfg.dataset, "%s", o.dataset);
    snprintf(cfg.dir, sizeof cfg.dir, "%s", o.dir);
    CM_TRY(tr_data_open_set(&ds, &cfg));
    cm_status st = n ? show_image(&ds, operands[0], &o) : show_set(&ds, o.json);
    tr_dataset_release(&ds);
    return st;
}

static const struct cm_verb verbs[] = {
    {"get", "get CIFAR-10: found here or downloaded, checked, decoded once", get},
    {"verify", "check every CIFAR-10 file that training would use", verify},
    {"show", "a data set, or one image of it", show},
    {"export", "a folder of images and their labels", tr_command_data_export},
};

cm_status tr_command_data(int argc, char **argv)
{
    return cm_verbs_run("flywheel data", verbs, sizeof verbs / sizeof *verbs, argc, argv);
}
