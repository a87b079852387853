#include "common/slot_lists.h"

#include "common/mem.h"

static void leave(struct cm_slot_lists *s, int i)
{
    struct cm_slot_link *l = &s->link[i];
    *(l->previous == CM_NO_SLOT ? &s->of[l->list].head : &s->link[l->previous].next) = l->next;
    *(l->next == CM_NO_SLOT ? &s->of[l->list].tail : &s->link[l->next].previous) = l->previous;
    s->of[l->list].n--;
}

static void join_behind(struct cm_slot_lists *s, int i, int list, int after)
{
    struct cm_slot_link *l = &s->link[i];
    l->list = list;
    l->previous = after;
    l->next = after == CM_NO_SLOT ? s->of[list].head : s->link[after].next;
    *(l->previous == CM_NO_SLOT ? &s->of[list].head : &s->link[l->previous].next) = i;
    *(l->next == CM_NO_SLOT ? &s->of[list].tail : &s->link[l->next].previous) = i;
    s->of[list].n++;
}

cm_status cm_slot_lists_init(struct cm_slot_lists *s, int nslots)
{
    *s = (struct cm_slot_lists){.nslots = nslots};
    for (int list = 0; list < CM_SLOT_LISTS; list++)
        s->of[list].head = s->of[list].tail = CM_NO_SLOT;
    CM_TRY(cm_alloc(&s->link, (size_t)nslots, sizeof *s->link, "slots"));
    for (int i = 0; i < nslots; i++)
        join_behind(s, i, 0, s->of[0].tail);
    return CM_OK;
}

void cm_slot_lists_release(struct cm_slot_lists *s)
{
    cm_free(&s->link);
    *s = (struct cm_slot_lists){0};
}

void cm_slot_lists_move(struct cm_slot_lists *s, int slot, int list)
{
    leave(s, slot);
    join_behind(s, slot, list, s->of[list].tail);
}

void cm_slot_lists_move_behind(struct cm_slot_lists *s, int slot, int list, int after)
{
    leave(s, slot);
    join_behind(s, slot, list, after);
}
