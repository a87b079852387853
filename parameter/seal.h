/* Sealed JSON: an object whose last member is the XXH3-64 of everything before it, so that a
 * flipped bit anywhere in a small file is found. It stays plain JSON for other tools:
 *
 *     {                               \
 *       "format": "1.0",              |  hashed
 *       "step": 3                     /
 *     ,"xxh3": "0123456789abcdef"}\n      the seal, always these 28 + 1 bytes
 */
#ifndef PARAMETER_SEAL_H
#define PARAMETER_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "common/json.h"
#include "common/status.h"

/* Every sealed object starts with this; readers ignore unknown members of the same major. */
#define PS_FORMAT_MAJOR 1
#define PS_FORMAT       "1.0"

/* Opens the object of a sealed text and writes its format. */
void ps_seal_begin(struct cm_jw *w);
/* Ends the object and takes the text (from cm_alloc) with its seal. hash may be NULL. */
CM_MUST_CHECK cm_status ps_seal_end(struct cm_jw *w, char **text, size_t *n, uint64_t *hash);

/* Checks and parses. CM_EVERSION: a newer major (names both); CM_ECORRUPT: the seal is missing or
 * does not fit; CM_EFORMAT: sealed, but no object of this kind. hash may be NULL. */
CM_MUST_CHECK cm_status ps_seal_parse(struct cm_json **out, const char *text, size_t n,
                                      const char *what, uint64_t *hash);

#endif
