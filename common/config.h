/* The one config file: {"schema": 1, "run": "runs/x", "model": {…}, "data": {…}, …}. Each section
 * is a const table in its owner's folder; the table is the parser, the check, the default and the
 * help. */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/file.h"
#include "common/json.h"
#include "common/status.h"

#define CM_CONFIG_STRING 256 /* longest string value, with its NUL */

enum cm_key_type {
    CM_KEY_BOOL,   /* bool */
    CM_KEY_INT,    /* int64_t */
    CM_KEY_FLOAT,  /* double */
    CM_KEY_STRING, /* char[CM_CONFIG_STRING] */
    CM_KEY_CHOICE, /* int: index into choices */
    CM_KEY_JSON,   /* const struct cm_json *: an object or array, NULL when absent or null; lives
                      as long as the cm_config. initial is "null" (or NULL: required) */
};

struct cm_key {
    const char *name;
    enum cm_key_type type;
    size_t offset;       /* of the field in the section's struct */
    const char *initial; /* the default as JSON: "8", "true", "\"auto\""; NULL: required */
    double lo, hi;       /* numbers: the legal range, both ends included; lo == hi == 0: any */
    const char *const *choices; /* CM_KEY_CHOICE: names, NULL-terminated */
    const char *unit;           /* "ms", "images"; NULL: none */
    const char *help;           /* one sentence */
};

struct cm_section {
    const char *name; /* "train" */
    const struct cm_key *keys;
    size_t nkeys;
    size_t size; /* of the struct */
};

struct cm_config; /* a parsed file with overrides applied; read-only after open, so any thread */

/* path may be NULL: an empty config (all defaults). sets: nsets texts "section.key=value" applied
 * over the file (value is JSON, or a bare word taken as a string). CM_ECONFIG: a file that cannot
 * be read or is no JSON, no "schema", a schema other than 1, an unknown section (names the
 * nearest). Keys are checked by cm_config_read. */
CM_MUST_CHECK cm_status cm_config_open(struct cm_config **out, const char *path,
                                       const char *const *sets, size_t nsets);
/* From text, as for a config kept in a manifest. what names it in messages. */
CM_MUST_CHECK cm_status cm_config_parse(struct cm_config **out, const char *text, size_t n,
                                        const char *what);
void cm_config_close(struct cm_config **cfg);

/* Fills *into (section->size bytes) with defaults, then the file's values. CM_ECONFIG: unknown key
 * (names the nearest), wrong type, out of range, missing required key: "local-cpu.json:
 * train.batch: 0 is not in 1..65536 (images)". */
CM_MUST_CHECK cm_status cm_config_read(const struct cm_config *cfg,
                                       const struct cm_section *section, void *into);
/* The section's raw JSON, NULL when the file has none. */
const struct cm_json *cm_config_raw(const struct cm_config *cfg, const char *section);
/* Where the config came from, for messages. */
const char *cm_config_name(const struct cm_config *cfg);

/* The run directory, where all tiers of a run meet: chosen (a --run option; NULL: none), else the
 * file's "run", else "runs/" and the file's base name without its ending. */
CM_MUST_CHECK cm_status cm_config_run_dir(const struct cm_config *cfg, const char *chosen,
                                          char dir[CM_PATH]);

/* Appends the section, every key with its resolved value, as one member of the JSON object being
 * written. */
void cm_config_write(struct cm_jw *w, const struct cm_section *section, const void *values);
/* Reads every section given (values[i] for sections[i]) and prints the resolved file to stdout:
 * what --check does. */
CM_MUST_CHECK cm_status cm_config_print(const struct cm_config *cfg,
                                        const struct cm_section *const *sections, size_t n);
/* The help of a section's keys, a line each. */
void cm_config_help(const struct cm_section *section);

/* The candidate nearest to word by edit distance; NULL when none is near. */
const char *cm_nearest(const char *word, const char *const *candidates, size_t n);

#endif
