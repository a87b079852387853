/* fixture_serve RUN_DIR VERB...: what the serving tests need of a store, without a trainer.
 *
 *   network NAME SEED...  takes zoo:NAME for what follows, writes a version with random weights of
 *                         each SEED and the logits that it really has for its golden images
 *   wrong SEED            a version whose golden logits are another version's
 *   nan SEED              a version with a weight that is no number
 *   champion VERSION      points champion there
 *   announce ENDPOINT     tells a gateway that champion has moved, often enough to be heard
 *   images N DIR          N random images as DIR/0.png …, of the network's size
 *
 * Prints the number of each version. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "common/socket.h"
#include "model/golden.h"
#include "model/image.h"
#include "model/init.h"
#include "model/plan.h"
#include "parameter/alias.h"
#include "parameter/store.h"
#include "wire/announce.h"

#define ANNOUNCEMENTS 50
#define ANNOUNCE_US   20000

struct fixture {
    char dir[CM_PATH];
    struct ps_lease *lease;
    struct ps_store *store;
    struct nn_spec *spec;
    struct nn_layout *layout;
    float *weights;
    uint8_t *images; /* (NN_GOLDEN_IMAGES, H, W, C) */
    float *logits;   /* (NN_GOLDEN_IMAGES, classes) */
};

static void random_bytes(uint8_t *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)cm_rng_u32(seed, CM_RNG_SYNTHETIC, 0, 0, (uint32_t)i);
}

static cm_status take_network(struct fixture *f, const char *name)
{
    char ref[128];
    snprintf(ref, sizeof ref, "zoo:%s", name);
    CM_TRY(nn_spec_load(&f->spec, ref));
    CM_TRY(nn_layout_open(&f->layout, f->spec));
    size_t nimage = nn_shape_count(f->spec->input);
    CM_TRY(cm_alloc_aligned(&f->weights, f->layout->ntotal, sizeof(float), "weights"));
    CM_TRY(cm_alloc(&f->images, NN_GOLDEN_IMAGES, nimage, "images"));
    CM_TRY(cm_alloc(&f->logits, NN_GOLDEN_IMAGES, (size_t)f->spec->nclasses * sizeof(float),
                    "logits"));
    random_bytes(f->images, NN_GOLDEN_IMAGES * nimage, 1);
    return CM_OK;
}

static cm_status compute_logits(struct fixture *f)
{
    static const int batches[] = {NN_GOLDEN_IMAGES};
    struct nn_plan_config cfg = {.backend = nn_backend_cpu(),
                                 .precision = NN_PRECISION_FP32,
                                 .nshards = 1,
                                 .batches = batches,
                                 .nbatches = 1,
                                 .nlanes = 1,
                                 .threads = 1};
    struct nn_batch batch = {.n = NN_GOLDEN_IMAGES, .images = f->images};
    struct nn_plan *plan;
    CM_TRY(nn_plan_open(&plan, f->spec, f->layout, &cfg));
    cm_status st = nn_plan_prepare_all(plan, f->weights);
    if (st == CM_OK)
        st = nn_plan_infer(plan, &batch, f->logits);
    nn_plan_close(&plan);
    return st;
}

static cm_status put_spec(struct ps_draft *d, const struct nn_spec *spec)
{
    struct cm_jw w = {0};
    char *text;
    size_t n;
    CM_TRY(nn_spec_write(spec, &w));
    CM_TRY(cm_jw_take(&w, &text, &n));
    cm_status st = ps_draft_put_file(d, "model.json", text, n);
    cm_free(&text);
    return st;
}

static cm_status write_version(struct fixture *f)
{
    const struct nn_shape in = f->spec->input;
    const int64_t images[] = {NN_GOLDEN_IMAGES, in.h, in.w, in.c};
    const int64_t logits[] = {NN_GOLDEN_IMAGES, f->spec->nclasses};
    struct ps_tensors model = {0}, golden = {0};
    struct ps_manifest m = {.producer = "test"};
    struct ps_draft *d = NULL;
    cm_status st;
    for (size_t i = 0; i < f->layout->ntensors; i++) {
        const struct nn_tensor *t = &f->layout->tensors[i];
        CM_GOTO(st,
                ps_tensors_add(&model, t->name, PS_F32, t->ndim, t->dim, f->weights + t->offset),
                out);
    }
    CM_GOTO(st, ps_tensors_add(&golden, "images", PS_U8, 4, images, f->images), out);
    CM_GOTO(st, ps_tensors_add(&golden, "logits", PS_F32, 2, logits, f->logits), out);
    CM_GOTO(st, ps_draft_open(&d, f->store), out);
    CM_GOTO(st, put_spec(d, f->spec), out);
    CM_GOTO(st, ps_draft_put_tensors(d, "model.safetensors", &model), out);
    CM_GOTO(st, ps_draft_put_tensors(d, "golden.safetensors", &golden), out);
    CM_GOTO(st, ps_draft_commit(&d, &m), out);
    printf("%lld\n", (long long)m.version);
out:
    ps_draft_close(&d);
    ps_tensors_release(&model);
    ps_tensors_release(&golden);
    ps_manifest_release(&m);
    return st;
}

