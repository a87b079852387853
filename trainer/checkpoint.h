/* What a training version holds, and back: model.json, model.safetensors (PyTorch's names and
 * shapes, fp32), state.safetensors (optimiser, averages), golden.safetensors, and in the manifest
 * step, position, schedule state. Files of a version depend on the run only, never on rank count,
 * host or time. */
#ifndef TRAINER_CHECKPOINT_H
#define TRAINER_CHECKPOINT_H

#include <stdint.h>

#include "common/status.h"
#include "model/layout.h"
#include "model/spec.h"
#include "model/step.h"
#include "parameter/store.h"
#include "trainer/optimizer.h"
#include "trainer/schedule.h"
#include "trainer/spike.h"

/* Where a run stands, beside its arenas. */
struct tr_progress {
    int64_t step; /* finished steps: the next one's number */
    struct tr_plateau plateau;
    double best_accuracy;          /* on the holdout, for early stopping; -1: none yet */
    int64_t evaluations_since;     /* without a better one */
    int64_t next_evaluation;       /* its number */
    struct tr_losses losses;       /* empty unless spikes are looked for */
    struct tr_skip skip[TR_SKIPS]; /* steps left out so far: the manifest's interventions */
    int64_t nskips;
    struct nn_step_state scaling; /* fp16's loss scale; zeros without */
};

/* Borrowed views of the state; average may be NULL. */
struct tr_state {
    const struct nn_spec *spec;
    const struct nn_layout *layout;
    float *weights; /* layout->ntotal */
    struct tr_optimizer *optimizer;
    float *average; /* layout->ntotal */
    struct tr_progress *progress;
};

/* Golden images of a version: raw, (NN_GOLDEN_IMAGES, H, W, C), and the fp32 logits for them. */
struct tr_golden {
    const uint8_t *images;
    const float *logits;
};

/* Fills a draft with all files and the manifest's own part (step, notes, interventions); the caller
 * adds metrics, config, fingerprints and parent, and commits. */
CM_MUST_CHECK cm_status tr_checkpoint_put(struct ps_draft *draft, const struct tr_state *state,
                                          const struct tr_golden *golden, struct ps_manifest *m);
/* Loads a version into state. CM_EMISMATCH: another network, a missing or extra tensor (named). A
 * version without state.safetensors (an imported model) gives weights only, with a warning. */
CM_MUST_CHECK cm_status tr_checkpoint_get(const struct ps_version *version,
                                          const struct tr_state *state);
/* Weights only, of any version of the same network: what evaluation and fine-tuning start from. */
CM_MUST_CHECK cm_status tr_checkpoint_get_weights(const struct ps_version *version,
                                                  const struct nn_layout *layout, float *weights);
/* The network that a version was made with. */
CM_MUST_CHECK cm_status tr_checkpoint_get_spec(const struct ps_version *version,
                                               struct nn_spec **out);

/* fp32 logits of the golden images under these weights. logits: (NN_GOLDEN_IMAGES, classes). */
CM_MUST_CHECK cm_status tr_golden_logits(const struct nn_spec *spec, const struct nn_layout *layout,
                                         const float *weights, const uint8_t *images,
                                         float *logits);

#endif
