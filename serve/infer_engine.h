/* A network that computes: its plan and buffers for every batch size, on the host or on a device.
 * Versions of one network take an engine over from each other, so that a worker allocates, plans
 * and captures for its first two versions only.
 *
 *   the device's memory      images ─► plan, its weights ─► logits
 *                              ▲                              │       one graph for each size
 *   pinned, on the host      images                         logits
 */
#ifndef SERVE_INFER_ENGINE_H
#define SERVE_INFER_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "model/layout.h"
#include "model/plan.h"
#include "model/spec.h"
#include "serve/serve_device.h"

struct sv_engine; /* one thread at a time */

struct sv_engine_config {
    struct sv_device *device; /* NULL: the host */
    const int *batches;       /* ascending */
    int nbatches;
    int threads; /* inside one op, on the host */
    enum nn_precision precision;
};

/* Takes *spec, even when it fails; borrows cfg->device. network: a number that tells it from others
 * (a hash of what describes it). On a device every batch size has run once.
 * CM_EUNSUPPORTED names an op that the device lacks, CM_ENOMEM what there is no room for. */
CM_MUST_CHECK
cm_status sv_engine_open(struct sv_engine **out, struct nn_spec **spec, uint64_t network,
                         const struct sv_engine_config *cfg);
void sv_engine_close(struct sv_engine **e); /* NULL is fine */

uint64_t sv_engine_network(const struct sv_engine *e);
const struct nn_spec *sv_engine_spec(const struct sv_engine *e);
const struct nn_layout *sv_engine_layout(const struct sv_engine *e);
enum nn_dtype sv_engine_dtype(const struct sv_engine *e);
int sv_engine_largest(const struct sv_engine *e); /* batch */

/* layout->ntotal floats on the host, for whoever then calls prepare: these are the weights. */
float *sv_engine_weights(struct sv_engine *e);
CM_MUST_CHECK
cm_status sv_engine_prepare(struct sv_engine *e);

uint8_t *sv_engine_images(struct sv_engine *e); /* (largest batch, H, W, C), to be filled */
/* The first n images' logits, (n, classes) fp32, until the next call. */
CM_MUST_CHECK
cm_status sv_engine_infer(struct sv_engine *e, int n, enum sv_work work, const float **logits);
/* Every batch size once, with whatever the images are. */
CM_MUST_CHECK
cm_status sv_engine_warm_up(struct sv_engine *e);

#endif
