#include "serve/serve_device.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"

#define LOAD_TIMEOUT_MS 120000 /* a load waits behind the batches, and libraries' first calls */

struct sv_device {
    struct nn_device *gpu;
    char name[NN_DEVICE_NAME];
    struct ln_lane *lane[2]; /* by enum sv_work */
    int64_t timeout_ms[2];
    atomic_flag told; /* by whoever writes the next two … */
    cm_status fault;
    struct cm_error record;
    atomic_bool lost; /* … which are there once this is set */
};

cm_status sv_device_take(struct sv_device **out, struct nn_device **gpu, int64_t timeout_ms)
{
    struct sv_device *d;
    *out = NULL;
    cm_status st = cm_alloc(&d, 1, sizeof *d, "a GPU");
    if (st != CM_OK) {
        nn_device_close(gpu);
        return st;
    }
    const char *text = nn_device_describe(*gpu); /* its name comes first */
    snprintf(d->name, sizeof d->name, "%.*s", (int)strcspn(text, " "), text);
    d->timeout_ms[SV_WORK_BATCH] = timeout_ms;
    d->timeout_ms[SV_WORK_LOAD] = LOAD_TIMEOUT_MS;
    d->gpu = *gpu;
    *gpu = NULL;
    CM_GOTO(st, nn_device_lane_open(d->gpu, &d->lane[SV_WORK_BATCH], "batches", true), out);
    CM_GOTO(st, nn_device_lane_open(d->gpu, &d->lane[SV_WORK_LOAD], "load", false), out);
    *out = d;
    d = NULL;
out:
    sv_device_close(&d);
    return st;
}

cm_status sv_device_open(struct sv_device **out, const char *which, int64_t turn,
                         int64_t timeout_ms)
{
    char name[NN_DEVICE_NAME];
    struct nn_device *gpu;
    *out = NULL;
    if (!nn_device_is_name(which))
        return CM_OK;
    nn_device_name_nth(name, which, (int)turn, nn_device_count());
    cm_status st = nn_device_open(&gpu, name);
    if (st == CM_OK)
        return sv_device_take(out, &gpu, timeout_ms);
    if (st != CM_EUNSUPPORTED || strcmp(which, "auto") != 0)
        return st;
    cm_log_info("computing on the CPU: %s", cm_error_text());
    return CM_OK;
}

void sv_device_close(struct sv_device **d)
{
    if (!*d)
        return;
    for (int i = 0; i < 2; i++)
        ln_lane_close(&(*d)->lane[i]);
    nn_device_close(&(*d)->gpu);
    cm_free(d);
}

struct nn_device *sv_device_gpu(const struct sv_device *d)
{
    return d->gpu;
}

const char *sv_device_name(const struct sv_device *d)
{
    return d ? d->name : "cpu";
}

const char *sv_device_describe(const struct sv_device *d)
{
    return d ? nn_device_describe(d->gpu) : "cpu";
}

struct ln_lane *sv_device_lane(const struct sv_device *d, enum sv_work work)
{
    return d->lane[work];
}

cm_status sv_device_wait(struct sv_device *d, enum sv_work work)
{
    return ln_lane_sync(d->lane[work], cm_deadline_in_ms(d->timeout_ms[work]));
}

cm_status sv_device_watch(struct sv_device *d, cm_status st)
{
    if (d && (st == CM_EIO || st == CM_ETIMEDOUT) && !atomic_flag_test_and_set(&d->told)) {
        d->fault = st;
        cm_error_save(&d->record);
        atomic_store(&d->lost, true);
    }
    return st;
}

cm_status sv_device_check(const struct sv_device *d)
{
    if (!d || !atomic_load(&d->lost))
        return CM_OK;
    cm_error_restore(&d->record);
    return CM_CONTEXT(d->fault, "%s is lost", d->name);
}
