#include "trainer/evaluate_device.h"

#include <string.h>

#include "common/mem.h"

struct tr_stage {
    struct nn_device *device;
    int n;
    size_t pixels, nweights; /* bytes of an image; floats */
    struct ln_event *done;
    /* pinned */
    uint8_t *images;
    struct nn_augment *augment;
    float *logits;
    /* on the device */
    uint8_t *device_images;
    struct nn_augment *device_augment;
    float *weights;
};

cm_status tr_stage_open(struct tr_stage **out, struct nn_device *device, const struct nn_spec *spec,
                        const struct nn_layout *layout, int n)
{
    const struct nn_backend *backend = nn_device_backend(device);
    struct tr_stage *s;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&s, 1, sizeof *s, "a chunk's way to the device"));
    *s = (struct tr_stage){.device = device,
                           .n = n,
                           .pixels = nn_shape_count(spec->input),
                           .nweights = layout->ntotal};
    size_t images = (size_t)n * s->pixels, augment = (size_t)n * sizeof *s->augment;
    size_t logits = (size_t)n * (size_t)spec->nclasses * sizeof *s->logits;
    CM_GOTO(st, nn_device_event_open(device, &s->done), out);
    CM_GOTO(st, nn_device_pin(device, &s->images, images, "images to evaluate"), out);
    CM_GOTO(st, nn_device_pin(device, &s->augment, augment, "images' views"), out);
    CM_GOTO(st, nn_device_pin(device, &s->logits, logits, "logits"), out);
    CM_GOTO(st, backend->alloc(backend, &s->device_images, images, "images to evaluate"), out);
    CM_GOTO(st, backend->alloc(backend, &s->device_augment, augment, "images' views"), out);
    CM_GOTO(
        st,
        backend->alloc(backend, &s->weights, s->nweights * sizeof(float), "weights to evaluate"),
        out);
    *out = s;
    s = NULL;
out:
    tr_stage_close(&s);
    return st;
}

void tr_stage_close(struct tr_stage **stage)
{
    struct tr_stage *s = *stage;
    if (!s)
        return;
    const struct nn_backend *backend = nn_device_backend(s->device);
    ln_event_close(&s->done);
    nn_device_unpin(s->device, &s->images);
    nn_device_unpin(s->device, &s->augment);
    nn_device_unpin(s->device, &s->logits);
    backend->release(backend, &s->device_images);
    backend->release(backend, &s->device_augment);
    backend->release(backend, &s->weights);
    cm_free(stage);
}

cm_status tr_stage_put_weights(struct tr_stage *s, const float *weights)
{
    return nn_device_copy(s->device, NULL, s->weights, weights, s->nweights * sizeof *weights);
}

const float *tr_stage_weights(const struct tr_stage *s)
{
    return s->weights;
}

cm_status tr_stage_put_images(struct tr_stage *s, struct ln_lane *lane, const uint8_t *images,
                              const uint32_t *index)
{
    for (size_t i = 0; i < (size_t)s->n; i++)
        memcpy(s->images + i * s->pixels, images + index[i] * s->pixels, s->pixels);
    return nn_device_copy(s->device, lane, s->device_images, s->images, (size_t)s->n * s->pixels);
}

cm_status tr_stage_put_view(struct tr_stage *s, struct ln_lane *lane, struct nn_augment view,
                            struct nn_batch *batch)
{
    for (int i = 0; i < s->n; i++)
        s->augment[i] = view;
    *batch = (struct nn_batch){.n = s->n, .images = s->device_images, .augment = s->device_augment};
    return nn_device_copy(s->device, lane, s->device_augment, s->augment,
                          (size_t)s->n * sizeof *s->augment);
}

float *tr_stage_logits(struct tr_stage *s)
{
    return s->logits;
}

cm_status tr_stage_wait(struct tr_stage *s, struct ln_lane *lane, struct cm_deadline deadline)
{
    ln_lane_record(lane, s->done);
    return ln_event_sync(s->done, deadline);
}
