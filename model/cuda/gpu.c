/* Memory, lanes and events of a GPU, over its driver's table. A lane is a stream: run calls its
 * task at once, and the task only enqueues. Waiting asks again and again, so that every wait has a
 * deadline and a peer's death is noticed. */
#include "model/cuda/gpu.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define SPINS     2000  /* of asking before the first sleep: steps are short */
#define PAUSE_US  20    /* between two questions after that */
#define SETTLE_MS 60000 /* for start-up and tools, which name no lane */

struct stream_lane {
    struct ln_lane base;
    const struct nn_device *gpu;
    void *stream;
    char name[16];
    cm_status fault; /* the first since the last sync */
    struct cm_error record;
};

struct stream_event {
    struct ln_event base;
    const struct nn_device *gpu;
    void *event;
};

/* --- faults --- */

cm_status nn_gpu_check(const struct nn_device *gpu, int code, const char *what)
{
    if (code == 0)
        return CM_OK;
    return CM_FAIL(code == gpu->driver->out_of_memory ? CM_ENOMEM : CM_EIO,
                   "cuda:%d: %s: %s (%d): %s", gpu->ordinal, what, gpu->driver->name_of(code), code,
                   gpu->driver->text_of(code));
}

cm_status nn_gpu_check_dtype(const struct nn_op_desc *desc)
{
    if (desc->dtype != NN_F64 && !desc->emulate_bf16)
        return CM_OK;
    return CM_FAIL(CM_EUNSUPPORTED, "backend 'cuda' has no %s%s",
                   desc->emulate_bf16 ? "emulated " : "", nn_dtype_name(desc->dtype));
}

/* --- waiting --- */

typedef int (*question)(void *what, bool *yes);

static cm_status ask_until(const struct nn_device *gpu, question ask, void *what, const char *name,
                           struct cm_deadline deadline)
{
    bool yes = false;
    struct cm_awake awake = cm_awake_until(deadline);
    CM_TRY(nn_gpu_check(gpu, gpu->driver->use(gpu->ordinal), "cudaSetDevice"));
    for (int i = 0; !yes; i++) {
        CM_TRY(nn_gpu_check(gpu, ask(what, &yes), name));
        if (!yes && cm_awake_passed(&awake))
            return CM_FAIL(CM_ETIMEDOUT, "cuda:%d: %s: not done by the deadline", gpu->ordinal,
                           name);
        if (!yes && i >= SPINS)
            cm_sleep_us(PAUSE_US);
    }
    return CM_OK;
}

/* --- events --- */

static struct stream_event *event_of(struct ln_event *e)
{
    return (struct stream_event *)(void *)e; /* base comes first */
}

static cm_status event_sync(struct ln_event *e, struct cm_deadline deadline)
{
    struct stream_event *self = event_of(e);
    return ask_until(self->gpu, self->gpu->driver->event_happened, self->event, "an event",
                     deadline);
}

static void event_close(struct ln_event *e)
{
    struct stream_event *self = event_of(e);
    (void)self->gpu->driver->event_close(self->event);
    cm_free(&self);
}

void *nn_gpu_event(const struct ln_event *e)
{
    const struct stream_event *self = (const struct stream_event *)(const void *)e;
    return self->event;
}

static const struct ln_event_kind event_kind = {.sync = event_sync, .close = event_close};

static cm_status open_event(struct nn_device *gpu, struct ln_event **out, int (*open)(void **))
{
    struct stream_event *self;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "an event"));
    self->base.kind = &event_kind;
    self->gpu = gpu;
    int code = gpu->driver->use(gpu->ordinal);
    code = code ? code : open(&self->event);
    if (code) {
        cm_free(&self);
        return nn_gpu_check(gpu, code, "an event");
    }
    *out = &self->base;
    return CM_OK;
}

cm_status nn_device_event_open(struct nn_device *gpu, struct ln_event **out)
{
    return open_event(gpu, out, gpu->driver->event_open);
}

cm_status nn_device_timer_open(struct nn_device *gpu, struct ln_event **out)
{
    return open_event(gpu, out, gpu->driver->timer_open);
}

cm_status nn_device_timer_between(const struct nn_device *gpu, struct ln_event *from,
                                  struct ln_event *to, double *seconds)
{
    *seconds = 0;
    return nn_gpu_check(
        gpu, gpu->driver->timer_between(event_of(from)->event, event_of(to)->event, seconds),
        "the time between two events");
}

/* --- lanes --- */

