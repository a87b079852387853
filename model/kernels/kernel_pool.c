/* Pooling of one image, channels in vectors. Windows that do not overlap scatter their gradients;
 * else an input element asks the windows that contain it, in row-major order. Either way it is
 * written once. */
#include "model/kernels/kernels.h"
#include "model/kernels/vector.h"

struct range {
    int first, end;
};

/* Input rows (or columns) under window number i. */
static struct range window_range(const struct nn_window *g, int i, int size)
{
    int first = i * g->stride - g->pad, end = first + g->kernel;
    return (struct range){first < 0 ? 0 : first, end > size ? size : end};
}

/* Windows that contain input row (or column) r. */
static struct range covering(const struct nn_window *g, int r, int count)
{
    int last = (r + g->pad) / g->stride;
    int before = r + g->pad - g->kernel; /* a window that starts here has just ended */
    int first = before < 0 ? 0 : before / g->stride + 1;
    return (struct range){first, last + 1 > count ? count : last + 1};
}

static size_t pixel(const struct nn_window *g, int row, int column, int width)
{
    return ((size_t)row * (size_t)width + (size_t)column) * (size_t)g->c;
}

NN_INLINE void store_places(uint8_t *p, nn_vi place, int n)
{
    nn_vh h = __builtin_convertvector(place,
                                      nn_vh); /* by way of 16 bits: gcc 12 goes lane by lane else */
    nn_vb b = __builtin_convertvector(h, nn_vb);
    memcpy(p, &b, (size_t)n);
}

NN_INLINE nn_vi load_places(const uint8_t *p, int n)
{
    nn_vb b = {0};
    memcpy(&b, p, (size_t)n);
    return __builtin_convertvector(__builtin_convertvector(b, nn_vh), nn_vi);
}

/* A window as far as it lies inside the image. */
struct patch {
    size_t from, row;  /* elements: its first pixel, and from one image row to the next */
    int rows, columns; /* pixels */
    int first;         /* place of its first pixel in the whole window */
};

static struct patch patch_at(const struct nn_window *g, int i, int j)
{
    struct range rows = window_range(g, i, g->h), columns = window_range(g, j, g->w);
    int top = i * g->stride - g->pad, left = j * g->stride - g->pad;
    return (struct patch){.from = pixel(g, rows.first, columns.first, g->w),
                          .row = pixel(g, 1, 0, g->w),
                          .rows = rows.end - rows.first,
                          .columns = columns.end - columns.first,
                          .first = (rows.first - top) * g->kernel + columns.first - left};
}

/* rows, columns and kernel repeat what p and g say, so that callers can make them constants. */
NN_INLINE void max_lanes(size_t c, int n, const struct nn_window *g, const struct patch *p,
                         int rows, int columns, int kernel, const void *x, void *y, uint8_t *where,
                         size_t at, enum nn_dtype dtype)
{
    nn_vf best = nn_load(x, p->from + c, n, dtype);
    nn_vi place = (nn_vi){0} + p->first;
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < columns; q++) {
            size_t from = p->from + (size_t)r * p->row + (size_t)q * (size_t)g->c + c;
            nn_vf v = nn_load(x, from, n, dtype);
            nn_vi better = ~(v <= best) & (best == best); /* the first NaN is the maximum */
            best = nn_select(better, v, best);
            place = nn_select_i(better, (nn_vi){0} + (p->first + r * kernel + q), place);
        }
    nn_store(y, at + c, best, n, dtype);
    if (where)
        store_places(where + at + c, place, n);
}

NN_INLINE void max_all(const struct nn_window *g, const void *x, void *y, uint8_t *where,
                       enum nn_dtype dtype)
{
    for (int i = 0; i < g->oh; i++)
        for (int j = 0; j < g->ow; j++) {
            struct patch p = patch_at(g, i, j);
            size_t at = pixel(g, i, j, g->ow);
            bool whole = p.rows == g->kernel && p.columns == g->kernel;
            for (size_t c = 0; c < (size_t)g->c; c += NN_W)
                if (whole && g->kernel == 2)
                    NN_LANES(c, g->c, max_lanes, g, &p, 2, 2, 2, x, y, where, at, dtype);
                else
                    NN_LANES(c, g->c, max_lanes, g, &p, p.rows, p.columns, g->kernel, x, y, where,
                             at, dtype);
        }
}

static void max(const struct nn_window *g, enum nn_dtype dtype, const void *x, void *y,
                uint8_t *where)
{
    NN_BY_DTYPE(dtype, max_all, g, x, y, where);
}

/* Disjoint windows: each of a window's elements gets dy or 0. */
NN_INLINE void scatter_lanes(size_t c, int n, const struct nn_window *g, size_t at, size_t to,
                             size_t row, int kernel, const void *dy, const uint8_t *where, void *dx,
                             enum nn_dtype dtype)
{
    nn_vi place = load_places(where + at + c, n);
    nn_vi v = (nn_vi)nn_load(dy, at + c, n, dtype);
    for (int r = 0; r < kernel; r++)
        for (int q = 0; q < kernel; q++) {
            nn_vi mine = place == r * kernel + q;
            nn_store(dx, to + (size_t)r * row + (size_t)q * (size_t)g->c + c, (nn_vf)(mine & v), n,
                     dtype);
        }
}

