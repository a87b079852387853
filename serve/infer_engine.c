#include "serve/infer_engine.h"

#include <string.h>

#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "serve/serve_config.h"

struct sv_engine {
    struct sv_device *device; /* NULL: the host */
    const struct nn_backend *backend;
    uint64_t network;
    struct nn_spec *spec;
    struct nn_layout *layout;
    struct nn_plan *plan;
    int batches[SV_BATCH_SIZES], nbatches;
    size_t image_nbytes;

    /* on the host; pinned where there is a device */
    float *weights;  /* the arena */
    uint8_t *images; /* (largest batch, H, W, C) */
    float *logits;   /* (largest batch, classes) */

    /* on the device */
    float *device_weights;
    uint8_t *device_images;
    struct nn_graph *graph[SV_BATCH_SIZES]; /* NULL: that size is enqueued anew each time */
};

/* ---- buffers ---- */

static cm_status take_host(struct sv_engine *e, void *out, size_t nbytes, const char *what)
{
    return e->device ? nn_device_pin(sv_device_gpu(e->device), out, nbytes, what)
                     : cm_alloc_aligned(out, nbytes, 1, what);
}

static void give_host(struct sv_engine *e, void *p)
{
    if (e->device)
        nn_device_unpin(sv_device_gpu(e->device), p);
    else
        cm_free(p);
}

static cm_status take_buffers(struct sv_engine *e)
{
    size_t most = (size_t)sv_engine_largest(e), classes = (size_t)e->spec->nclasses;
    size_t weights = e->layout->ntotal * sizeof(float), images = most * e->image_nbytes;
    CM_TRY(take_host(e, &e->weights, weights, "weights"));
    CM_TRY(take_host(e, &e->images, images, "images"));
    CM_TRY(take_host(e, &e->logits, most * classes * sizeof(float), "logits"));
    if (!e->device)
        return CM_OK;
    CM_TRY(e->backend->alloc(e->backend, &e->device_weights, weights, "weights"));
    return e->backend->alloc(e->backend, &e->device_images, images, "images");
}

/* ---- computing ---- */

static cm_status enqueue(struct sv_engine *e, int size, struct ln_lane *lane)
{
    struct nn_batch batch = {.n = e->batches[size], .images = e->device_images};
    CM_TRY(nn_device_copy(sv_device_gpu(e->device), lane, e->device_images, e->images,
                          (size_t)batch.n * e->image_nbytes));
    return nn_plan_infer(e->plan, lane, &batch, e->logits);
}

static cm_status infer_on_device(struct sv_engine *e, int size, enum sv_work work)
{
    struct ln_lane *lane = sv_device_lane(e->device, work);
    CM_TRY(cm_fault("serve.device"));
    if (e->graph[size])
        CM_TRY(nn_device_graph_launch(sv_device_gpu(e->device), e->graph[size], lane));
    else
        CM_TRY(enqueue(e, size, lane));
    return sv_device_wait(e->device, work);
}

/* A size that cannot be captured is enqueued each time: the same bits, only later. */
static void capture(struct sv_engine *e, int size)
{
    struct nn_device *gpu = sv_device_gpu(e->device);
    struct ln_lane *lane = sv_device_lane(e->device, SV_WORK_LOAD);
    cm_status st = nn_device_capture_begin(gpu, lane);
    if (st == CM_OK) {
        st = enqueue(e, size, lane);
        cm_status end = nn_device_capture_end(gpu, lane, &e->graph[size]);
        st = st == CM_OK ? end : st;
    }
    if (st == CM_OK)
        return;
    nn_device_graph_close(gpu, &e->graph[size]);
    cm_log_info("batches of %d are not captured: %s", e->batches[size], cm_error_text());
}

/* Before a capture all has run once: libraries load kernels when they are first used. */
static cm_status run_first(struct sv_engine *e)
{
    CM_TRY(sv_engine_prepare(e));
    CM_TRY(sv_engine_warm_up(e));
    for (int i = 0; e->device && i < e->nbatches; i++)
        capture(e, i);
    return CM_OK;
}

cm_status sv_engine_infer(struct sv_engine *e, int n, enum sv_work work, const float **logits)
{
    int size = 0;
    while (e->batches[size] < n)
        size++;
    *logits = e->logits;
    if (e->device)
        return sv_device_watch(e->device, infer_on_device(e, size, work));
    /* Padded up to a size with what lies behind the first n. */
    struct nn_batch batch = {.n = e->batches[size], .images = e->images};
    return nn_plan_infer(e->plan, NULL, &batch, e->logits);
}

