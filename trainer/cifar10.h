/* CIFAR-10 as its authors publish it (binary version): five training files and one test file, each
 * 10,000 records of a label byte and 3,072 bytes of R, G, B planes, 32 x 32. */
#ifndef TRAINER_CIFAR10_H
#define TRAINER_CIFAR10_H

#include <stdbool.h>
#include <stdint.h>

#include "common/file.h"
#include "common/status.h"
#include "trainer/dataset.h"

#define TR_CIFAR10_FILES 6

/* What is known about the published files. Tests have a small one of their own. */
struct tr_cifar10_facts {
    const char *url, *archive, *archive_md5; /* archive: the file's name */
    int32_t per_file;                        /* records */
    struct {
        const char *name, *md5; /* the last file is the test set */
    } file[TR_CIFAR10_FILES];
    const char *fingerprint; /* of the decoded set; NULL: not known */
};
extern const struct tr_cifar10_facts tr_cifar10_facts;

/* Whether the folder has any of the six, plain or .xz: one that lacks a file is reported as such,
 * not passed over. */
bool tr_cifar10_has_files(const struct tr_cifar10_facts *facts, const char *folder);

/* Where the files are: the first of $CIFAR10_DIR, dir, dir/cifar10 and dir/cifar-10-batches-bin
 * that has any of them (plain or .xz), or the archive. CM_ENOTFOUND says what to do. */
CM_MUST_CHECK cm_status tr_cifar10_find(char found[CM_PATH], const struct tr_cifar10_facts *facts,
                                        const char *dir);
/* From a folder of files (plain or .xz), a folder with the archive, or the archive itself. Sizes
 * and MD5s are checked; CM_ECORRUPT names the file and what to do. */
CM_MUST_CHECK cm_status tr_cifar10_read(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                                        const char *from);
/* dir/cifar10.decoded: where the cache is. */
CM_MUST_CHECK cm_status tr_cifar10_cache_path(char path[CM_PATH], const char *dir);
/* The cache in dir, checked. CM_ENOTFOUND: there is none. */
CM_MUST_CHECK cm_status tr_cifar10_map(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                                       const char *dir);
/* From the cache when it is good; else (with a warning, if it is bad) from what find finds, and the
 * cache is written; a folder that cannot be written to costs a warning only. */
CM_MUST_CHECK cm_status tr_cifar10_open(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                                        const char *dir);
/* One file of a folder against its MD5: what 'data verify' shows. i < TR_CIFAR10_FILES. */
CM_MUST_CHECK cm_status tr_cifar10_verify_file(const struct tr_cifar10_facts *facts,
                                               const char *folder, int i);

#endif
