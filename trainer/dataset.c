/* The block, its file, and the conversion to a network's input. */
#include "trainer/dataset.h"

#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "common/mem.h"

#define MAX_SIDE    16384
#define MAX_CLASSES 65536
#define MAX_IMAGES  ((int64_t)1 << 31)

static const char magic[8] = {'F', 'W', 'D', 'A', 'T', 'A', '0', '1'};

struct file_prefix {
    char magic[8];
    uint64_t hash, block_nbytes;
    char zeros[40];
};
_Static_assert(sizeof(struct file_prefix) == 64, "the file format");

struct block_header {
    char name[TR_DATASET_NAME];
    int64_t n_train, n_test;
    int32_t h, w, channels, nclasses;
    char zeros[32];
};
_Static_assert(sizeof(struct block_header) == 128, "the file format");

static size_t labels_nbytes(const struct tr_dataset *ds)
{
    return ((size_t)tr_dataset_count(ds) * sizeof(int32_t) + 63) / 64 * 64;
}

static size_t labels_offset(const struct tr_dataset *ds)
{
    return sizeof(struct block_header) + (size_t)ds->nclasses * NN_NAME;
}

static size_t images_offset(const struct tr_dataset *ds)
{
    return labels_offset(ds) + labels_nbytes(ds);
}

/* Bounds that keep every product below 2^63. */
static cm_status check_shape(const struct tr_dataset *ds, const char *what)
{
    bool sane = ds->n_train >= 0 && ds->n_test >= 0 && ds->n_train < MAX_IMAGES &&
                ds->n_test < MAX_IMAGES && ds->h > 0 && ds->h <= MAX_SIDE && ds->w > 0 &&
                ds->w <= MAX_SIDE && (ds->channels == 1 || ds->channels == 3) && ds->nclasses > 0 &&
                ds->nclasses <= MAX_CLASSES;
    if (!sane)
        return CM_FAIL(CM_EFORMAT,
                       "%s: %lld + %lld images of %d x %d x %d in %d classes are out of range",
                       what, (long long)ds->n_train, (long long)ds->n_test, ds->h, ds->w,
                       ds->channels, ds->nclasses);
    return CM_OK;
}

static size_t block_nbytes(const struct tr_dataset *ds)
{
    return images_offset(ds) + (size_t)tr_dataset_count(ds) * tr_dataset_image_nbytes(ds);
}

static void point_into(struct tr_dataset *ds, const char *block)
{
    ds->classes = block + sizeof(struct block_header);
    ds->labels = (const int32_t *)(const void *)(block + labels_offset(ds));
    ds->images = (const uint8_t *)block + images_offset(ds);
}

cm_status tr_dataset_init(struct tr_dataset *ds, const struct tr_dataset *shape)
{
    CM_TRY(check_shape(shape, shape->name));
    *ds = (struct tr_dataset){.n_train = shape->n_train,
                              .n_test = shape->n_test,
                              .h = shape->h,
                              .w = shape->w,
                              .channels = shape->channels,
                              .nclasses = shape->nclasses};
    memcpy(ds->name, shape->name, sizeof ds->name);
    ds->block_nbytes = block_nbytes(ds);
    CM_TRY(cm_alloc_aligned(&ds->block, ds->block_nbytes, 1, "a data set"));
    struct block_header *header = ds->block;
    *header = (struct block_header){.n_train = ds->n_train,
                                    .n_test = ds->n_test,
                                    .h = ds->h,
                                    .w = ds->w,
                                    .channels = ds->channels,
                                    .nclasses = ds->nclasses};
    memcpy(header->name, ds->name, sizeof header->name);
    point_into(ds, ds->block);
    for (int c = 0; c < ds->nclasses; c++) {
        char number[16];
        snprintf(number, sizeof number, "%d", c);
        tr_dataset_put_class(ds, c, number);
    }
    return CM_OK;
}

