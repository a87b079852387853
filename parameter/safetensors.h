/* The safetensors format (github.com/huggingface/safetensors), read strictly and written
 * reproducibly:
 *
 *     | N: u64, little-endian | N bytes: JSON object, padded to 8 | tensor data, no gaps |
 *
 * The same tensors give the same bytes whatever the order in which they were added, so that the
 * SHA-256 of a model's file is the identity of the run that made it. The format has no checksum:
 * manifest.h has. */
#ifndef PARAMETER_SAFETENSORS_H
#define PARAMETER_SAFETENSORS_H

#include <stddef.h>

#include "common/file.h"
#include "common/status.h"
#include "parameter/tensors.h"

#define PS_HEADER_MAX 100000000 /* bytes of JSON; the limit of every reader of the format */

/* Fills *out (released by the caller, also zeroed on failure) from a whole file's bytes; tensors
 * point into them. what names them in messages. CM_EFORMAT: anything that the format forbids, with
 * the tensor and the numbers. */
CM_MUST_CHECK cm_status ps_safetensors_parse(struct ps_tensors *out, const void *bytes,
                                             size_t nbytes, const char *what);

/* Streams the file: tensors by alignment descending, then name. CM_EINVAL: a name or text that is
 * no UTF-8, or one name twice. */
CM_MUST_CHECK cm_status ps_safetensors_write(struct cm_writer *w, const struct ps_tensors *set);

/* A file mapped read-only and parsed; read-only, any thread. */
struct ps_tensor_file;
CM_MUST_CHECK cm_status ps_tensor_file_open(struct ps_tensor_file **out, const char *path);
/* Lives until close. */
const struct ps_tensors *ps_tensor_file_set(const struct ps_tensor_file *f);
/* The whole file's bytes. */
const void *ps_tensor_file_bytes(const struct ps_tensor_file *f, size_t *nbytes);
void ps_tensor_file_close(struct ps_tensor_file **f); /* NULL is fine */

/* Durable replacement of path by a file with these tensors. nbytes, hash (XXH3-64 of the file): may
 * be NULL. */
CM_MUST_CHECK cm_status ps_tensor_file_save(const char *path, const struct ps_tensors *set,
                                            uint64_t *nbytes, uint64_t *hash);

#endif
