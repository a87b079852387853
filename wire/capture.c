#include "wire/capture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/classes.h"
#include "wire/text.h"

#define MAJOR      1
#define MINOR      0
#define NUMBER     40 /* longest text of a number, with its NUL */
#define DIGITS     "0123456789"
#define TIME_END_S 1e12 /* some 30,000 years on: with its milliseconds still exact */

static void add(struct wi_capture_fields *out, const char *name, const void *value, size_t n)
{
    out->field[out->n++] =
        (struct wi_field){.name = name, .nname = strlen(name), .value = value, .nvalue = n};
}

static void add_text(struct wi_capture_fields *out, const char *name, const char *text)
{
    add(out, name, text, strlen(text));
}

cm_status wi_capture_encode(struct wi_capture_fields *out, const struct wi_capture *c)
{
    struct wi_classes classes;
    struct wi_class top;
    const struct wi_image *image = &c->image;

    out->n = 0;
    CM_TRY(wi_image_check(image));
    CM_TRY(wi_classes_open(&classes, c->classes, c->nclasses));
    if (c->version < 1 || !(c->utc_s >= 0 && c->utc_s < TIME_END_S))
        return CM_FAIL(CM_EINVAL, "a capture of version %" PRId64 " at %g s", c->version, c->utc_s);
    wi_classes_next(&classes, &top);
    snprintf(out->shape, sizeof(out->shape), "%ux%ux%u", image->height, image->width,
             image->channels);
    snprintf(out->version, sizeof(out->version), "%" PRId64, c->version);
    cm_xxh_format(out->manifest, c->manifest_hash);
    snprintf(out->time, sizeof(out->time), "%.3f", c->utc_s);
    add_text(out, "format", "1.0");
    add_text(out, "kind", image->kind == WI_IMAGE_FILE ? "file" : "pixels");
    add(out, "image", image->data, image->n);
    add_text(out, "shape", out->shape);
    add_text(out, "version", out->version);
    add_text(out, "manifest", out->manifest);
    add_text(out, "time", out->time);
    add(out, "classes", c->classes, c->nclasses);
    add_text(out, "label", top.name);
    return CM_OK;
}

static const struct wi_field *find(const struct wi_field *field, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (field[i].nname == strlen(name) && memcmp(field[i].name, name, field[i].nname) == 0)
            return &field[i];
    }
    return NULL;
}

static cm_status need(const struct wi_field **out, const struct wi_field *field, size_t n,
                      const char *name)
{
    *out = find(field, n, name);
    return *out ? CM_OK : CM_FAIL(CM_EFORMAT, "capture: '%s' is missing", name);
}

/* A field as a NUL-terminated text for the C library's number readers, which then must use all of
 * it; of the allowed characters only, since those readers also take blanks, signs and prefixes. */
static cm_status need_number(char text[NUMBER], const struct wi_field *field, size_t n,
                             const char *name, const char *allowed)
{
    const struct wi_field *f;
    CM_TRY(need(&f, field, n, name));
    bool fits = f->nvalue > 0 && f->nvalue < NUMBER;
    for (size_t i = 0; fits && i < f->nvalue; i++)
        fits = f->value[i] && strchr(allowed, f->value[i]);
    if (!fits)
        return CM_FAIL(CM_EFORMAT, "capture: '%s' is no number", name);
    memcpy(text, f->value, f->nvalue);
    text[f->nvalue] = '\0';
    return CM_OK;
}

static cm_status decode_numbers(struct wi_capture *c, const struct wi_field *field, size_t n)
{
    char text[NUMBER], *end;

    CM_TRY(need_number(text, field, n, "version", DIGITS));
    errno = 0;
    c->version = strtoll(text, &end, 10);
    if (*end || errno || c->version < 1)
        return CM_FAIL(CM_EFORMAT, "capture: 'version' is out of range");
    CM_TRY(need_number(text, field, n, "manifest", DIGITS "abcdef"));
    c->manifest_hash = strtoull(text, &end, 16);
    if (*end || strlen(text) != CM_XXH_TEXT - 1)
        return CM_FAIL(CM_EFORMAT, "capture: 'manifest' is no hash");
    CM_TRY(need_number(text, field, n, "time", DIGITS "."));
    c->utc_s = strtod(text, &end);
    if (*end || c->utc_s >= TIME_END_S)
        return CM_FAIL(CM_EFORMAT, "capture: 'time' is no time");
    return CM_OK;
}

/* "HxWxC", three decimal numbers in range. */
static cm_status decode_shape(struct wi_image *image, const struct wi_field *field, size_t n)
{
    char text[NUMBER], *at = text;
    long side[3];

    CM_TRY(need_number(text, field, n, "shape", DIGITS "x"));
    for (int i = 0; i < 3; i++) {
        char *end;
        side[i] = strtol(at, &end, 10);
        if (end == at || *end != (i < 2 ? 'x' : '\0') || side[i] > UINT16_MAX)
            return CM_FAIL(CM_EFORMAT, "capture: 'shape' is not of the form 32x32x3");
        at = end + 1;
    }
    if (side[2] > 3)
        return CM_FAIL(CM_EFORMAT, "capture: 'shape' has %ld channels", side[2]);
    image->height = (uint16_t)side[0];
    image->width = (uint16_t)side[1];
    image->channels = (uint8_t)side[2];
    return CM_OK;
}

cm_status wi_capture_decode(struct wi_capture *out, const struct wi_field *field, size_t n)
{
    struct wi_capture c = {0};
    struct wi_classes classes;
    const struct wi_field *f;

    *out = c;
    if (n == 0)
        return CM_FAIL(CM_ENOTFOUND, "the captured image is gone, or never was");
    CM_TRY(need(&f, field, n, "format"));
    CM_TRY(wi_text_check_format(f->value, f->nvalue, "capture", MAJOR, MINOR));
    CM_TRY(need(&f, field, n, "kind"));
    if (f->nvalue == 4 && memcmp(f->value, "file", 4) == 0)
        c.image.kind = WI_IMAGE_FILE;
    else if (f->nvalue == 6 && memcmp(f->value, "pixels", 6) == 0)
        c.image.kind = WI_IMAGE_PIXELS;
    else
        return CM_FAIL(CM_EFORMAT, "capture: 'kind' is neither file nor pixels");
    CM_TRY(decode_shape(&c.image, field, n));
    CM_TRY(need(&f, field, n, "image"));
    c.image.data = f->value;
    c.image.n = f->nvalue;
    CM_TRY(wi_image_check(&c.image));
    CM_TRY(decode_numbers(&c, field, n));
    CM_TRY(need(&f, field, n, "classes"));
    CM_TRY(wi_classes_open(&classes, f->value, f->nvalue));
    c.classes = f->value;
    c.nclasses = f->nvalue;
    *out = c;
    return CM_OK;
}
