#include "trainer/audit.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/mem.h"

#define ARENAS (TR_OPTIMIZER_SLOTS + 2) /* weights with statistics, average, the slots */

struct arena {
    const char *name; /* in front of a tensor's: "momentum_buffer."; "" for the weights */
    const float *data;
    size_t n;
};

struct tr_audit {
    struct ar_group *group;
    const struct nn_layout *layout;
    struct arena arena[ARENAS];
    int narenas;
    uint64_t *all; /* (ranks, narenas) */
    int64_t step;  /* of the last audit; -1: none */
    int64_t count;
    double seconds;
};

static void add_arena(struct tr_audit *self, const char *name, const float *data, size_t n)
{
    self->arena[self->narenas++] = (struct arena){.name = name, .data = data, .n = n};
}

cm_status tr_audit_open(struct tr_audit **out, struct ar_group *group, const struct tr_state *state)
{
    struct tr_audit *self;
    *out = NULL;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "audit"));
    self->group = group;
    self->step = -1;
    self->layout = state->layout;
    add_arena(self, "", state->weights, state->layout->ntotal);
    for (int s = 0; s < tr_optimizer_nslots(state->optimizer); s++)
        add_arena(self, tr_optimizer_slot_name(state->optimizer, s),
                  tr_optimizer_slot(state->optimizer, s), state->layout->nparam);
    if (state->average)
        add_arena(self, "average", state->average, state->layout->ntotal);
    size_t ranks = (size_t)ar_group_size(group);
    cm_status st =
        cm_alloc(&self->all, ranks * (size_t)self->narenas, sizeof *self->all, "ranks' hashes");
    if (st != CM_OK) {
        tr_audit_close(&self);
        return st;
    }
    *out = self;
    return CM_OK;
}

void tr_audit_close(struct tr_audit **a)
{
    if (!*a)
        return;
    cm_free(&(*a)->all);
    cm_free(a);
}

int64_t tr_audit_count(const struct tr_audit *a)
{
    return a->count;
}

double tr_audit_seconds(const struct tr_audit *a)
{
    return a->seconds;
}

/* ---- who differs ---- */

static int votes(const uint64_t *hash, int ranks, uint64_t candidate)
{
    int n = 0;
    for (int r = 0; r < ranks; r++)
        n += hash[r] == candidate;
    return n;
}

/* "rank 2", "ranks 0, 1, 3": those whose hash is (or is not) that one. Returns how many. */
static int list_ranks(char *text, size_t size, const uint64_t *hash, int ranks, uint64_t which,
                      bool is)
{
    int n = is ? votes(hash, ranks, which) : ranks - votes(hash, ranks, which), listed = 0;
    size_t at = (size_t)snprintf(text, size, "rank%s", n == 1 ? "" : "s");
    for (int r = 0; r < ranks && at < size; r++)
        if ((hash[r] == which) == is)
            at += (size_t)snprintf(text + at, size - at, "%s %d", listed++ ? "," : "", r);
    return n;
}

void tr_audit_explain(char *text, size_t size, const uint64_t *hash, int ranks)
{
    int most = 0;
    for (int r = 1; r < ranks; r++)
        if (votes(hash, ranks, hash[r]) > votes(hash, ranks, hash[most]))
            most = r;
    char same[128], odd[128];
    int nsame = list_ranks(same, sizeof same, hash, ranks, hash[most], true);
    int nodd = list_ranks(odd, sizeof odd, hash, ranks, hash[most], false);
    if (nsame > nodd)
        snprintf(text, size, "%s differ%s from %s", odd, nodd == 1 ? "s" : "", same);
    else
        snprintf(text, size, "%s differ%s from %s: no majority says who is right", same,
                 nsame == 1 ? "s" : "", odd);
}

/* ---- the check ---- */

static bool all_same(const uint64_t *all, int ranks, int stride, int column)
{
    for (int r = 1; r < ranks; r++)
        if (all[r * stride + column] != all[column])
            return false;
    return true;
}

