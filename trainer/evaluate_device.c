#include "trainer/evaluate_device.h"

#include <string.h>

#include "common/mem.h"

struct tr_resident {
    struct nn_device *device;
    size_t pixels, nlogits, nweights; /* bytes of an image; numbers of an image; floats */
    float *weights;                   /* on the device, as the next one */
    uint8_t *images;
    const uint8_t *host_images; /* n of them */
    size_t n;
};

struct tr_stage {
    struct tr_resident *resident;
    size_t n;
    bool stays; /* the chunk is of resident images */
    struct ln_event *done;
    /* pinned */
    uint8_t *images;
    uint32_t *index;
    float *logits; /* (views, n, classes) */
    /* on the device */
    uint8_t *device_images;
    uint32_t *device_index;
    struct nn_augment *augment; /* (views, n) */
};

cm_status tr_resident_open(struct tr_resident **out, struct nn_device *device,
                           const struct nn_spec *spec, const struct nn_layout *layout,
                           const uint8_t *images, size_t n)
{
    const struct nn_backend *backend = nn_device_backend(device);
    struct tr_resident *r;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&r, 1, sizeof *r, "an evaluation's images"));
    *r = (struct tr_resident){.device = device,
                              .pixels = nn_shape_count(spec->input),
                              .nlogits = (size_t)spec->nclasses,
                              .nweights = layout->ntotal,
                              .host_images = images,
                              .n = n};
    size_t nbytes = n * r->pixels;
    CM_GOTO(
        st,
        backend->alloc(backend, &r->weights, r->nweights * sizeof(float), "weights to evaluate"),
        out);
    CM_GOTO(st, backend->alloc(backend, &r->images, nbytes, "images to evaluate"), out);
    if (n > 0)
        CM_GOTO(st, nn_device_copy(device, NULL, r->images, images, nbytes), out);
    *out = r;
    r = NULL;
out:
    tr_resident_close(&r);
    return st;
}

void tr_resident_close(struct tr_resident **resident)
{
    struct tr_resident *r = *resident;
    if (!r)
        return;
    const struct nn_backend *backend = nn_device_backend(r->device);
    backend->release(backend, &r->weights);
    backend->release(backend, &r->images);
    cm_free(resident);
}

cm_status tr_resident_put_weights(struct tr_resident *r, const float *weights)
{
    return nn_device_copy(r->device, NULL, r->weights, weights, r->nweights * sizeof *weights);
}

const float *tr_resident_weights(const struct tr_resident *r)
{
    return r->weights;
}

/* ---- a lane's ---- */

/* Every image of a view is shown in the same way, in every chunk. */
static cm_status put_views(struct tr_stage *s, const struct nn_augment *views, size_t nviews)
{
    const struct nn_backend *backend = nn_device_backend(s->resident->device);
    size_t nbytes = nviews * s->n * sizeof *views;
    struct nn_augment *all;
    CM_TRY(backend->alloc(backend, &s->augment, nbytes, "images' views"));
    CM_TRY(cm_alloc(&all, nviews * s->n, sizeof *all, "images' views"));
    for (size_t i = 0; i < nviews * s->n; i++)
        all[i] = views[i / s->n];
    cm_status st = nn_device_copy(s->resident->device, NULL, s->augment, all, nbytes);
    cm_free(&all);
    return st;
}

cm_status tr_stage_open(struct tr_stage **out, struct tr_resident *resident, size_t n,
                        const struct nn_augment *views, size_t nviews)
{
    struct nn_device *device = resident->device;
    const struct nn_backend *backend = nn_device_backend(device);
    struct tr_stage *s;
    cm_status st;
    *out = NULL;
    CM_TRY(cm_alloc(&s, 1, sizeof *s, "a chunk's way to the device"));
    *s = (struct tr_stage){.resident = resident, .n = n};
    size_t images = n * resident->pixels, index = n * sizeof *s->index;
    size_t logits = nviews * n * resident->nlogits * sizeof *s->logits;
    CM_GOTO(st, nn_device_event_open(device, &s->done), out);
    CM_GOTO(st, nn_device_pin(device, &s->images, images, "images to evaluate"), out);
    CM_GOTO(st, nn_device_pin(device, &s->index, index, "numbers of images"), out);
    CM_GOTO(st, nn_device_pin(device, &s->logits, logits, "logits"), out);
    CM_GOTO(st, backend->alloc(backend, &s->device_images, images, "images to evaluate"), out);
    CM_GOTO(st, backend->alloc(backend, &s->device_index, index, "numbers of images"), out);
    CM_GOTO(st, put_views(s, views, nviews), out);
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
    struct nn_device *device = s->resident->device;
    const struct nn_backend *backend = nn_device_backend(device);
    ln_event_close(&s->done);
    nn_device_unpin(device, &s->images);
    nn_device_unpin(device, &s->index);
    nn_device_unpin(device, &s->logits);
    backend->release(backend, &s->device_images);
    backend->release(backend, &s->device_index);
    backend->release(backend, &s->augment);
    cm_free(stage);
}

cm_status tr_stage_put(struct tr_stage *s, struct ln_lane *lane, const uint8_t *images,
                       const uint32_t *index)
{
    const struct tr_resident *r = s->resident;
    s->stays = r->n > 0 && images == r->host_images;
    for (size_t i = 0; i < s->n; i++) {
        s->stays = s->stays && index[i] < r->n;
        s->index[i] = index[i];
    }
    if (s->stays)
        return nn_device_copy(r->device, lane, s->device_index, s->index, s->n * sizeof *index);
    for (size_t i = 0; i < s->n; i++)
        memcpy(s->images + i * r->pixels, images + index[i] * r->pixels, r->pixels);
    return nn_device_copy(r->device, lane, s->device_images, s->images, s->n * r->pixels);
}

struct nn_batch tr_stage_batch(const struct tr_stage *s, size_t view)
{
    return (struct nn_batch){.n = (int)s->n,
                             .images = s->stays ? s->resident->images : s->device_images,
                             .index = s->stays ? s->device_index : NULL,
                             .augment = s->augment + view * s->n};
}

float *tr_stage_logits(struct tr_stage *s, size_t view)
{
    return s->logits + view * s->n * s->resident->nlogits;
}

void tr_stage_mark(struct tr_stage *s, struct ln_lane *lane)
{
    ln_lane_record(lane, s->done);
}

cm_status tr_stage_wait(struct tr_stage *s, struct cm_deadline deadline)
{
    return ln_event_sync(s->done, deadline);
}
