/* What the tests of online learning need beside the programs: a world that has shifted.
 *
 * "export CONFIG FIRST COUNT DIR" writes test images as PNG, seen through the shift, with
 * labels.csv; and as they are, with wrong.csv, in which each label is one class off. "score CONFIG
 * VERSION FIRST COUNT" prints the accuracy of a version on such images through the shift.
 *
 * The shift: colours change places (R, G, B become G, B, R). Images that are pushed and images that
 * are scored are other rows of the test set. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "model/image.h"
#include "parameter/store.h"
#include "trainer/checkpoint.h"
#include "trainer/evaluate.h"
#include "trainer/session.h"

static cm_status load(struct tr_session *s, const char *config)
{
    struct tr_session_options options = {.config_path = config};
    CM_TRY(tr_session_open(s, &options));
    return tr_session_load(s, NULL);
}

/* Test image `row`, shifted. */
static void shifted(uint8_t *out, const struct tr_session *s, int64_t row)
{
    size_t n = tr_dataset_image_nbytes(&s->data.set);
    const uint8_t *image = tr_session_test_images(s) + (size_t)row * n;
    for (size_t i = 0; i + 2 < n; i += 3) {
        out[i] = image[i + 1];
        out[i + 1] = image[i + 2];
        out[i + 2] = image[i];
    }
}

static cm_status write_png(const struct tr_session *s, int64_t row, bool plain, const char *path)
{
    const struct tr_dataset *set = &s->data.set;
    struct nn_image image = {.h = set->h, .w = set->w, .channels = set->channels};
    void *png = NULL;
    size_t n;
    CM_TRY(cm_alloc(&image.pixels, tr_dataset_image_nbytes(set), 1, "image"));
    if (plain)
        memcpy(image.pixels, tr_session_test_images(s) + (size_t)row * tr_dataset_image_nbytes(set),
               tr_dataset_image_nbytes(set));
    else
        shifted(image.pixels, s, row);
    cm_status st = nn_image_encode_png(&image, &png, &n);
    if (st == CM_OK)
        st = cm_file_replace(path, png, n);
    cm_free(&png);
    nn_image_release(&image);
    return st;
}

static cm_status export_images(struct tr_session *s, int64_t first, int64_t count, const char *dir)
{
    char path[CM_PATH];
    FILE *list[2];
    CM_TRY(cm_dir_make(dir));
    static const char *const names[2] = {"labels.csv", "wrong.csv"};
    for (int i = 0; i < 2; i++) {
        CM_TRY(cm_path_join(path, dir, names[i]));
        list[i] = fopen(path, "w");
        if (!list[i])
            return CM_FAIL_ERRNO("%s", path);
    }
    int nclasses = s->data.set.nclasses;
    for (int64_t i = first; i < first + count; i++) {
        int label = tr_session_test_labels(s)[i];
        for (int k = 0; k < 2; k++) {
            char name[32];
            snprintf(name, sizeof name, "%s%06" PRId64 ".png", k ? "plain" : "", i);
            CM_TRY(cm_path_join(path, dir, name));
            CM_TRY(write_png(s, i, k, path));
            fprintf(list[k], "%s,%s\n", path,
                    tr_dataset_class(&s->data.set, (label + k) % nclasses));
        }
    }
    return fclose(list[0]) | fclose(list[1]) ? CM_FAIL_ERRNO("%s", dir) : CM_OK;
}

static cm_status score_with(struct tr_session *s, const struct ps_version *version, int64_t first,
                            int64_t count)
{
    size_t nbytes = tr_dataset_image_nbytes(&s->data.set);
    struct tr_evaluator *evaluator = NULL;
    float *weights = NULL;
    uint8_t *images = NULL;
    struct tr_score score;
    struct tr_evaluator_config cfg = tr_session_evaluator(s);
    cm_status st;
    CM_GOTO(st, cm_alloc_aligned(&weights, s->layout->ntotal, sizeof(float), "weights"), out);
    CM_GOTO(st, cm_alloc(&images, (size_t)count, nbytes, "images"), out);
    for (int64_t i = 0; i < count; i++)
        shifted(images + (size_t)i * nbytes, s, first + i);
    CM_GOTO(st, tr_checkpoint_get_weights(version, s->layout, weights), out);
    CM_GOTO(st, tr_evaluator_open(&evaluator, &cfg), out);
    CM_GOTO(st,
            tr_evaluate(evaluator, weights, images, tr_session_test_labels(s) + first, NULL,
                        (uint32_t)count, NULL, &score),
            out);
    printf("%.4f\n", score.accuracy);
out:
    tr_evaluator_close(&evaluator);
    cm_free(&weights);
    cm_free(&images);
    return st;
}

static cm_status score(struct tr_session *s, const char *ref, int64_t first, int64_t count)
{
    struct ps_store *store;
    struct ps_version *version = NULL;
    CM_TRY(ps_store_open(&store, s->store_dir, 'v'));
    cm_status st = ps_version_open_ref(&version, store, ref);
    if (st == CM_OK)
        st = score_with(s, version, first, count);
    ps_version_close(&version);
    ps_store_close(&store);
    return st;
}

static cm_status run(int argc, char **argv)
{
    struct tr_session s = {0};
    bool scores = argc == 6 && strcmp(argv[1], "score") == 0;
    if (!scores && (argc != 6 || strcmp(argv[1], "export") != 0))
        return CM_FAIL(CM_EUSAGE, "export CONFIG FIRST COUNT DIR | score CONFIG VERSION FIRST "
                                  "COUNT");
    int64_t first = strtoll(argv[scores ? 4 : 3], NULL, 10);
    int64_t count = strtoll(argv[scores ? 5 : 4], NULL, 10);
    cm_status st = load(&s, argv[2]);
    if (st == CM_OK && first + count > s.data.n_test)
        st = CM_FAIL(CM_EUSAGE, "there are %lld test images", (long long)s.data.n_test);
    if (st == CM_OK)
        st = scores ? score(&s, argv[3], first, count) : export_images(&s, first, count, argv[5]);
    tr_session_release(&s);
    return st;
}

int main(int argc, char **argv)
{
    cm_log_init("fixture");
    return cm_main_end(run(argc, argv));
}
