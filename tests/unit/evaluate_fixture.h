/* What tests of evaluation share: a small network with random weights, and images to score. */
#ifndef TESTS_UNIT_EVALUATE_FIXTURE_H
#define TESTS_UNIT_EVALUATE_FIXTURE_H

#include "common/mem.h"
#include "model/init.h"
#include "tests/unit/expect.h"
#include "tests/unit/model_fixture.h"
#include "trainer/evaluate.h"

#define PIXELS  (6 * 6 * 3)
#define CLASSES 4

struct bench {
    struct ar_group *group; /* of one */
    struct nn_spec *spec;
    struct nn_layout *layout;
    float *weights;
    uint8_t *images; /* (n, PIXELS) */
    int32_t *labels; /* n */
    uint32_t *rows;  /* n, backwards */
};

static const char bench_network[] =
    "{\"format\": \"1.0\", \"name\": \"t\", \"input\": {\"channels\": 3, \"height\": 6, \"width\": "
    "6}, \"preprocess\": {\"mean\": [0.5, 0.5, 0.5], \"std\": [0.25, 0.25, 0.25]}, \"nodes\": ["
    "{\"name\": \"conv\", \"op\": \"conv\", \"out\": 5, \"kernel\": 3}, {\"name\": \"act\", "
    "\"op\": \"relu\"}, {\"name\": \"flat\", \"op\": \"flatten\"}, {\"name\": \"fc\", \"op\": "
    "\"linear\", \"out\": 4}]}";

static inline struct ar_group *bench_group(void)
{
    struct ar_config cfg;
    struct cm_config *file;
    struct ar_group *group;
    expect_ok(cm_config_open(&file, NULL, NULL, 0));
    expect_ok(cm_config_read(file, &ar_config_section, &cfg));
    cm_config_close(&file);
    expect_ok(ar_group_open(&group, &cfg));
    return group;
}

static inline struct bench *bench_open(uint32_t n)
{
    struct bench *b;
    struct cm_json *json;
    expect_ok(cm_alloc(&b, 1, sizeof *b, "bench"));
    b->group = bench_group();
    expect_ok(cm_json_parse(&json, bench_network, strlen(bench_network), "test"));
    expect_ok(nn_spec_parse(&b->spec, json, "test"));
    cm_json_close(&json);
    expect_ok(nn_layout_open(&b->layout, b->spec));
    expect_ok(cm_alloc(&b->images, (size_t)n * PIXELS, 1, "images"));
    expect_ok(cm_alloc(&b->labels, n, sizeof *b->labels, "labels"));
    expect_ok(cm_alloc(&b->rows, n, sizeof *b->rows, "rows"));
    model_fixture_bytes(b->images, (size_t)n * PIXELS, 1);
    for (uint32_t i = 0; i < n; i++) {
        b->labels[i] = (int32_t)(i % CLASSES);
        b->rows[i] = n - 1 - i;
    }
    expect_ok(cm_alloc_aligned(&b->weights, b->layout->ntotal, sizeof(float), "weights"));
    expect_ok(nn_init_weights(b->weights, b->layout, b->spec, 3, b->images, 10));
    return b;
}

static inline void bench_close(struct bench *b)
{
    cm_free(&b->images);
    cm_free(&b->labels);
    cm_free(&b->rows);
    cm_free(&b->weights);
    nn_layout_close(&b->layout);
    nn_spec_close(&b->spec);
    ar_group_close(&b->group);
    cm_free(&b);
}

#endif
