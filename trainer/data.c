/* Name to data set, data set to rows. */
#include "trainer/data.h"

#include <string.h>

#include "common/mem.h"
#include "trainer/cifar10.h"
#include "trainer/idx.h"
#include "trainer/synthetic.h"

#define AT(field)  offsetof(struct tr_data_config, field)
#define MAX_IMAGES 2147483647.0

static const struct cm_key keys[] = {
    {"dataset", CM_KEY_STRING, AT(dataset), "\"cifar10\"", 0, 0, NULL, NULL,
     "cifar10, fashion-mnist, or synthetic:CLASSES:N:HxWxC"},
    {"dir", CM_KEY_STRING, AT(dir), "\"data\"", 0, 0, NULL, NULL,
     "folder of the data sets and their decoded caches"},
    {"holdout", CM_KEY_INT, AT(holdout), "0", 0, MAX_IMAGES, NULL, "images",
     "training images that are never trained on: early stopping, plateaus and gates look at them"},
    {"limit", CM_KEY_INT, AT(limit), "0", 0, MAX_IMAGES, NULL, "images",
     "train on the first so many only; 0: all"},
    {"test_limit", CM_KEY_INT, AT(test_limit), "0", 0, MAX_IMAGES, NULL, "images",
     "test on the first so many only; 0: all"},
    {"seed", CM_KEY_INT, AT(seed), "1", 0, MAX_IMAGES, NULL, NULL,
     "chooses the holdout and draws synthetic images; apart from train.seed, so that runs share "
     "them"},
};

const struct cm_section tr_data_section = {.name = "data",
                                           .keys = keys,
                                           .nkeys = sizeof keys / sizeof *keys,
                                           .size = sizeof(struct tr_data_config)};

cm_status tr_data_open_set(struct tr_dataset *ds, const struct tr_data_config *cfg)
{
    static const char *const names[] = {"cifar10", "fashion-mnist", "synthetic:CLASSES:N:HxWxC"};

    memset(ds, 0, sizeof *ds);
    if (strcmp(cfg->dataset, "cifar10") == 0)
        return tr_cifar10_open(ds, &tr_cifar10_facts, cfg->dir);
    if (strcmp(cfg->dataset, "fashion-mnist") == 0)
        return tr_idx_open(ds, &tr_fashion_mnist_facts, cfg->dir);
    if (strncmp(cfg->dataset, "synthetic", strlen("synthetic")) == 0)
        return tr_synthetic_open(ds, cfg->dataset, (uint64_t)cfg->seed);
    const char *near = cm_nearest(cfg->dataset, names, 3);
    return CM_FAIL(CM_ECONFIG, "data.dataset: there is no '%s' (did you mean '%s'?)", cfg->dataset,
                   near ? near : names[0]);
}

cm_status tr_data_split(struct tr_split *split, const struct tr_dataset *source,
                        const struct tr_data_config *cfg)
{
    uint64_t *hash = NULL;
    size_t nbytes = tr_dataset_image_nbytes(source);

    CM_TRY(cm_alloc(&hash, (size_t)source->n_train, sizeof *hash, "hashes of the images"));
    for (int64_t i = 0; cfg->holdout && i < source->n_train; i++)
        hash[i] = cm_xxh64(tr_dataset_image(source, i), nbytes);
    cm_status st =
        tr_split_make(split, hash, source->n_train, cfg->holdout, cfg->limit, (uint64_t)cfg->seed);
    cm_free(&hash);
    return st;
}

cm_status tr_data_open(struct tr_data *data, const struct tr_data_config *cfg,
                       const struct nn_spec *spec)
{
    struct tr_dataset source = {0};
    cm_status st = CM_OK;

    memset(data, 0, sizeof *data);
    CM_GOTO(st, tr_data_open_set(&source, cfg), out);
    if (spec->nclasses != source.nclasses) {
        st = CM_FAIL(CM_EMISMATCH,
                     "network '%s' has %d classes, data set '%s' has %d: change model.network or "
                     "data.dataset",
                     spec->name, spec->nclasses, source.name, source.nclasses);
        goto out;
    }
    CM_GOTO(st, tr_data_split(&data->split, &source, cfg), out);
    CM_GOTO(st, tr_dataset_convert(&data->set, &source, &spec->preprocess, spec->input), out);
    data->n_test = data->set.n_test;
    if (cfg->test_limit && cfg->test_limit < data->n_test)
        data->n_test = cfg->test_limit;
out:
    tr_dataset_release(&source);
    if (st != CM_OK)
        tr_data_release(data);
    return st;
}

void tr_data_release(struct tr_data *data)
{
    tr_dataset_release(&data->set);
    tr_split_release(&data->split);
    memset(data, 0, sizeof *data);
}
