/* manifest.json, the commit record of a version: what it holds, where it came from, and how to tell
 * that not a bit of it changed. Sealed (seal.h). */
#ifndef PARAMETER_MANIFEST_H
#define PARAMETER_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/status.h"

#define PS_NAME            64 /* longest name of a file, metric, producer or alias, with its NUL */
#define PS_MANIFEST_NBYTES ((size_t)64 << 20) /* larger files are no manifests */

struct ps_file { /* a file of the version */
    char name[PS_NAME];
    uint64_t nbytes, hash; /* XXH3-64 of its bytes */
};

struct ps_check { /* a tensor of the version */
    char *file, *name;
    uint64_t hash;  /* XXH3-64 of its bytes */
    double abs_max; /* NaN: it holds a NaN or an infinity */
};

struct ps_metric {
    char name[PS_NAME];
    double value; /* NaN is kept */
};

/* A departure from the plain run, such as steps skipped after a NaN: a run is a function of its
 * config, its data and these. */
struct ps_intervention {
    char kind[PS_NAME];
    int64_t first_step, last_step; /* both included */
};

/* Zeroed is empty. Strings and arrays are owned (cm_alloc, cm_strdup); one thread at a time. */
struct ps_manifest {
    /* Set by ps_draft_commit, ignored when given. */
    int64_t version;    /* from 1 */
    int64_t generation; /* of the lease that wrote it; 0: without one */
    double created_utc_s;
    struct ps_file *files;
    size_t nfiles;
    struct ps_check *checks;
    size_t nchecks;
    uint64_t hash; /* of the manifest itself: names this version in answers and logs */

    /* Set by whoever writes the version. */
    int64_t parent;         /* version that this one grew from; 0: none */
    char producer[PS_NAME]; /* "train", "online" */
    char run[CM_UUID_TEXT]; /* "" : unknown */
    int64_t step, epoch;
    int64_t sample;    /* position in the epoch, in samples of the whole job */
    char *config;      /* the resolved config: the text of a JSON object; NULL: none */
    char *fingerprint; /* what else the bits depend on, lines "item value" (agree.h); NULL: none */
    char *data_fingerprint; /* the same for the data */
    char *origin;           /* what the producer made it of, to know it again; NULL: untold */
    char *notes;            /* the producer's own fields: the text of a JSON object; NULL: none */
    struct ps_metric *metrics;
    size_t nmetrics;
    struct ps_intervention *interventions;
    size_t ninterventions;
};

/* Adds, or replaces the value of a name that is there. */
CM_MUST_CHECK cm_status ps_manifest_set_metric(struct ps_manifest *m, const char *name,
                                               double value);
/* NaN when absent. */
double ps_manifest_metric(const struct ps_manifest *m, const char *name);
CM_MUST_CHECK cm_status ps_manifest_intervene(struct ps_manifest *m, const char *kind,
                                              int64_t first_step, int64_t last_step);
/* NULL: absent. */
const struct ps_file *ps_manifest_file(const struct ps_manifest *m, const char *name);
const struct ps_check *ps_manifest_check(const struct ps_manifest *m, const char *file,
                                         const char *name);
/* A name in a manifest becomes a path, so it must stay inside the version: no '/', no '.' in front,
 * not too long. */
bool ps_manifest_plain_name(const char *name);
void ps_manifest_release(struct ps_manifest *m);

/* The sealed text, from cm_alloc; sets m->hash. CM_EINVAL: config or notes is no JSON object. */
CM_MUST_CHECK cm_status ps_manifest_write(struct ps_manifest *m, char **text, size_t *n);
/* Fills *out (released by the caller, empty on failure). Errors as ps_seal_parse; CM_EFORMAT names
 * the member. */
CM_MUST_CHECK cm_status ps_manifest_parse(struct ps_manifest *out, const char *text, size_t n,
                                          const char *what);
CM_MUST_CHECK cm_status ps_manifest_load(struct ps_manifest *out, const char *path);

#endif