/* Collective: the first tensor of an arena that differs is found by every rank alike. */
static cm_status pin_down(struct tr_audit *self, const struct arena *arena, int64_t step)
{
    const struct nn_layout *layout = self->layout;
    int ranks = ar_group_size(self->group), ndiffer = 0, first = -1;
    uint64_t *mine = NULL, *all = NULL, *column = NULL;
    size_t n = layout->ntensors;
    cm_status st;
    CM_GOTO(st, cm_alloc(&mine, n, sizeof *mine, "hashes"), out);
    CM_GOTO(st, cm_alloc(&all, n * (size_t)ranks, sizeof *all, "hashes"), out);
    CM_GOTO(st, cm_alloc(&column, (size_t)ranks, sizeof *column, "hashes"), out);
    for (size_t t = 0; t < n; t++)
        if (layout->tensors[t].offset < arena->n) /* slots have no statistics */
            mine[t] = cm_xxh64(arena->data + layout->tensors[t].offset,
                               layout->tensors[t].n * sizeof(float));
    CM_GOTO(st, ar_group_gather(self->group, mine, n * sizeof *mine, all), out);
    for (int t = 0; t < (int)n; t++) {
        if (all_same(all, ranks, (int)n, t))
            continue;
        first = ndiffer++ ? first : t;
    }
    char who[320] = "the padding between tensors differs";
    for (int r = 0; r < ranks && first >= 0; r++)
        column[r] = all[(size_t)r * n + (size_t)first];
    if (first >= 0)
        tr_audit_explain(who, sizeof who, column, ranks);
    st = CM_FAIL(
        CM_EMISMATCH,
        "audit after step %lld: %s%s%s is not the same everywhere: %s (tensors that differ: "
        "%d); memory, processor or library of a rank is at fault; versions written before "
        "are good",
        (long long)step, arena->name, *arena->name ? "." : "",
        first >= 0 ? layout->tensors[first].name : "?", who, ndiffer);
    st = ar_group_alike(self->group, st);
out:
    cm_free(&mine);
    cm_free(&all);
    cm_free(&column);
    return st;
}

static cm_status compare(struct tr_audit *self, int64_t step)
{
    uint64_t mine[ARENAS];
    int ranks = ar_group_size(self->group);
    for (int i = 0; i < self->narenas; i++)
        mine[i] = cm_xxh64(self->arena[i].data, self->arena[i].n * sizeof(float));
    CM_TRY(ar_group_gather(self->group, mine, (size_t)self->narenas * sizeof *mine, self->all));
    for (int i = 0; i < self->narenas; i++)
        if (!all_same(self->all, ranks, self->narenas, i))
            return pin_down(self, &self->arena[i], step);
    return CM_OK;
}

cm_status tr_audit_run(struct tr_audit *a, int64_t step)
{
    if (ar_group_size(a->group) == 1 || a->step == step)
        return CM_OK;
    a->step = step;
    int64_t began_ns = cm_now_ns();
    cm_status st = compare(a, step);
    a->seconds += (double)(cm_now_ns() - began_ns) * 1e-9;
    a->count++;
    return st;
}

/* ---- faults ---- */

float *tr_audit_fault(const struct tr_state *state)
{
    const struct nn_layout *layout = state->layout;
    const struct nn_tensor *middle = &layout->tensors[layout->ntensors / 2];
    if (cm_fault("train.flip.weights") != CM_OK)
        return state->weights + layout->tensors[0].offset;
    if (tr_optimizer_nslots(state->optimizer) > 0 && middle->offset < layout->nparam &&
        cm_fault("train.flip.optimizer") != CM_OK)
        return tr_optimizer_slot(state->optimizer, 0) + middle->offset + middle->n - 1;
    if (layout->ntotal > layout->nparam && cm_fault("train.flip.statistics") != CM_OK)
        return state->weights + layout->tensors[layout->ntensors - 1].offset;
    return NULL;
}

void tr_audit_flip(float *number)
{
    uint32_t bits;
    memcpy(&bits, number, sizeof bits);
    bits ^= 1; /* the least that memory can do wrong */
    memcpy(number, &bits, sizeof bits);
}
