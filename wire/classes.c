#include "wire/classes.h"

#include <stdlib.h>
#include <string.h>

#include "wire/text.h"

#define HEAD_NBYTES  4
#define ENTRY_NBYTES 8 /* without name and NUL */

static int by_probability(const void *a, const void *b, void *probability)
{
    const float *p = probability;
    uint16_t i = *(const uint16_t *)a, j = *(const uint16_t *)b;
    if (p[i] != p[j])
        return p[i] > p[j] ? -1 : 1;
    return i < j ? -1 : i > j;
}

cm_status wi_classes_encode(struct wi_buffer *body, const float *probability,
                            const char *const *name, int n, int top_k, uint16_t *order)
{
    int listed = top_k > 0 && top_k < n ? top_k : n;
    size_t nbytes = HEAD_NBYTES;
    uint8_t *p;
    void *context;

    if (n < 1 || n > WI_CLASSES_MAX)
        return CM_FAIL(CM_EINVAL, "%d classes", n);
    for (int i = 0; i < n; i++) {
        if (!(probability[i] >= 0 && probability[i] <= 1))
            return CM_FAIL(CM_ENUMERIC, "class %d '%s' has probability %g", i, name[i],
                           (double)probability[i]);
        if (strlen(name[i]) > WI_CLASS_NAME_MAX)
            return CM_FAIL(CM_EINVAL, "the name of class %d is longer than %d bytes", i,
                           WI_CLASS_NAME_MAX);
        order[i] = (uint16_t)i;
    }
    memcpy(&context, &probability, sizeof(context));
    qsort_r(order, (size_t)n, sizeof(*order), by_probability, context);
    for (int i = 0; i < listed; i++)
        nbytes += ENTRY_NBYTES + strlen(name[order[i]]) + 1;
    CM_TRY(wi_buffer_grow(body, &p, nbytes));
    wi_put16(p, (uint16_t)listed);
    wi_put16(p + 2, (uint16_t)n);
    p += HEAD_NBYTES;
    for (int i = 0; i < listed; i++) {
        size_t nname = strlen(name[order[i]]);
        wi_put16(p, order[i]);
        wi_put16(p + 2, (uint16_t)nname);
        wi_put_f32(p + 4, probability[order[i]]);
        memcpy(p + ENTRY_NBYTES, name[order[i]], nname + 1);
        p += ENTRY_NBYTES + nname + 1;
    }
    return CM_OK;
}

/* One entry at p, of which n bytes may be read; its length in *nbytes. */
static cm_status check_entry(const uint8_t *p, size_t n, int total, size_t *nbytes)
{
    *nbytes = n < ENTRY_NBYTES ? SIZE_MAX : ENTRY_NBYTES + (size_t)wi_get16(p + 2) + 1;
    if (*nbytes > n)
        return CM_FAIL(CM_EFORMAT, "a list of classes ends early");
    int index = wi_get16(p);
    float probability = wi_get_f32(p + 4);
    if (index >= total)
        return CM_FAIL(CM_EFORMAT, "class %d of %d", index, total);
    if (!(probability >= 0 && probability <= 1))
        return CM_FAIL(CM_EFORMAT, "class %d has probability %g", index, (double)probability);
    if (*nbytes - ENTRY_NBYTES - 1 > WI_CLASS_NAME_MAX || p[*nbytes - 1] != '\0' ||
        !wi_text_is_plain((const char *)p + ENTRY_NBYTES, *nbytes - ENTRY_NBYTES - 1))
        return CM_FAIL(CM_EFORMAT, "the name of class %d is no text", index);
    return CM_OK;
}

cm_status wi_classes_open(struct wi_classes *out, const void *data, size_t n)
{
    const uint8_t *p = data, *end = p + n;

    *out = (struct wi_classes){0};
    if (n < HEAD_NBYTES)
        return CM_FAIL(CM_EFORMAT, "a list of classes of %zu bytes", n);
    int listed = wi_get16(p), total = wi_get16(p + 2);
    if (listed < 1 || listed > total)
        return CM_FAIL(CM_EFORMAT, "%d of %d classes", listed, total);
    p += HEAD_NBYTES;
    for (int i = 0; i < listed; i++) {
        size_t nbytes = 0;
        CM_TRY(check_entry(p, (size_t)(end - p), total, &nbytes));
        p += nbytes;
    }
    if (p != end)
        return CM_FAIL(CM_EFORMAT, "%zu bytes follow a list of classes", (size_t)(end - p));
    *out = (struct wi_classes){
        .n = listed, .total = total, .at = (const uint8_t *)data + HEAD_NBYTES, .left = listed};
    return CM_OK;
}

bool wi_classes_next(struct wi_classes *c, struct wi_class *out)
{
    if (c->left == 0)
        return false;
    c->left--;
    out->index = wi_get16(c->at);
    out->probability = wi_get_f32(c->at + 4);
    out->name = (const char *)c->at + ENTRY_NBYTES;
    c->at += ENTRY_NBYTES + wi_get16(c->at + 2) + 1;
    return true;
}
