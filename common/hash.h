/* Hashes: XXH3-64 for integrity of files and tensors, SHA-256 for a run's identity, MD5 for
 * published data sets. */
#ifndef COMMON_HASH_H
#define COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

uint64_t cm_xxh64(const void *data, size_t nbytes); /* XXH3, 64 bits, seed 0 */

struct cm_xxh; /* streaming; one thread at a time */
CM_MUST_CHECK cm_status cm_xxh_open(struct cm_xxh **out);
void cm_xxh_update(struct cm_xxh *h, const void *data, size_t nbytes);
uint64_t cm_xxh_digest(const struct cm_xxh *h);
void cm_xxh_close(struct cm_xxh **h);

#define CM_XXH_TEXT 17 /* 16 hex digits, NUL */
void cm_xxh_format(char text[CM_XXH_TEXT], uint64_t hash);

#define CM_SHA256_TEXT 65
#define CM_MD5_TEXT    33
/* Lower-case hex. */
CM_MUST_CHECK cm_status cm_sha256(char text[CM_SHA256_TEXT], const void *data, size_t nbytes);
CM_MUST_CHECK cm_status cm_sha256_file(char text[CM_SHA256_TEXT], const char *path);
CM_MUST_CHECK cm_status cm_md5(char text[CM_MD5_TEXT], const void *data, size_t nbytes);
CM_MUST_CHECK cm_status cm_md5_file(char text[CM_MD5_TEXT], const char *path);

#endif