cm_status sv_engine_warm_up(struct sv_engine *e)
{
    const float *unused;
    for (int i = 0; i < e->nbatches; i++)
        CM_TRY(sv_engine_infer(e, e->batches[i], SV_WORK_LOAD, &unused));
    return CM_OK;
}

static cm_status prepare_on_device(struct sv_engine *e)
{
    struct ln_lane *lane = sv_device_lane(e->device, SV_WORK_LOAD);
    CM_TRY(nn_device_copy(sv_device_gpu(e->device), lane, e->device_weights, e->weights,
                          e->layout->ntotal * sizeof *e->weights));
    for (int op = 0; op < nn_plan_nops(e->plan); op++)
        CM_TRY(nn_plan_prepare(e->plan, op, lane, e->device_weights));
    return sv_device_wait(e->device, SV_WORK_LOAD);
}

cm_status sv_engine_prepare(struct sv_engine *e)
{
    return e->device ? sv_device_watch(e->device, prepare_on_device(e))
                     : nn_plan_prepare_all(e->plan, e->weights);
}

/* ---- life ---- */

static cm_status build(struct sv_engine *e, const struct sv_engine_config *cfg)
{
    struct nn_plan_config plan = {.backend = e->backend,
                                  .precision = cfg->precision,
                                  .nshards = 1,
                                  .batches = e->batches,
                                  .nbatches = e->nbatches,
                                  .nlanes = 1,
                                  .threads = cfg->threads};
    e->image_nbytes = nn_shape_count(e->spec->input);
    CM_TRY(nn_layout_open(&e->layout, e->spec));
    CM_TRY(take_buffers(e));
    CM_TRY(nn_plan_open(&e->plan, e->spec, e->layout, &plan));
    return e->device ? run_first(e) : CM_OK;
}

cm_status sv_engine_open(struct sv_engine **out, struct nn_spec **spec, uint64_t network,
                         const struct sv_engine_config *cfg)
{
    struct sv_engine *e;
    *out = NULL;
    cm_status st = cm_alloc(&e, 1, sizeof *e, "a network");
    if (st != CM_OK) {
        nn_spec_close(spec);
        return st;
    }
    e->device = cfg->device;
    e->backend = cfg->device ? nn_device_backend(sv_device_gpu(cfg->device)) : nn_backend_cpu();
    e->network = network;
    e->spec = *spec;
    *spec = NULL;
    e->nbatches = cfg->nbatches;
    memcpy(e->batches, cfg->batches, (size_t)cfg->nbatches * sizeof *cfg->batches);
    st = sv_device_watch(e->device, build(e, cfg));
    if (st == CM_OK)
        *out = e;
    else
        sv_engine_close(&e);
    return st;
}

void sv_engine_close(struct sv_engine **engine)
{
    struct sv_engine *e = *engine;
    if (!e)
        return;
    for (int i = 0; e->device && i < e->nbatches; i++)
        nn_device_graph_close(sv_device_gpu(e->device), &e->graph[i]);
    nn_plan_close(&e->plan);
    nn_layout_close(&e->layout);
    nn_spec_close(&e->spec);
    e->backend->release(e->backend, &e->device_weights);
    e->backend->release(e->backend, &e->device_images);
    give_host(e, &e->weights);
    give_host(e, &e->images);
    give_host(e, &e->logits);
    cm_free(engine);
}

uint64_t sv_engine_network(const struct sv_engine *e)
{
    return e->network;
}

const struct nn_spec *sv_engine_spec(const struct sv_engine *e)
{
    return e->spec;
}

const struct nn_layout *sv_engine_layout(const struct sv_engine *e)
{
    return e->layout;
}

enum nn_dtype sv_engine_dtype(const struct sv_engine *e)
{
    return nn_plan_dtype(e->plan);
}

int sv_engine_largest(const struct sv_engine *e)
{
    return e->batches[e->nbatches - 1];
}

float *sv_engine_weights(struct sv_engine *e)
{
    return e->weights;
}

uint8_t *sv_engine_images(struct sv_engine *e)
{
    return e->images;
}
