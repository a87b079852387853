/* Files to a block: unpack, check, R G B planes to interleaved pixels. About 9 s from .xz, 0.1 s
 * from the cache. */
#include "trainer/cifar10.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "trainer/program.h"

#define SIDE          32
#define PLANE         (SIDE * SIDE)
#define RECORD_NBYTES (1 + 3 * PLANE)
#define REMEDY        "remove it and run 'flywheel data get cifar10'"

const struct tr_cifar10_facts tr_cifar10_facts = {
    .url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    .archive = "cifar-10-binary.tar.gz",
    .archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530",
    .per_file = 10000,
    .file = {{"data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"},
             {"data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"},
             {"data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"},
             {"data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"},
             {"data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"},
             {"test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"}},
    .fingerprint = "58258951fd81f101",
};

static const char *const class_names[10] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                            "dog",      "frog",       "horse", "ship", "truck"};

static size_t file_nbytes(const struct tr_cifar10_facts *facts)
{
    return (size_t)facts->per_file * RECORD_NBYTES;
}

static bool folder_has(const char *folder, const char *name)
{
    char path[CM_PATH];
    return cm_path_join(path, folder, name) == CM_OK && cm_path_exists(path);
}

static bool has_file(const struct tr_cifar10_facts *facts, const char *folder, int i)
{
    char packed[64];
    snprintf(packed, sizeof packed, "%s.xz", facts->file[i].name);
    return folder_has(folder, facts->file[i].name) || folder_has(folder, packed);
}

bool tr_cifar10_has_files(const struct tr_cifar10_facts *facts, const char *folder)
{
    for (int i = 0; i < TR_CIFAR10_FILES; i++)
        if (has_file(facts, folder, i))
            return true;
    return false;
}

cm_status tr_cifar10_find(char found[CM_PATH], const struct tr_cifar10_facts *facts,
                          const char *dir)
{
    const char *given = getenv("CIFAR10_DIR");
    static const char *const below[] = {"", "/cifar10", "/cifar-10-batches-bin"};

    if (given && *given) {
        if (!tr_cifar10_has_files(facts, given) && !folder_has(given, facts->archive))
            return CM_FAIL(CM_ENOTFOUND,
                           "CIFAR10_DIR is %s, and neither data_batch_1.bin (or .bin.xz) nor %s is "
                           "there",
                           given, facts->archive);
        return snprintf(found, CM_PATH, "%s", given) < CM_PATH
                   ? CM_OK
                   : CM_FAIL(CM_EINVAL, "CIFAR10_DIR is too long");
    }
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        if (snprintf(found, CM_PATH, "%s%s", dir, below[i]) >= CM_PATH)
            return CM_FAIL(CM_EINVAL, "the path is too long: %.60s…", dir);
        if (tr_cifar10_has_files(facts, found) || folder_has(found, facts->archive))
            return CM_OK;
    }
    return CM_FAIL(CM_ENOTFOUND,
                   "no CIFAR-10 in '%s': run 'flywheel data get cifar10', set CIFAR10_DIR to a "
                   "folder with data_batch_1.bin, or use data.dataset \"fashion-mnist\" (Debian "
                   "package dataset-fashion-mnist)",
                   dir);
}

/* File i of the folder, checked, into raw (file_nbytes). */
static cm_status read_file(uint8_t *raw, const struct tr_cifar10_facts *facts, const char *folder,
                           int i)
{
    char path[CM_PATH], used[CM_PATH], md5[CM_MD5_TEXT];

    CM_TRY(cm_path_join(path, folder, facts->file[i].name));
    cm_status st = tr_unpack_file(raw, file_nbytes(facts), path, used);
    if (st == CM_ECORRUPT)
        return CM_FAIL(st, "%s; " REMEDY, cm_error_text());
    if (st != CM_OK)
        return st;
    CM_TRY(cm_md5(md5, raw, file_nbytes(facts)));
    if (strcmp(md5, facts->file[i].md5) != 0)
        return CM_FAIL(CM_ECORRUPT, "%s: MD5 %s, expected %s; " REMEDY, used, md5,
                       facts->file[i].md5);
    return CM_OK;
}

/* (record: label, R plane, G plane, B plane) to (h, w, 3). */
static void place_records(struct tr_dataset *ds, int64_t first, const uint8_t *raw, int32_t n)
{
    int32_t *label = tr_dataset_put_labels(ds) + first;
    uint8_t *out = tr_dataset_put_images(ds) + (size_t)first * 3 * PLANE;

    for (int32_t i = 0; i < n; i++, raw += RECORD_NBYTES, out += 3 * PLANE) {
        label[i] = raw[0];
        for (int p = 0; p < PLANE; p++)
            for (int c = 0; c < 3; c++)
                out[3 * p + c] = raw[1 + c * PLANE + p];
    }
}