static struct stream_lane *lane_of(const struct ln_lane *lane)
{
    struct stream_lane *self;
    memcpy(&self, &lane, sizeof self); /* base comes first; drops the const of a mere name */
    return self;
}

static void keep_fault(struct stream_lane *lane, cm_status st)
{
    if (st == CM_OK || lane->fault != CM_OK)
        return;
    lane->fault = st;
    cm_error_save(&lane->record);
}

static void lane_run(struct ln_lane *lane, ln_task fn, void *ctx, int64_t a, int64_t b)
{
    struct stream_lane *self = lane_of(lane);
    if (self->fault == CM_OK)
        keep_fault(self, fn(ctx, a, b));
}

/* Made also after a fault, so that nobody waits for ever. */
static void lane_record(struct ln_lane *lane, struct ln_event *e)
{
    struct stream_lane *self = lane_of(lane);
    int code = self->gpu->driver->event_record(event_of(e)->event, self->stream);
    keep_fault(self, nn_gpu_check(self->gpu, code, "recording an event"));
}

static void lane_wait(struct ln_lane *lane, struct ln_event *e)
{
    struct stream_lane *self = lane_of(lane);
    int code = self->gpu->driver->event_wait(event_of(e)->event, self->stream);
    keep_fault(self, nn_gpu_check(self->gpu, code, "waiting for an event"));
}

cm_status nn_device_lane_fault(struct ln_lane *lane)
{
    struct stream_lane *self = lane_of(lane);
    cm_status st = self->fault;
    if (st != CM_OK)
        cm_error_restore(&self->record);
    self->fault = CM_OK;
    return st;
}

static cm_status lane_sync(struct ln_lane *lane, struct cm_deadline deadline)
{
    struct stream_lane *self = lane_of(lane);
    cm_status st =
        ask_until(self->gpu, self->gpu->driver->stream_idle, self->stream, self->name, deadline);
    return st == CM_ETIMEDOUT || self->fault == CM_OK ? st : nn_device_lane_fault(lane);
}

static void lane_close(struct ln_lane *lane)
{
    struct stream_lane *self = lane_of(lane);
    if (self->fault != CM_OK)
        cm_log_error("lane %s: %s (%s at %s)", self->name, self->record.text,
                     cm_status_name(self->fault), self->record.where);
    (void)self->gpu->driver->stream_close(self->stream);
    cm_free(&self);
}

static const struct ln_lane_kind lane_kind = {.run = lane_run,
                                              .record = lane_record,
                                              .wait = lane_wait,
                                              .sync = lane_sync,
                                              .close = lane_close};

cm_status nn_device_lane_open(struct nn_device *gpu, struct ln_lane **out, const char *name,
                              bool urgent)
{
    struct stream_lane *self;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "a lane"));
    self->base.kind = &lane_kind;
    self->gpu = gpu;
    snprintf(self->name, sizeof self->name, "%s", name);
    int code = gpu->driver->use(gpu->ordinal);
    code = code ? code : gpu->driver->stream_open(&self->stream, urgent);
    if (code) {
        cm_free(&self);
        return nn_gpu_check(gpu, code, "a stream");
    }
    *out = &self->base;
    return CM_OK;
}

const struct nn_device *nn_gpu_of(const struct nn_backend *backend)
{
    return (const struct nn_device *)(const void *)backend; /* it comes first */
}

void *nn_gpu_stream(const struct nn_backend *backend, const struct ln_lane *lane)
{
    return lane ? lane_of(lane)->stream : nn_gpu_of(backend)->stream;
}

cm_status nn_gpu_launch(const struct nn_backend *backend, struct ln_lane *lane,
                        enum nn_kernel kernel, struct nn_grid grid, const void *args)
{
    static const char *const names[NN_KERNEL_COUNT] = {
#define NAME(name, type, phases) #name,
        NN_TYPED_KERNELS(NAME) NN_PLAIN_KERNELS(NAME)
#undef NAME
    };
    const struct nn_device *gpu = nn_gpu_of(backend);
    if (grid.x == 0 || grid.y == 0)
        return CM_OK;
    return nn_gpu_check(gpu,
                        gpu->driver->launch(nn_gpu_stream(backend, lane), (int)kernel, &grid, args),
                        names[kernel]);
}

/* --- memory --- */

