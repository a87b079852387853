/* IDX files, as MNIST and its kin are published: big-endian header (0, 0, type 8 = uint8, number of
 * dimensions, a 32-bit size each), then the bytes. Fashion-MNIST comes so in Debian's package
 * dataset-fashion-mnist. */
#ifndef TRAINER_IDX_H
#define TRAINER_IDX_H

#include "common/status.h"
#include "trainer/dataset.h"

/* What the four files hold. Tests have small ones of their own. */
struct tr_idx_facts {
    const char *name;
    int64_t n_train, n_test;
    int h, w, nclasses;
    const char *const *classes; /* (nclasses) */
    const char *folder;         /* where a package puts them */
    const char *remedy;         /* what to do when they are not there */
};
extern const struct tr_idx_facts tr_fashion_mnist_facts;

/* train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-…, plain or .gz, from dir/NAME or the
 * package's folder. The header must be exactly what the facts say. CM_ENOTFOUND says what to do,
 * CM_ECORRUPT names the file. */
CM_MUST_CHECK cm_status tr_idx_open(struct tr_dataset *ds, const struct tr_idx_facts *facts,
                                    const char *dir);

#endif