void tr_dataset_release(struct tr_dataset *ds)
{
    if (ds->mapped)
        cm_file_unmap(&ds->mapped, ds->mapped_nbytes);
    cm_free(&ds->block);
    memset(ds, 0, sizeof *ds);
}

int32_t *tr_dataset_put_labels(struct tr_dataset *ds)
{
    return (int32_t *)(void *)((char *)ds->block + labels_offset(ds));
}

uint8_t *tr_dataset_put_images(struct tr_dataset *ds)
{
    return (uint8_t *)ds->block + images_offset(ds);
}

void tr_dataset_put_class(struct tr_dataset *ds, int c, const char *name)
{
    char *slot = (char *)ds->block + sizeof(struct block_header) + (size_t)c * NN_NAME;
    memset(slot, 0, NN_NAME);
    snprintf(slot, NN_NAME, "%s", name);
}

static cm_status check_labels(const struct tr_dataset *ds)
{
    for (int64_t i = 0; i < tr_dataset_count(ds); i++)
        if (ds->labels[i] < 0 || ds->labels[i] >= ds->nclasses)
            return CM_FAIL(CM_ECORRUPT, "%s: image %lld has label %d, there are %d classes",
                           ds->name, (long long)i, ds->labels[i], ds->nclasses);
    return CM_OK;
}

cm_status tr_dataset_seal(struct tr_dataset *ds)
{
    CM_TRY(check_labels(ds));
    cm_xxh_format(ds->fingerprint, cm_xxh64(ds->block, ds->block_nbytes));
    return CM_OK;
}

cm_status tr_dataset_save(const struct tr_dataset *ds, const char *path)
{
    const char *block = ds->mapped ? (const char *)ds->mapped + sizeof(struct file_prefix)
                                   : (const char *)ds->block;
    struct file_prefix prefix = {.hash = cm_xxh64(block, ds->block_nbytes),
                                 .block_nbytes = ds->block_nbytes};
    struct cm_writer *w = NULL;
    cm_status st = CM_OK;

    memcpy(prefix.magic, magic, sizeof magic);
    CM_TRY(cm_writer_open(&w, path));
    CM_GOTO(st, cm_writer_put(w, &prefix, sizeof prefix), out);
    CM_GOTO(st, cm_writer_put(w, block, ds->block_nbytes), out);
    st = cm_writer_commit(&w);
out:
    cm_writer_close(&w);
    return st;
}

/* The file against its own hash, then the sizes that its header claims against the file. */
static cm_status check_file(struct tr_dataset *ds, const char *data, size_t n, const char *path)
{
    static const char zeros[sizeof((struct file_prefix *)0)->zeros];
    struct file_prefix prefix;
    struct block_header header;
    const char *block = data + sizeof prefix;

    if (n < sizeof prefix + sizeof header)
        return CM_FAIL(CM_ECORRUPT, "%s: %zu bytes are too few for a data set", path, n);
    memcpy(&prefix, data, sizeof prefix);
    memcpy(&header, block, sizeof header);
    if (memcmp(prefix.magic, magic, sizeof magic) != 0 ||
        memcmp(prefix.zeros, zeros, sizeof zeros) != 0)
        return CM_FAIL(CM_EVERSION, "%s: not a decoded data set of this version", path);
    if (prefix.block_nbytes != n - sizeof prefix)
        return CM_FAIL(CM_ECORRUPT, "%s: %zu bytes, its header says %zu", path, n,
                       (size_t)prefix.block_nbytes + sizeof prefix);
    if (cm_xxh64(block, n - sizeof prefix) != prefix.hash)
        return CM_FAIL(CM_ECORRUPT, "%s: its content does not match its hash", path);
    ds->n_train = header.n_train;
    ds->n_test = header.n_test;
    ds->h = header.h;
    ds->w = header.w;
    ds->channels = header.channels;
    ds->nclasses = header.nclasses;
    memcpy(ds->name, header.name, sizeof ds->name);
    ds->name[sizeof ds->name - 1] = '\0';
    CM_TRY(check_shape(ds, path));
    if (block_nbytes(ds) != n - sizeof prefix)
        return CM_FAIL(CM_ECORRUPT, "%s: its sizes ask for %zu bytes, it has %zu", path,
                       block_nbytes(ds), n - sizeof prefix);
    cm_xxh_format(ds->fingerprint, prefix.hash);
    return CM_OK;
}

