/* When a step's gradients were ready: of the events that buckets wait for. */
#include "trainer/engine_device.h"

size_t tr_engine_npieces(const struct tr_engine *e)
{
    return (size_t)e->nbuckets + 1;
}

cm_status tr_engine_pieces(const struct tr_engine *e, struct ar_piece *pieces)
{
    struct nn_device *device = e->cfg.device;
    if (!device || ar_group_size(e->cfg.group) > 1)
        return CM_FAIL(CM_EINVAL, "gradients have times with one rank on a device alone");
    struct ln_event *begun = e->part->begun;
    const struct nn_layout *layout = e->cfg.layout;
    for (int i = 0; i < e->nbuckets; i++) {
        const struct tr_bucket *b = &e->buckets[i];
        pieces[i].nbytes = b->n * sizeof(float);
        CM_TRY(nn_device_timer_between(device, begun, b->ready, &pieces[i].ready_s));
    }
    struct ar_piece *last = &pieces[e->nbuckets];
    last->nbytes = (layout->ntotal - layout->nparam) * sizeof(float);
    return nn_device_timer_between(device, begun, e->statistics_ready, &last->ready_s);
}
