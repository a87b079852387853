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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/socket.h"
#include "model/image.h"
#include "parameter/alias.h"
#include "tests/unit/model_fixture.h"
#include "wire/announce.h"

#define ANNOUNCEMENTS 50
#define ANNOUNCE_US   20000

struct fixture {
    char dir[CM_PATH];
    struct ps_lease *lease;
    struct model_fixture model;
};

static cm_status make_images(const struct fixture *f, int n, const char *dir)
{
    const struct nn_shape in = f->model.spec->input;
    struct nn_image image = {in.h, in.w, in.c, NULL};
    cm_status st = cm_alloc(&image.pixels, nn_shape_count(in), 1, "pixels");
    for (int i = 0; i < n && st == CM_OK; i++) {
        char path[CM_PATH];
        void *png;
        size_t npng;
        model_fixture_bytes(image.pixels, nn_shape_count(in), (uint64_t)i + 100);
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
    for (enum model_kind kind = MODEL_GOOD; *argv; argv++) {
        char *end;
        unsigned long long number = strtoull(*argv, &end, 10);
        if (!*end) {
            int64_t version = 0;
            CM_TRY(model_fixture_version(&f->model, number, kind, &version));
            printf("%lld\n", (long long)version);
        } else if (!strcmp(*argv, "network") && argv[1]) {
            kind = MODEL_GOOD;
            CM_TRY(model_fixture_take(&f->model, *++argv));
        } else if (!strcmp(*argv, "good")) {
            kind = MODEL_GOOD;
        } else if (!strcmp(*argv, "wrong")) {
            kind = MODEL_WRONG;
        } else if (!strcmp(*argv, "nan")) {
            kind = MODEL_NAN;
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
    CM_GOTO(st, ps_store_open_writer(&f.model.store, f.dir, 'v', f.lease), out);
    st = run(&f, argv + 2);
out:
    ps_store_close(&f.model.store);
    ps_lease_release(&f.lease);
    model_fixture_release(&f.model);
    return cm_main_end(st);
}
