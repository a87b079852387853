/* Header compared, bytes copied: the sizes are known beforehand, so nothing in a file decides how
 * much memory is taken. */
#include "trainer/idx.h"

#include <string.h>

#include "common/file.h"
#include "common/mem.h"
#include "trainer/program.h"

static const char *const fashion_classes[] = {"T-shirt/top", "trouser",   "pullover", "dress",
                                              "coat",        "sandal",    "shirt",    "sneaker",
                                              "bag",         "ankle boot"};

const struct tr_idx_facts tr_fashion_mnist_facts = {
    .name = "fashion-mnist",
    .n_train = 60000,
    .n_test = 10000,
    .h = 28,
    .w = 28,
    .nclasses = 10,
    .classes = fashion_classes,
    .folder = "/usr/share/datasets/fashion-mnist",
    .remedy = "install the package dataset-fashion-mnist, or put the four *-ubyte.gz files "
              "there",
};

#define MAX_DIMENSIONS 3

struct idx_shape {
    int ndims;
    uint32_t size[MAX_DIMENSIONS];
};

/* Returns how many of its bytes the shape's dimensions take. */
static size_t header_make(uint8_t header[4 + 4 * MAX_DIMENSIONS], const struct idx_shape *shape)
{
    header[0] = header[1] = 0;
    header[2] = 8;
    header[3] = (uint8_t)shape->ndims;
    for (int i = 0; i < 4 * MAX_DIMENSIONS; i++)
        header[4 + i] = (uint8_t)(shape->size[i / 4] >> (24 - 8 * (i % 4)));
    return 4 + 4 * (size_t)shape->ndims;
}

/* *raw gets the whole file, *body points behind its header. */
static cm_status read_idx(uint8_t **raw, const uint8_t **body, const char *folder, const char *name,
                          const struct idx_shape *shape)
{
    char path[CM_PATH], used[CM_PATH];
    uint8_t want[4 + 4 * MAX_DIMENSIONS];
    size_t n = header_make(want, shape), nbytes = 1;

    for (int d = 0; d < shape->ndims; d++)
        nbytes *= shape->size[d];
    nbytes += n;
    cm_free(raw);
    CM_TRY(cm_alloc(raw, nbytes, 1, name));
    CM_TRY(cm_path_join(path, folder, name));
    CM_TRY(tr_unpack_file(*raw, nbytes, path, used));
    if (memcmp(*raw, want, n) != 0)
        return CM_FAIL(CM_ECORRUPT, "%s: its header is not that of %u x %d-dimensional bytes", used,
                       shape->size[0], shape->ndims - 1);
    *body = *raw + n;
    return CM_OK;
}

static cm_status read_part(struct tr_dataset *ds, const char *folder, const char *images,
                           const char *labels, int64_t first, int64_t n)
{
    struct idx_shape pixels = {3, {(uint32_t)n, (uint32_t)ds->h, (uint32_t)ds->w}};
    struct idx_shape marks = {1, {(uint32_t)n}};
    size_t nbytes = tr_dataset_image_nbytes(ds);
    const uint8_t *body = NULL;
    uint8_t *raw = NULL;
    cm_status st = CM_OK;

    CM_GOTO(st, read_idx(&raw, &body, folder, images, &pixels), out);
    memcpy(tr_dataset_put_images(ds) + (size_t)first * nbytes, body, (size_t)n * nbytes);
    CM_GOTO(st, read_idx(&raw, &body, folder, labels, &marks), out);
    for (int64_t i = 0; i < n; i++)
        tr_dataset_put_labels(ds)[first + i] = body[i];
out:
    cm_free(&raw);
    return st;
}

static cm_status read_folder(struct tr_dataset *ds, const struct tr_idx_facts *facts,
                             const char *folder)
{
    struct tr_dataset shape = {.n_train = facts->n_train,
                               .n_test = facts->n_test,
                               .h = facts->h,
                               .w = facts->w,
                               .channels = 1,
                               .nclasses = facts->nclasses};
    cm_status st = CM_OK;

    strncpy(shape.name, facts->name, sizeof shape.name - 1);
    CM_GOTO(st, tr_dataset_init(ds, &shape), out);
    for (int c = 0; c < facts->nclasses; c++)
        tr_dataset_put_class(ds, c, facts->classes[c]);
    CM_GOTO(st,
            read_part(ds, folder, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", 0,
                      facts->n_train),
            out);
    CM_GOTO(st,
            read_part(ds, folder, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
                      facts->n_train, facts->n_test),
            out);
    st = tr_dataset_seal(ds);
out:
    if (st != CM_OK)
        tr_dataset_release(ds);
    return st;
}

cm_status tr_idx_open(struct tr_dataset *ds, const struct tr_idx_facts *facts, const char *dir)
{
    char own[CM_PATH];

    memset(ds, 0, sizeof *ds);
    CM_TRY(cm_path_join(own, dir, facts->name));
    const char *folder = cm_path_is_dir(own) ? own : facts->folder;
    if (!cm_path_is_dir(folder))
        return CM_FAIL(CM_ENOTFOUND, "no %s in '%s' nor in '%s': %s", facts->name, own, folder,
                       facts->remedy);
    return read_folder(ds, facts, folder);
}