enum kind { GOOD, WRONG, NOT_A_NUMBER };

static cm_status make_version(struct fixture *f, uint64_t seed, enum kind kind)
{
    if (!f->spec)
        return CM_FAIL(CM_EUSAGE, "name a network first");
    CM_TRY(nn_init_weights(f->weights, f->layout, f->spec, seed, NULL, 0));
    CM_TRY(compute_logits(f));
    if (kind == WRONG)
        CM_TRY(nn_init_weights(f->weights, f->layout, f->spec, seed + 1, NULL, 0));
    if (kind == NOT_A_NUMBER)
        f->weights[f->layout->tensors[0].offset] = NAN;
    return write_version(f);
}

static cm_status make_images(const struct fixture *f, int n, const char *dir)
{
    const struct nn_shape in = f->spec->input;
    struct nn_image image = {in.h, in.w, in.c, NULL};
    cm_status st = cm_alloc(&image.pixels, nn_shape_count(in), 1, "pixels");
    for (int i = 0; i < n && st == CM_OK; i++) {
        char path[CM_PATH];
        void *png;
        size_t npng;
        random_bytes(image.pixels, nn_shape_count(in), (uint64_t)i + 100);
        CM_GOTO(st, nn_image_encode_png(&image, &png, &npng), out);
        snprintf(path, sizeof path, "%s/%d.png", dir, i);
        st = cm_file_replace(path, png, npng);
        cm_free(&png);
    }
out:
    nn_image_release(&image);
    return st;
}

/* What a publisher sends while its link is being made is lost, unseen by it. */
static cm_status announce(const char *endpoint)
{
    struct wi_announce news = {.kind = WI_ALIASED, .version = 1, .alias = PS_CHAMPION};
    struct cm_socket_config cfg = {.type = CM_SOCKET_PUB, .conflate = true};
    struct cm_socket_ctx *ctx;
    struct cm_socket *s = NULL;
    uint8_t bytes[WI_ANNOUNCE_NBYTES];
    struct cm_message m = {.nframes = 1};
    cm_status st;
    wi_announce_encode(bytes, &news);
    m.frame[0].data = bytes;
    m.frame[0].n = sizeof bytes;
    CM_TRY(cm_socket_ctx_open(&ctx));
    CM_GOTO(st, cm_socket_open(&s, ctx, &cfg), out);
    CM_GOTO(st, cm_socket_connect(s, endpoint), out);
    for (int i = 0; i < ANNOUNCEMENTS && st == CM_OK; i++) {
        st = cm_socket_send(s, &m, cm_deadline_in_ms(0));
        cm_sleep_us(ANNOUNCE_US);
    }
out:
    cm_socket_close(&s);
    cm_socket_ctx_close(&ctx);
    return st;
}

static cm_status run(struct fixture *f, char **argv)
{
    for (enum kind kind = GOOD; *argv; argv++) {
        char *end;
        unsigned long long number = strtoull(*argv, &end, 10);
        if (!*end) {
            CM_TRY(make_version(f, number, kind));
        } else if (!strcmp(*argv, "network") && argv[1]) {
            kind = GOOD;
            CM_TRY(take_network(f, *++argv));
        } else if (!strcmp(*argv, "good")) {
            kind = GOOD;
        } else if (!strcmp(*argv, "wrong")) {
            kind = WRONG;
        } else if (!strcmp(*argv, "nan")) {
            kind = NOT_A_NUMBER;
        } else if (!strcmp(*argv, "champion") && argv[1]) {
            CM_TRY(ps_alias_set(NULL, f->dir, PS_CHAMPION, PS_ANY, strtoll(*++argv, NULL, 10),
                                "test", "test"));
        } else if (!strcmp(*argv, "announce") && argv[1]) {
            CM_TRY(announce(*++argv));
        } else if (!strcmp(*argv, "images") && argv[1] && argv[2]) {
            CM_TRY(make_images(f, (int)strtol(argv[1], NULL, 10), argv[2]));
            argv += 2;
        } else {
            return CM_FAIL(CM_EUSAGE, "fixture: '%s'", *argv);
        }
    }
    return CM_OK;
}

int main(int argc, char **argv)
{
    struct fixture f = {0};
    cm_status st;
    cm_log_init("fixture");
    if (argc < 2)
        return 2;
    CM_GOTO(st, ps_lease_acquire(&f.lease, argv[1], "", false), out);
    CM_GOTO(st, cm_path_join(f.dir, argv[1], "checkpoints"), out);
    CM_GOTO(st, ps_store_open_writer(&f.store, f.dir, 'v', f.lease), out);
    st = run(&f, argv + 2);
out:
    ps_store_close(&f.store);
    ps_lease_release(&f.lease);
    nn_layout_close(&f.layout);
    nn_spec_close(&f.spec);
    cm_free(&f.weights);
    cm_free(&f.images);
    cm_free(&f.logits);
    return cm_main_end(st);
}