static cm_status fail_memory(const struct nn_device *gpu, size_t nbytes, const char *what)
{
    size_t available = 0, total = 0;
    (void)gpu->driver->memory(&available, &total);
    return CM_FAIL(CM_ENOMEM,
                   "cuda:%d (%s): no %.1f MiB for %s: %.1f of %.1f MiB are free (a smaller batch, "
                   "or a GPU that nobody shares)",
                   gpu->ordinal, gpu->info.name, (double)nbytes / 0x1p20, what,
                   (double)available / 0x1p20, (double)total / 0x1p20);
}

static cm_status settle(const struct nn_backend *backend)
{
    const struct nn_device *gpu = nn_gpu_of(backend);
    return ask_until(gpu, gpu->driver->stream_idle, gpu->stream, "calls without a lane",
                     cm_deadline_in_ms(SETTLE_MS));
}

static cm_status alloc(const struct nn_backend *backend, void *out, size_t nbytes, const char *what)
{
    const struct nn_device *gpu = nn_gpu_of(backend);
    void *p = NULL;
    memset(out, 0, sizeof p);
    CM_TRY(nn_gpu_check(gpu, gpu->driver->use(gpu->ordinal), "cudaSetDevice"));
    int code = gpu->driver->alloc(&p, nbytes > 0 ? nbytes : 1);
    if (code == gpu->driver->out_of_memory)
        return fail_memory(gpu, nbytes, what);
    CM_TRY(nn_gpu_check(gpu, code, what));
    memcpy(out, &p, sizeof p);
    CM_TRY(nn_gpu_check(gpu, gpu->driver->zero(gpu->stream, p, nbytes), what));
    return settle(backend);
}

static void release(const struct nn_backend *backend, void *p)
{
    void *own;
    memcpy(&own, p, sizeof own);
    if (own)
        (void)nn_gpu_of(backend)->driver->release(own);
    memset(p, 0, sizeof own);
}

static cm_status zero(const struct nn_backend *backend, struct ln_lane *lane, void *p,
                      size_t nbytes)
{
    const struct nn_device *gpu = nn_gpu_of(backend);
    return nn_gpu_check(gpu, gpu->driver->zero(nn_gpu_stream(backend, lane), p, nbytes), "zeroing");
}

static cm_status copy(const struct nn_backend *backend, struct ln_lane *lane, void *dst,
                      const void *src, size_t nbytes)
{
    const struct nn_device *gpu = nn_gpu_of(backend);
    return nn_gpu_check(gpu, gpu->driver->copy(nn_gpu_stream(backend, lane), dst, src, nbytes),
                        "copying");
}

cm_status nn_device_copy(struct nn_device *gpu, struct ln_lane *lane, void *dst, const void *src,
                         size_t nbytes)
{
    CM_TRY(copy(&gpu->backend, lane, dst, src, nbytes));
    return lane ? CM_OK : settle(&gpu->backend);
}

cm_status nn_device_pin(struct nn_device *gpu, void *out, size_t nbytes, const char *what)
{
    void *p = NULL;
    memset(out, 0, sizeof p);
    CM_TRY(nn_gpu_check(gpu, gpu->driver->use(gpu->ordinal), "cudaSetDevice"));
    CM_TRY(nn_gpu_check(gpu, gpu->driver->pin(&p, nbytes > 0 ? nbytes : 1), what));
    memset(p, 0, nbytes);
    memcpy(out, &p, sizeof p);
    return CM_OK;
}

void nn_device_unpin(struct nn_device *gpu, void *p)
{
    void *own;
    memcpy(&own, p, sizeof own);
    if (own)
        (void)gpu->driver->unpin(own);
    memset(p, 0, sizeof own);
}

/* --- the backend --- */

static bool has_dtype(enum nn_dtype dtype)
{
    return dtype != NN_F64;
}

static cm_status accumulate(const struct nn_backend *backend, struct ln_lane *lane,
                            enum nn_dtype dtype, void *dst, const void *src, size_t n)
{
    struct nn_map_args args = {.dtype = dtype,
                               .width = nn_gpu_width(n),
                               .map = NN_MAP_ADD,
                               .n = n,
                               .a = dst,
                               .b = src,
                               .y = dst};
    return nn_gpu_launch(backend, lane, NN_KERNEL_map, nn_grid_of(n / (size_t)args.width), &args);
}