static void zero(void *dx, size_t from, size_t count, enum nn_dtype dtype)
{
    size_t size = dtype == NN_F32 ? 4 : 2;
    memset((char *)dx + from * size, 0, count * size);
}

NN_INLINE void max_scatter(const struct nn_window *g, const void *dy, const uint8_t *where,
                           void *dx, enum nn_dtype dtype)
{
    int k = g->kernel;
    size_t row = pixel(g, 1, 0, g->w), used = pixel(g, 0, g->ow * k, g->w);
    for (int i = 0; i < g->oh; i++) {
        for (int j = 0; j < g->ow; j++) {
            size_t at = pixel(g, i, j, g->ow), to = pixel(g, i * k, j * k, g->w);
            for (size_t c = 0; c < (size_t)g->c; c += NN_W)
                if (k == 2)
                    NN_LANES(c, g->c, scatter_lanes, g, at, to, row, 2, dy, where, dx, dtype);
                else
                    NN_LANES(c, g->c, scatter_lanes, g, at, to, row, k, dy, where, dx, dtype);
        }
        for (int r = i * k; r < (i + 1) * k && used < row; r++)
            zero(dx, (size_t)r * row + used, row - used, dtype);
    }
    zero(dx, (size_t)(g->oh * k) * row, (size_t)(g->h - g->oh * k) * row, dtype);
}

NN_INLINE void gather_lanes(size_t c, int n, const struct nn_window *g, int r, int q,
                            struct range rows, struct range columns, const void *dy,
                            const uint8_t *where, void *dx, enum nn_dtype dtype)
{
    nn_vf sum = {0};
    for (int i = rows.first; i < rows.end; i++)
        for (int j = columns.first; j < columns.end; j++) {
            int here = (r + g->pad - i * g->stride) * g->kernel + q + g->pad - j * g->stride;
            size_t at = pixel(g, i, j, g->ow) + c;
            nn_vi mine = load_places(where + at, n) == here;
            sum += (nn_vf)(mine & (nn_vi)nn_load(dy, at, n, dtype));
        }
    nn_store(dx, pixel(g, r, q, g->w) + c, sum, n, dtype);
}

NN_INLINE void max_gather(const struct nn_window *g, const void *dy, const uint8_t *where, void *dx,
                          enum nn_dtype dtype)
{
    for (int r = 0; r < g->h; r++)
        for (int q = 0; q < g->w; q++) {
            struct range rows = covering(g, r, g->oh), columns = covering(g, q, g->ow);
            for (size_t c = 0; c < (size_t)g->c; c += NN_W)
                NN_LANES(c, g->c, gather_lanes, g, r, q, rows, columns, dy, where, dx, dtype);
        }
}

static void max_backward(const struct nn_window *g, enum nn_dtype dtype, const void *dy,
                         const uint8_t *where, void *dx)
{
    if (g->stride == g->kernel && g->pad == 0)
        NN_BY_DTYPE(dtype, max_scatter, g, dy, where, dx);
    else
        NN_BY_DTYPE(dtype, max_gather, g, dy, where, dx);
}

/* out[at] = share * sum over the rectangle of in. */
NN_INLINE void box_lanes(size_t c, int n, const struct nn_window *g, struct range rows,
                         struct range columns, const void *in, int in_width, void *out, size_t at,
                         float share, enum nn_dtype dtype)
{
    nn_vf sum = {0};
    for (int r = rows.first; r < rows.end; r++)
        for (int q = columns.first; q < columns.end; q++)
            sum += nn_load(in, pixel(g, r, q, in_width) + c, n, dtype);
    nn_store(out, at + c, sum * share, n, dtype);
}

NN_INLINE void average_all(const struct nn_window *g, const void *x, void *y, enum nn_dtype dtype)
{
    for (int i = 0; i < g->oh; i++)
        for (int j = 0; j < g->ow; j++) {
            struct range rows = window_range(g, i, g->h), columns = window_range(g, j, g->w);
            size_t at = pixel(g, i, j, g->ow);
            for (size_t c = 0; c < (size_t)g->c; c += NN_W)
                NN_LANES(c, g->c, box_lanes, g, rows, columns, x, g->w, y, at, g->share, dtype);
        }
}

static void average(const struct nn_window *g, enum nn_dtype dtype, const void *x, void *y)
{
    NN_BY_DTYPE(dtype, average_all, g, x, y);
}

NN_INLINE void average_backward_all(const struct nn_window *g, const void *dy, void *dx,
                                    enum nn_dtype dtype)
{
    for (int r = 0; r < g->h; r++)
        for (int q = 0; q < g->w; q++) {
            struct range rows = covering(g, r, g->oh), columns = covering(g, q, g->ow);
            size_t at = pixel(g, r, q, g->w);
            for (size_t c = 0; c < (size_t)g->c; c += NN_W)
                NN_LANES(c, g->c, box_lanes, g, rows, columns, dy, g->ow, dx, at, g->share, dtype);
        }
}

static void average_backward(const struct nn_window *g, enum nn_dtype dtype, const void *dy,
                             void *dx)
{
    NN_BY_DTYPE(dtype, average_backward_all, g, dy, dx);
}

const struct nn_pool_kernels NN_ISA(nn_pool_kernels) = {
    .max = max,
    .max_backward = max_backward,
    .average = average,
    .average_backward = average_backward,
};
