/* A version of the store, ready to answer: verified, loaded, shown to compute what its trainer
 * computed, and warmed up at every batch size. It computes in an engine (infer_engine.h). */
#ifndef SERVE_SERVED_MODEL_H
#define SERVE_SERVED_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "serve/infer_engine.h"
#include "serve/rollout.h"
#include "wire/bytes.h"
#include "wire/frame.h"

struct sv_model; /* opened on any thread; then one thread at a time */

struct sv_model_config {
    const char *store_dir;
    struct sv_engine_config engine;
    int64_t max_pixels; /* of an encoded image */
    int64_t decode_ns;  /* of a batch: images that it leaves no time for wait; 0: no limit */
};

/* *spare: an engine that nobody uses, or NULL. It is taken over where its network is this one; what
 * is left there afterwards, also of a version that fails, serves the next. Borrows cfg's device.
 * CM_EMISMATCH: another manifest than hash (0: any), or the golden images come out otherwise;
 * CM_ECORRUPT: a file's bytes; each says what. */
CM_MUST_CHECK
cm_status sv_model_open(struct sv_model **out, int64_t version, uint64_t hash,
                        const struct sv_model_config *cfg, struct sv_engine **spare);
void sv_model_close(struct sv_model **m); /* NULL is fine */
/* Closes all but the engine, which is then the caller's; NULL gives NULL. */
struct sv_engine *sv_model_detach(struct sv_model **m);
struct sv_version sv_model_version(const struct sv_model *m);
const struct nn_spec *sv_model_spec(const struct sv_model *m);
enum nn_dtype sv_model_dtype(const struct sv_model *m);

/* Answers a BATCH: count items with images, of which each gets its own result, appended to *answer:
 * first those that have failed, then the others, each group in their order. A bad image fails
 * itself only, and so does one whose deadline passes before it is decoded: that runs from
 * received_ns. Those that decode_ns leaves no time for, never the first, are WI_OVERLOADED: few
 * bytes can cost seconds, and a batch of such must end in time. CM_EFORMAT: the body is no batch,
 * or one of more images than the largest size. */
CM_MUST_CHECK
cm_status sv_model_answer(struct sv_model *m, const void *body, size_t nbody, uint32_t count,
                          int64_t received_ns, struct wi_buffer *answer);

#endif
