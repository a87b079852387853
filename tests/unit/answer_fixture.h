/* What tests of a version that answers share. Include after cmocka.h and model_fixture.h. */
#ifndef TESTS_UNIT_ANSWER_FIXTURE_H
#define TESTS_UNIT_ANSWER_FIXTURE_H

#include "serve/served_model.h"
#include "wire/classes.h"
#include "wire/item.h"

static inline void answer_fixture_add(struct wi_buffer *body, uint32_t slot, uint32_t deadline_us,
                                      struct wi_image image)
{
    struct wi_item item = {.slot = slot, .top_k = 1, .deadline_us = deadline_us};
    assert_int_equal(wi_item_add_image(body, item, &image), CM_OK);
}

/* m's first n golden images in one batch: how many are answered as m's logits say; the others have
 * failed. */
static inline int answer_fixture_ask(struct sv_model *model, const struct model_fixture *m,
                                     uint32_t n)
{
    struct wi_buffer body = {0}, answer = {0};
    size_t nimage = nn_shape_count(m->spec->input), classes = (size_t)m->spec->nclasses;
    int good = 0;
    for (uint32_t i = 0; i < n; i++)
        answer_fixture_add(
            &body, i, 0,
            (struct wi_image){WI_IMAGE_PIXELS, 0, 0, 0, m->images + i * nimage, nimage});
    assert_int_equal(sv_model_answer(model, body.data, body.n, n, 0, &answer), CM_OK);
    struct wi_items items = {answer.data, answer.n, n};
    for (uint32_t i = 0; i < n; i++) {
        const float *logits = m->logits + i * classes;
        struct wi_classes list;
        struct wi_class top;
        struct wi_item item;
        int best = 0;
        for (int c = 1; c < (int)classes; c++)
            best = logits[c] > logits[best] ? c : best;
        assert_int_equal(wi_item_next(&items, &item), CM_OK);
        if (item.status != WI_OK)
            continue;
        assert_int_equal(wi_classes_open(&list, item.data, item.n), CM_OK);
        assert_true(wi_classes_next(&list, &top));
        assert_int_equal(top.index, best);
        good++;
    }
    wi_buffer_release(&body);
    wi_buffer_release(&answer);
    return good;
}

#endif
