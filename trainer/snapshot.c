#include "trainer/snapshot.h"

#include <string.h>

#include "common/mem.h"

cm_status tr_snapshot_init(struct tr_snapshot *s, const struct tr_train_config *train,
                           const struct tr_state *like)
{
    const struct nn_layout *layout = like->layout;
    *s = (struct tr_snapshot){.state = {.spec = like->spec, .layout = layout}};
    s->state.progress = &s->progress;
    cm_status st = tr_optimizer_open(&s->state.optimizer, train, layout);
    if (st == CM_OK)
        st = cm_alloc_aligned(&s->state.weights, layout->ntotal, sizeof(float), "spare weights");
    if (st == CM_OK && like->average)
        st = cm_alloc_aligned(&s->state.average, layout->ntotal, sizeof(float), "spare average");
    if (st != CM_OK)
        tr_snapshot_release(s);
    return st;
}

void tr_snapshot_release(struct tr_snapshot *s)
{
    tr_optimizer_close(&s->state.optimizer);
    cm_free(&s->state.weights);
    cm_free(&s->state.average);
}

void tr_snapshot_take(struct tr_snapshot *s, const struct tr_state *from)
{
    const struct nn_layout *layout = from->layout;
    memcpy(s->state.weights, from->weights, layout->ntotal * sizeof(float));
    for (int i = 0; i < tr_optimizer_nslots(from->optimizer); i++)
        memcpy(tr_optimizer_slot(s->state.optimizer, i), tr_optimizer_slot(from->optimizer, i),
               layout->nparam * sizeof(float));
    if (from->average)
        memcpy(s->state.average, from->average, layout->ntotal * sizeof(float));
    s->progress = *from->progress;
}
