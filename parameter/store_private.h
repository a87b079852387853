/* What the store's own files share; nobody else includes this. */
#ifndef PARAMETER_STORE_PRIVATE_H
#define PARAMETER_STORE_PRIVATE_H

#include "parameter/store.h"

#define PS_MANIFEST_FILE "manifest.json"
#define PS_LATEST_FILE   "latest"
#define PS_DRAFT_STEM    ".tmp-g"
#define PS_TRASH_STEM    ".trash-"

struct ps_store {
    char dir[CM_PATH];
    char stem[2];                 /* "v" */
    const struct ps_lease *lease; /* borrowed; NULL: reading, or writing without one */
};

/* dir/v000123. */
CM_MUST_CHECK cm_status ps_store_path(const struct ps_store *s, char path[CM_PATH],
                                      int64_t version);
/* Renames dir/name to dir/.trash-<now>-name: at once out of the way, deleted later. trash may be
 * NULL. */
CM_MUST_CHECK cm_status ps_store_discard(const struct ps_store *s, const char *name,
                                         char trash[CM_PATH]);
/* The end of what a killed gc left half done: versions that an alias names come back out of the
 * trash. For the writer, before it looks at any version. */
CM_MUST_CHECK cm_status ps_store_recover(const struct ps_store *s);

#endif