static cm_status read_folder(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                             const char *folder)
{
    struct tr_dataset shape = {.name = "cifar10",
                               .n_train = (int64_t)facts->per_file * (TR_CIFAR10_FILES - 1),
                               .n_test = facts->per_file,
                               .h = SIDE,
                               .w = SIDE,
                               .channels = 3,
                               .nclasses = 10};
    uint8_t *raw = NULL;
    cm_status st = CM_OK;

    memset(ds, 0, sizeof *ds);
    CM_GOTO(st, cm_alloc(&raw, file_nbytes(facts), 1, "a CIFAR-10 file"), out);
    CM_GOTO(st, tr_dataset_init(ds, &shape), out);
    for (int c = 0; c < 10; c++)
        tr_dataset_put_class(ds, c, class_names[c]);
    for (int i = 0; i < TR_CIFAR10_FILES; i++)
        if (!has_file(facts, folder, i)) /* told before minutes of unpacking the others */
            CM_GOTO(st, read_file(raw, facts, folder, i), out);
    for (int i = 0; i < TR_CIFAR10_FILES; i++) {
        CM_GOTO(st, read_file(raw, facts, folder, i), out);
        place_records(ds, (int64_t)i * facts->per_file, raw, facts->per_file);
    }
    CM_GOTO(st, tr_dataset_seal(ds), out);
    if (facts->fingerprint && strcmp(facts->fingerprint, ds->fingerprint) != 0)
        st = CM_FAIL(CM_EINTERNAL, "CIFAR-10 decodes to %s, expected %s", ds->fingerprint,
                     facts->fingerprint);
out:
    cm_free(&raw);
    if (st != CM_OK)
        tr_dataset_release(ds);
    return st;
}

cm_status tr_cifar10_verify_file(const struct tr_cifar10_facts *facts, const char *folder, int i)
{
    uint8_t *raw = NULL;
    CM_TRY(cm_alloc(&raw, file_nbytes(facts), 1, "a CIFAR-10 file"));
    cm_status st = read_file(raw, facts, folder, i);
    cm_free(&raw);
    return st;
}

#define TAR_STALL_MS 120000 /* for a file of 30 MB */

/* Unpacks beside nothing of the user's: into a new folder under the system's temporary one, removed
 * at the end. */
static cm_status read_archive(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                              const char *archive)
{
    const char *tmp = getenv("TMPDIR");
    char folder[CM_PATH], md5[CM_MD5_TEXT];
    size_t n = 0;
    int code = 0;
    cm_status st = CM_OK;

    CM_TRY(cm_path_join(folder, tmp && *tmp ? tmp : "/tmp", "flywheel-cifar10-XXXXXX"));
    if (!mkdtemp(folder))
        return CM_FAIL_ERRNO("a temporary folder %s", folder);
    /* -v: a line for each file, so that a stall shows. */
    const char *const argv[] = {"tar", "-xzvf", archive, "-C", folder, "--strip-components=1",
                                NULL};
    struct tr_program tar = {.argv = argv, .stall_ms = TAR_STALL_MS};
    CM_GOTO(st, tr_program_run(&tar, &n, &code), out);
    if (code != 0) {
        CM_GOTO(st, cm_md5_file(md5, archive), out);
        st = CM_FAIL(CM_ECORRUPT,
                     "%s: tar cannot unpack it (a truncated or damaged download?); MD5 %s, "
                     "expected %s; " REMEDY,
                     archive, md5, facts->archive_md5);
        goto out;
    }
    st = read_folder(ds, facts, folder);
    if (st != CM_OK)
        st = CM_CONTEXT(st, "%s", archive);
out:
    if (cm_dir_remove(folder) != CM_OK)
        cm_log_warn("%s stays behind", folder);
    return st;
}

cm_status tr_cifar10_read(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                          const char *from)
{
    char archive[CM_PATH];

    memset(ds, 0, sizeof *ds);
    if (!cm_path_exists(from))
        return CM_FAIL(CM_ENOTFOUND, "%s: not found", from);
    if (!cm_path_is_dir(from))
        return read_archive(ds, facts, from);
    if (tr_cifar10_has_files(facts, from) || !folder_has(from, facts->archive))
        return read_folder(ds, facts, from);
    CM_TRY(cm_path_join(archive, from, facts->archive));
    return read_archive(ds, facts, archive);
}

cm_status tr_cifar10_cache_path(char path[CM_PATH], const char *dir)
{
    return cm_path_join(path, dir, "cifar10.decoded");
}

cm_status tr_cifar10_map(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                         const char *dir)
{
    char path[CM_PATH];

    memset(ds, 0, sizeof *ds);
    CM_TRY(tr_cifar10_cache_path(path, dir));
    CM_TRY(tr_dataset_map(ds, path));
    if (strcmp(ds->name, "cifar10") == 0 &&
        (!facts->fingerprint || strcmp(facts->fingerprint, ds->fingerprint) == 0))
        return CM_OK;
    cm_status st =
        CM_FAIL(CM_ECORRUPT, "%s: holds '%s' with fingerprint %s, expected %s", path, ds->name,
                ds->fingerprint, facts->fingerprint ? facts->fingerprint : "cifar10");
    tr_dataset_release(ds);
    return st;
}

cm_status tr_cifar10_open(struct tr_dataset *ds, const struct tr_cifar10_facts *facts,
                          const char *dir)
{
    char found[CM_PATH], cache[CM_PATH];

    cm_status st = tr_cifar10_map(ds, facts, dir);
    if (st == CM_OK)
        return CM_OK;
    if (st != CM_ENOTFOUND)
        cm_error_report(CM_LOG_WARN, st, "the decoded cache is not used and made again");
    CM_TRY(tr_cifar10_find(found, facts, dir));
    cm_log_info("decoding CIFAR-10 from %s (once)", found);
    CM_TRY(tr_cifar10_read(ds, facts, found));
    st = cm_dir_make(dir);
    if (st == CM_OK)
        st = tr_cifar10_cache_path(cache, dir);
    if (st == CM_OK)
        st = tr_dataset_save(ds, cache);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "no decoded cache, so the next start decodes again");
    return CM_OK;
}
