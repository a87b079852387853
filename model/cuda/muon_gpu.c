/* Muon on a device: its space, and a step as launches. */
#include "common/mem.h"
#include "model/cuda/gpu.h"

struct nn_muon_work {
    struct nn_device *gpu;
    unsigned n;                      /* matrices */
    size_t largest;                  /* elements of one */
    unsigned grid[NN_MUON_STEP + 1]; /* blocks of a pass's product, of the matrix that needs most */
    struct nn_muon_matrix *matrices; /* from here on the device's memory */
    struct nn_muon_room *rooms;
    struct nn_muon_factors *factors;
    float *space;
};

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The space of a matrix, behind those before it. */
static struct nn_muon_room room_after(size_t *used, const struct nn_muon_matrix *m)
{
    struct nn_muon_room room;
    size_t partial = 0;
    for (int pass = NN_MUON_GRAM; pass <= NN_MUON_STEP; pass++) {
        size_t blocks = nn_muon_blocks(nn_muon_depth((enum nn_muon_pass)pass, m));
        partial = most(partial, blocks * nn_muon_count((enum nn_muon_pass)pass, m));
    }
    room.x = *used;
    room.a = room.x + nn_gpu_padded(nn_muon_count(NN_MUON_BEGIN, m));
    room.partial = room.a + nn_gpu_padded(nn_muon_count(NN_MUON_GRAM, m));
    *used = room.partial + nn_gpu_padded(partial);
    return room;
}

static cm_status give_rooms(struct nn_muon_work *work, const struct nn_muon_matrix *matrices,
                            struct nn_muon_room *rooms)
{
    const struct nn_backend *backend = &work->gpu->backend;
    size_t used = 0, n = work->n;
    for (size_t i = 0; i < n; i++) {
        rooms[i] = room_after(&used, &matrices[i]);
        work->largest = most(work->largest, nn_muon_count(NN_MUON_BEGIN, &matrices[i]));
        for (int pass = NN_MUON_GRAM; pass <= NN_MUON_STEP; pass++)
            work->grid[pass] = (unsigned)most(work->grid[pass],
                                              nn_muon_grid((enum nn_muon_pass)pass, &matrices[i]));
    }
    CM_TRY(backend->alloc(backend, &work->matrices, n * sizeof *matrices, "Muon's matrices"));
    CM_TRY(backend->alloc(backend, &work->rooms, n * sizeof *rooms, "Muon's matrices"));
    CM_TRY(backend->alloc(backend, &work->factors, n * sizeof *work->factors, "Muon's norms"));
    CM_TRY(backend->alloc(backend, &work->space, used * sizeof(float), "Muon's products"));
    CM_TRY(nn_device_copy(work->gpu, NULL, work->matrices, matrices, n * sizeof *matrices));
    return nn_device_copy(work->gpu, NULL, work->rooms, rooms, n * sizeof *rooms);
}

cm_status nn_device_muon_open(struct nn_device *gpu, struct nn_muon_work **out,
                              const struct nn_muon_matrix *matrices, size_t n)
{
    struct nn_muon_work *work;
    struct nn_muon_room *rooms = NULL;
    *out = NULL;
    CM_TRY(cm_alloc(&work, 1, sizeof *work, "Muon"));
    work->gpu = gpu;
    work->n = (unsigned)n;
    cm_status st = cm_alloc(&rooms, n, sizeof *rooms, "Muon");
    if (st == CM_OK)
        st = give_rooms(work, matrices, rooms);
    cm_free(&rooms);
    if (st == CM_OK)
        *out = work;
    else
        nn_device_muon_close(&work);
    return st;
}

void nn_device_muon_close(struct nn_muon_work **work)
{
    struct nn_muon_work *self = *work;
    if (!self)
        return;
    const struct nn_backend *backend = &self->gpu->backend;
    backend->release(backend, &self->matrices);
    backend->release(backend, &self->rooms);
    backend->release(backend, &self->factors);
    backend->release(backend, &self->space);
    cm_free(work);
}

static cm_status launch_map(const struct nn_muon_work *work, struct ln_lane *lane,
                            enum nn_kernel kernel, const struct nn_muon_args *args)
{
    struct nn_grid grid = nn_grid_of(work->largest);
    grid.y = work->n;
    return nn_gpu_launch(&work->gpu->backend, lane, kernel, grid, args);
}

static cm_status launch_product(const struct nn_muon_work *work, struct ln_lane *lane,
                                struct nn_muon_args *args, enum nn_muon_pass pass)
{
    struct nn_grid grid = {.x = work->grid[pass],
                           .y = work->n,
                           .threads = NN_MUON_THREADS,
                           .shared = NN_MUON_SHARED * sizeof(float)};
    args->pass = pass;
    CM_TRY(nn_gpu_launch(&work->gpu->backend, lane, NN_KERNEL_muon_product, grid, args));
    return launch_map(work, lane, NN_KERNEL_muon_map, args);
}

cm_status nn_device_muon(struct nn_muon_work *work, struct ln_lane *lane,
                         const struct nn_update_args *update)
{
    struct nn_muon_args args = {.pass = NN_MUON_BEGIN,
                                .matrices = work->matrices,
                                .rooms = work->rooms,
                                .coefficients = update->coefficients,
                                .values = update->values,
                                .weights = update->weights,
                                .momentum = update->first,
                                .gradients = update->gradients,
                                .space = work->space,
                                .factors = work->factors};
    struct nn_grid norms = {.x = 1,
                            .y = work->n,
                            .threads = NN_MUON_LANES,
                            .shared = 2 * NN_MUON_LANES * sizeof(double)};
    CM_TRY(launch_map(work, lane, NN_KERNEL_muon_momentum, &args));
    CM_TRY(nn_gpu_launch(&work->gpu->backend, lane, NN_KERNEL_muon_norms, norms, &args));
    CM_TRY(launch_map(work, lane, NN_KERNEL_muon_map, &args));
    for (int i = 0; i < NN_MUON_ITERATIONS; i++)
        for (int pass = NN_MUON_GRAM; pass <= NN_MUON_STEP; pass++)
            CM_TRY(launch_product(work, lane, &args, (enum nn_muon_pass)pass));
    args.pass = NN_MUON_END;
    return launch_map(work, lane, NN_KERNEL_muon_map, &args);
}
