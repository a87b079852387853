/* Names for versions that move: "champion" is what servers serve. Each change is a new folder
 * aliases/NAME.NNNNNN/change.json that appears by one rename to a name not taken, so that of two
 * writers who saw the same state exactly one succeeds; the newest wins; the folders are the log.
 * "previous" is derived: what champion named before its last change.
 *
 * An alias is a pointer and holds nothing: it keeps no version alive. gc spares what is named when
 * it looks, so whoever points an alias at a version looks at the version again afterwards, and
 * takes the change back when it is gone ('checkpoint alias set' does; who holds the lease need not,
 * for gc runs under it). A reader that finds nothing under the number looks at the alias again. */
#ifndef PARAMETER_ALIAS_H
#define PARAMETER_ALIAS_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "parameter/manifest.h"

#define PS_CHAMPION "champion"
#define PS_PREVIOUS "previous"
#define PS_ANY      (-1) /* ps_alias_set: whatever it names now */

struct ps_alias { /* one change */
    char name[PS_NAME];
    int64_t number;        /* of the change, from 1 */
    int64_t from, version; /* what it named before (0: nothing) and names since */
    char who[PS_NAME];     /* "online", "alice" */
    char why[256];
    double changed_utc_s;
};

/* CM_EINVAL: no name that an alias may have; says what is. */
CM_MUST_CHECK cm_status ps_alias_check_name(const char *name);

/* dir is the store's folder in all of these; any thread, any process. */

/* Reads one change, the newest: pollers may call it often. CM_ENOTFOUND: never set (the message
 * lists those that are). A damaged change is skipped with a warning; one of a newer format is
 * CM_EVERSION, one that cannot be read now CM_EIO and the like. */
CM_MUST_CHECK cm_status ps_alias_get(struct ps_alias *out, const char *dir, const char *name);
/* Compare and set: CM_EMISMATCH, naming both, unless the alias names `expected` (0: it is not set;
 * PS_ANY). That the version exists is the caller's to know, before and after (above). who and why
 * are cut to their size. out (may be NULL): the change made. */
CM_MUST_CHECK cm_status ps_alias_set(struct ps_alias *out, const char *dir, const char *name,
                                     int64_t expected, int64_t version, const char *who,
                                     const char *why);
/* Back to what it named before its last change; CM_ENOTFOUND when that was nothing. */
CM_MUST_CHECK cm_status ps_alias_rollback(struct ps_alias *out, const char *dir, const char *name,
                                          const char *who, const char *why);
/* Every change, oldest first; *out from cm_alloc. */
CM_MUST_CHECK cm_status ps_alias_history(struct ps_alias **out, size_t *n, const char *dir,
                                         const char *name);
/* The newest change of every alias, by name; *out from cm_alloc. None is fine. */
CM_MUST_CHECK cm_status ps_alias_list(struct ps_alias **out, size_t *n, const char *dir);

#endif