static cm_status check_classes(const struct tr_dataset *ds, const char *path)
{
    for (int c = 0; c < ds->nclasses; c++)
        if (tr_dataset_class(ds, c)[NN_NAME - 1])
            return CM_FAIL(CM_ECORRUPT, "%s: the name of class %d does not end", path, c);
    return CM_OK;
}

cm_status tr_dataset_map(struct tr_dataset *ds, const char *path)
{
    cm_status st = CM_OK;

    memset(ds, 0, sizeof *ds);
    CM_TRY(cm_file_map(&ds->mapped, &ds->mapped_nbytes, path));
    CM_GOTO(st, check_file(ds, ds->mapped, ds->mapped_nbytes, path), out);
    ds->block_nbytes = ds->mapped_nbytes - sizeof(struct file_prefix);
    point_into(ds, (const char *)ds->mapped + sizeof(struct file_prefix));
    CM_GOTO(st, check_labels(ds), out);
    CM_GOTO(st, check_classes(ds, path), out);
out:
    if (st != CM_OK)
        tr_dataset_release(ds);
    return st;
}

static bool changes_nothing(const struct tr_dataset *ds, const struct nn_preprocess *pre,
                            struct nn_shape input)
{
    int shorter = ds->h < ds->w ? ds->h : ds->w;
    return ds->h == input.h && ds->w == input.w && ds->channels == input.c &&
           (pre->resize <= 0 || pre->resize == shorter) &&
           (pre->crop <= 0 || pre->crop == shorter) && (!pre->grey || ds->channels == 1);
}

/* Each image is copied first: a struct nn_image may be written to, a mapped file may not. */
static cm_status convert_images(struct tr_dataset *ds, const struct tr_dataset *source,
                                const struct nn_preprocess *pre)
{
    struct nn_image image = {.h = source->h, .w = source->w, .channels = source->channels};
    uint8_t *out = tr_dataset_put_images(ds);
    size_t nbytes = tr_dataset_image_nbytes(source);
    cm_status st = CM_OK;

    CM_TRY(cm_alloc(&image.pixels, nbytes, 1, "an image"));
    for (int64_t i = 0; i < tr_dataset_count(ds); i++, out += tr_dataset_image_nbytes(ds)) {
        memcpy(image.pixels, tr_dataset_image(source, i), nbytes);
        st = nn_preprocess_image(pre, ds->channels, ds->h, ds->w, &image, out);
        if (st != CM_OK) {
            st = CM_CONTEXT(st, "data set %s, image %lld", ds->name, (long long)i);
            break;
        }
    }
    nn_image_release(&image);
    return st;
}

cm_status tr_dataset_convert(struct tr_dataset *ds, struct tr_dataset *source,
                             const struct nn_preprocess *pre, struct nn_shape input)
{
    struct tr_dataset shape = *source;

    memset(ds, 0, sizeof *ds);
    if (changes_nothing(source, pre, input)) {
        *ds = *source;
        memset(source, 0, sizeof *source);
        return CM_OK;
    }
    shape.h = input.h;
    shape.w = input.w;
    shape.channels = input.c;
    CM_TRY(tr_dataset_init(ds, &shape));
    for (int c = 0; c < ds->nclasses; c++)
        tr_dataset_put_class(ds, c, tr_dataset_class(source, c));
    memcpy(ds->fingerprint, source->fingerprint, sizeof ds->fingerprint);
    memcpy(tr_dataset_put_labels(ds), source->labels,
           (size_t)tr_dataset_count(ds) * sizeof *ds->labels);
    cm_status st = convert_images(ds, source, pre);
    if (st != CM_OK)
        tr_dataset_release(ds);
    return st;
}