/* Logits are few: they are widened where the host keeps them. */
static cm_status to_f32(const struct nn_backend *backend, struct ln_lane *lane, enum nn_dtype dtype,
                        float *dst, const void *src, size_t n)
{
    const struct nn_device *gpu = nn_gpu_of(backend);
    if (lane) /* a kernel writes pinned memory directly */
        return nn_device_cast(gpu, lane, NN_F32, dst, dtype, src, n);
    float *wide = NULL;
    CM_TRY(alloc(backend, &wide, n * sizeof *wide, "logits"));
    cm_status st;
    CM_GOTO(st, nn_device_cast(gpu, NULL, NN_F32, wide, dtype, src, n), out);
    CM_GOTO(st, copy(backend, NULL, dst, wide, n * sizeof *wide), out);
    st = settle(backend);
out:
    release(backend, &wide);
    return st;
}

/* --- life --- */

static cm_status find(struct nn_device *gpu)
{
    int n = 0;
    const struct nn_driver *driver = gpu->driver;
    int code = driver->count(&n);
    if (code == driver->no_driver)
        return CM_FAIL(CM_EUNSUPPORTED, "no NVIDIA driver here, or one too old for %s: %s (%d)",
                       driver->library, driver->name_of(code), code);
    CM_TRY(nn_gpu_check(gpu, code, "looking for GPUs"));
    if (gpu->ordinal < 0 || gpu->ordinal >= n)
        return CM_FAIL(CM_EUNSUPPORTED, "no cuda:%d: this process sees %d GPU%s", gpu->ordinal, n,
                       n == 1 ? "" : "s (CUDA_VISIBLE_DEVICES?)");
    CM_TRY(nn_gpu_check(gpu, driver->describe(gpu->ordinal, &gpu->info), "asking for the GPU"));
    if (gpu->info.major < 8)
        return CM_FAIL(CM_EUNSUPPORTED, "cuda:%d: %s is sm_%d%d; Flywheel's kernels need sm_80",
                       gpu->ordinal, gpu->info.name, gpu->info.major, gpu->info.minor);
    snprintf(gpu->description, sizeof gpu->description, "cuda:%d %s sm_%d%d, %s", gpu->ordinal,
             gpu->info.name, gpu->info.major, gpu->info.minor, gpu->info.libraries);
    CM_TRY(nn_gpu_check(gpu, driver->use(gpu->ordinal), "cudaSetDevice"));
    return nn_gpu_check(gpu, driver->stream_open(&gpu->stream, false), "a stream");
}

cm_status nn_gpu_open(struct nn_device **out, const struct nn_driver *driver, int ordinal)
{
    struct nn_device *self;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "a GPU"));
    self->driver = driver;
    self->ordinal = ordinal;
    self->backend = (struct nn_backend){
        .name = "cuda",
        .impl = {[NN_OP_INPUT] = &nn_input_gpu,
                 [NN_OP_CONV] = &nn_conv2d_gpu,
                 [NN_OP_NORM] = &nn_batchnorm_gpu,
                 [NN_OP_ACT] = &nn_activation_gpu,
                 [NN_OP_POOL] = &nn_pool_gpu,
                 [NN_OP_LINEAR] = &nn_linear_gpu,
                 [NN_OP_ADD] = &nn_add_gpu,
                 [NN_OP_SCALE] = &nn_scale_gpu,
                 [NN_OP_FLATTEN] = &nn_flatten_gpu,
                 [NN_OP_DROPOUT] = &nn_dropout_gpu,
                 [NN_OP_LOSS] = &nn_loss_gpu},
        .fuses = true,
        .has_dtype = has_dtype,
        .alloc = alloc,
        .release = release,
        .zero = zero,
        .copy = copy,
        .settle = settle,
        .accumulate = accumulate,
        .to_f32 = to_f32,
    };
    cm_status st = find(self);
    if (st == CM_OK)
        *out = self;
    else
        cm_free(&self);
    return st;
}

void nn_device_close(struct nn_device **device)
{
    struct nn_device *self = *device;
    if (!self)
        return;
    (void)self->driver->stream_close(self->stream);
    cm_free(device);
}

const struct nn_backend *nn_device_backend(const struct nn_device *device)
{
    return &device->backend;
}

const char *nn_device_describe(const struct nn_device *device)
{
    return device->description;
}

const char *nn_device_kind(const struct nn_device *device)
{
    const char *behind = strchr(nn_device_describe(device), ' '); /* "cuda:0 …" */
    return behind ? behind + 1 : "";
}

const char *nn_device_uuid(const struct nn_device *device)
{
    return device->info.uuid;
}

int nn_device_driver_version(const struct nn_device *device)
{
    return device->info.driver;
}
