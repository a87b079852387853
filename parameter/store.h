/* The parameter store: a folder of immutable, numbered versions.
 *
 *     checkpoints/
 *       v000122/  v000123/           manifest.json and the files that it lists
 *       aliases/champion.000004/     alias.h
 *       latest                       "v000123": a hint for people; readers never trust it
 *       .tmp-g000007-<uuid>/         a draft of generation 7
 *       .trash-<utc s>-v000100/      removed by gc; its files go when readers had time to let go
 *
 * Commit: files one by one (fsync'd), manifest, lease check, rename to the next free number, fsync
 * of the folder, latest. Until the rename there is nothing to see; after it there is nothing to
 * change. prefix is 'v' for checkpoints; online learning keeps its own chain of states with 's'. */
#ifndef PARAMETER_STORE_H
#define PARAMETER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/file.h"
#include "common/status.h"
#include "parameter/lease.h"
#include "parameter/manifest.h"
#include "parameter/retention.h"
#include "parameter/safetensors.h"
#include "parameter/tensors.h"

struct ps_store; /* one thread at a time; several stores on one folder are fine */

/* For reading. CM_ENOTFOUND when dir is missing. */
CM_MUST_CHECK cm_status ps_store_open(struct ps_store **out, const char *dir, char prefix);
/* For writing: makes dir, and settles what dead generations left half done: their drafts go, which
 * also fences them off, and what their gc had hidden comes back where an alias names it; call it
 * after ps_lease_acquire and before looking at any version. Borrows lease until close; NULL: no
 * lease (tests, tools). */
CM_MUST_CHECK cm_status ps_store_open_writer(struct ps_store **out, const char *dir, char prefix,
                                             const struct ps_lease *lease);
void ps_store_close(struct ps_store **s); /* after its drafts; versions may outlive it */
const char *ps_store_dir(const struct ps_store *s);
/* "v000123". */
#define PS_VERSION_TEXT 24
void ps_store_name(const struct ps_store *s, char text[PS_VERSION_TEXT], int64_t version);
/* All numbers that are there, ascending, valid or not; *out from cm_alloc. */
CM_MUST_CHECK cm_status ps_store_list(const struct ps_store *s, int64_t **out, size_t *n);

/* ---- writing ---- */

struct ps_draft; /* a version being written; one thread at a time, not needed to be the store's */

CM_MUST_CHECK cm_status ps_draft_open(struct ps_draft **out, struct ps_store *s);
/* Writes a file of this plain name and notes size and hash; of tensors also each one's hash and
 * abs-max. */
CM_MUST_CHECK cm_status ps_draft_put_tensors(struct ps_draft *d, const char *file,
                                             const struct ps_tensors *set);
CM_MUST_CHECK cm_status ps_draft_put_file(struct ps_draft *d, const char *file, const void *data,
                                          size_t nbytes);
/* Publishes under the next number and fills the commit's part of *m (manifest.h). Closes the draft
 * in any case. CM_EFENCED: another writer has taken over. On CM_ENOSPC and others nothing is
 * visible and older versions are as they were, but for one case: when only the fsync of the folder
 * failed, the version is visible and whole, yet a power failure might take it back. */
CM_MUST_CHECK cm_status ps_draft_commit(struct ps_draft **d, struct ps_manifest *m);
/* Without commit: removes it. NULL is fine. */
void ps_draft_close(struct ps_draft **d);

/* ---- reading ---- */

/* Of an attempt to read a version: its bytes are not those written. All else says nothing about the
 * version: a full table of files, a server that is away, a format newer than this build. */
bool ps_is_damage(cm_status st);

struct ps_version; /* a version with its manifest read; read-only: any thread */

/* The manifest is read and the files are there with their sizes; contents are checked by map and
 * verify. */
CM_MUST_CHECK cm_status ps_version_open(struct ps_version **out, const struct ps_store *s,
                                        int64_t version);
/* The highest (generation, version) that verifies, contents included; each better one that is
 * damaged is warned about, with what is wrong. CM_ENOTFOUND: no version at all; CM_ECORRUPT: none
 * of them is valid. A better one that cannot be judged ends the search: CM_EVERSION when it is of a
 * newer format, CM_EIO and the like when it cannot be read now. */
CM_MUST_CHECK cm_status ps_version_open_newest(struct ps_version **out, const struct ps_store *s);
/* "latest" (= newest), "v000123", "v123", "123", or an alias. */
CM_MUST_CHECK cm_status ps_version_open_ref(struct ps_version **out, const struct ps_store *s,
                                            const char *ref);
void ps_version_close(struct ps_version **v); /* after the files mapped from it; NULL is fine */
const struct ps_manifest *ps_version_manifest(const struct ps_version *v);
int64_t ps_version_number(const struct ps_version *v);
const char *ps_version_dir(const struct ps_version *v);
/* Hashes every file. CM_ECORRUPT names the file and, where it can, the tensor. */
CM_MUST_CHECK cm_status ps_version_verify(const struct ps_version *v);
/* Maps a file of tensors and checks the very bytes that the caller will use. Closed by
 * ps_tensor_file_close. */
CM_MUST_CHECK cm_status ps_version_map(struct ps_tensor_file **out, const struct ps_version *v,
                                       const char *file);
/* Reads a small file (at most max_nbytes), checked likewise; *data from cm_alloc, NUL-terminated.
 */
CM_MUST_CHECK cm_status ps_version_read(char **data, size_t *n, const struct ps_version *v,
                                        const char *file, size_t max_nbytes);

/* ---- upkeep ---- */

struct ps_removed {
    int64_t *version; /* from cm_alloc */
    size_t n;
};
/* Applies the rule with the metric of that name ("": none). Versions are renamed to .trash- (a
 * reader that has files open may go on), trash older than trash_s is deleted. dry: only tells. Only
 * the lease's holder may call it. */
CM_MUST_CHECK cm_status ps_store_gc(struct ps_store *s, const struct ps_retention *rule,
                                    const char *metric, double trash_s, bool dry,
                                    struct ps_removed *removed);

#endif
