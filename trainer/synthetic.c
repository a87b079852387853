/* pixel = 128 + pattern[class][cell][channel] + noise[image][pixel], clipped to a byte. */
#include "trainer/synthetic.h"

#include <stdio.h>
#include <string.h>

#include "common/rng.h"

#define CELLS       4          /* per side */
#define AMPLITUDE   48         /* of the pattern and of the noise */
#define PATTERN     UINT32_MAX /* "where" of the classes' patterns; images have 0 */
#define MAX_CLASSES 1000
#define MAX_IMAGES  10000000

static cm_status parse_spec(struct tr_dataset *shape, const char *spec)
{
    int classes = 0, n = 0, h = 0, w = 0, c = 0, end = 0;
    int fields = sscanf(spec, "synthetic:%d:%d:%dx%dx%d%n", &classes, &n, &h, &w, &c, &end);

    bool sane = fields == 5 && spec[end] == '\0' && classes >= 2 && classes <= MAX_CLASSES &&
                n >= classes && n <= MAX_IMAGES && h >= 1 && h <= 1024 && w >= 1 && w <= 1024 &&
                (c == 1 || c == 3);
    if (!sane)
        return CM_FAIL(
            CM_ECONFIG,
            "data.dataset: '%s' is not synthetic:CLASSES:N:HxWxC with 2..%d classes, N of "
            "CLASSES..%d, sides of 1..1024 and 1 or 3 channels (synthetic:10:2000:32x32x3)",
            spec, MAX_CLASSES, MAX_IMAGES);
    *shape = (struct tr_dataset){.n_train = n,
                                 .n_test = n / 4 > classes ? n / 4 : classes,
                                 .h = h,
                                 .w = w,
                                 .channels = c,
                                 .nclasses = classes};
    snprintf(shape->name, sizeof shape->name, "synthetic:%d:%d:%dx%dx%d", classes, n, h, w, c);
    return CM_OK;
}

/* -AMPLITUDE … AMPLITUDE - 1 from one byte. */
static int centred(uint32_t byte)
{
    return (int)(byte * (2 * AMPLITUDE) >> 8) - AMPLITUDE;
}

/* (CELLS, CELLS, channels) */
static void make_pattern(int pattern[CELLS * CELLS * 3], int class, int channels, uint64_t seed)
{
    for (int i = 0; i < CELLS * CELLS * channels; i++)
        pattern[i] = centred(
            cm_rng_u32(seed, CM_RNG_SYNTHETIC, PATTERN, (uint32_t) class, (uint32_t)i) >> 24);
}

static void make_image(uint8_t *out, const struct tr_dataset *ds, const int *pattern,
                       uint32_t image, uint64_t seed)
{
    struct cm_rng4 r = {0};
    uint32_t element = 0;

    for (int y = 0; y < ds->h; y++)
        for (int x = 0; x < ds->w; x++)
            for (int c = 0; c < ds->channels; c++, element++) {
                if (element % 16 == 0)
                    r = cm_rng_block(seed, CM_RNG_SYNTHETIC, 0, image, element / 16);
                uint32_t byte = r.v[element % 16 / 4] >> 8 * (element % 4) & 255;
                int cell = y * CELLS / ds->h * CELLS + x * CELLS / ds->w;
                int v = 128 + pattern[cell * ds->channels + c] + centred(byte);
                out[element] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
}

cm_status tr_synthetic_open(struct tr_dataset *ds, const char *spec, uint64_t seed)
{
    struct tr_dataset shape;
    int pattern[CELLS * CELLS * 3];

    memset(ds, 0, sizeof *ds);
    CM_TRY(parse_spec(&shape, spec));
    CM_TRY(tr_dataset_init(ds, &shape));
    for (int class = 0; class < ds->nclasses; class ++) {
        make_pattern(pattern, class, ds->channels, seed);
        for (int64_t i = class; i < tr_dataset_count(ds); i += ds->nclasses) {
            tr_dataset_put_labels(ds)[i] = class;
            make_image(tr_dataset_put_images(ds) + (size_t)i * tr_dataset_image_nbytes(ds), ds,
                       pattern, (uint32_t)i, seed);
        }
    }
    cm_status st = tr_dataset_seal(ds);
    if (st != CM_OK)
        tr_dataset_release(ds);
    return st;
}
