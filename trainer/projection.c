#include "trainer/projection.h"

#include <stdio.h>

#define REACHED      0.8 /* of what a data sheet says: our assumption */
#define MEMORY_BYTES (4.8e12 * REACHED)
#define FAST_BUCKET  ((size_t)1 << 20) /* allreduce.bucket_kib's default: none is measured there */

/* Eight H200 in one host: NVLink carries 450 GB/s each way for each (NVIDIA's data sheet: 900 both
 * ways; memory 4.8 TB/s). Or eight hosts of one each, with a 400 Gb/s adapter (ConnectX-7). The
 * latencies are assumed, above those that nccl-tests is known for (some 15 and 30 us). */
static const struct ar_link links[] = {{"nvlink", 25e-6, 450e9 * REACHED, MEMORY_BYTES},
                                       {"network", 50e-6, 50e9 * REACHED, MEMORY_BYTES}};
static const char *const orders[] = {[AR_ORDER_FIXED] = "fixed", [AR_ORDER_FAST] = "fast"};
#define NLINKS  (sizeof links / sizeof *links)
#define NORDERS (sizeof orders / sizeof *orders)

static size_t gradient_nbytes(const struct tr_projection *p)
{
    size_t nbytes = 0;
    for (size_t i = 0; i < p->npieces; i++)
        nbytes += p->pieces[i].nbytes;
    return nbytes;
}

static struct ar_overlap overlap(const struct tr_projection *p, const struct ar_link *link,
                                 enum ar_order order)
{
    size_t bucket = order == AR_ORDER_FAST
                        ? FAST_BUCKET
                        : ar_link_bucket(link, order, p->ranks, gradient_nbytes(p));
    return ar_overlap(p->pieces, p->npieces, bucket, link, order, p->ranks);
}

static double share(const struct tr_projection *p, const struct ar_overlap *o)
{
    return o->exposed_s / (p->step_s + o->exposed_s);
}

void tr_projection_print(const struct tr_projection *p)
{
    printf("calculated for %d ranks of %.1f MB: a step of %.3f ms would wait\n", p->ranks,
           (double)gradient_nbytes(p) / 1e6, p->step_s * 1e3);
    for (size_t i = 0; i < NLINKS; i++)
        for (size_t k = 0; k < NORDERS; k++) {
            struct ar_overlap o = overlap(p, &links[i], (enum ar_order)k);
            printf(
                "  %-8s %.0f us, %.0f GB/s, %-6s %3zu buckets, %9.3f ms busy: %9.3f ms, %.1f %%\n",
                links[i].name, links[i].latency_s * 1e6, links[i].bytes_per_s / 1e9, orders[k],
                o.nbuckets, o.busy_s * 1e3, o.exposed_s * 1e3, 100 * share(p, &o));
        }
}

void tr_projection_json(struct cm_jw *w, const struct tr_projection *p)
{
    cm_jw_begin(w, "project", '{');
    cm_jw_i64(w, "ranks", p->ranks);
    cm_jw_f64(w, "step_s", p->step_s);
    cm_jw_i64(w, "nbytes", (int64_t)gradient_nbytes(p));
    cm_jw_begin(w, "pieces", '[');
    for (size_t i = 0; i < p->npieces; i++) {
        cm_jw_begin(w, NULL, '[');
        cm_jw_i64(w, NULL, (int64_t)p->pieces[i].nbytes);
        cm_jw_f64(w, NULL, p->pieces[i].ready_s);
        cm_jw_end(w);
    }
    cm_jw_end(w);
    for (size_t i = 0; i < NLINKS; i++) {
        cm_jw_begin(w, links[i].name, '{');
        for (size_t k = 0; k < NORDERS; k++) {
            struct ar_overlap o = overlap(p, &links[i], (enum ar_order)k);
            cm_jw_begin(w, orders[k], '{');
            cm_jw_i64(w, "buckets", (int64_t)o.nbuckets);
            cm_jw_f64(w, "busy_s", o.busy_s);
            cm_jw_f64(w, "exposed_s", o.exposed_s);
            cm_jw_f64(w, "share", share(p, &o));
            cm_jw_end(w);
        }
        cm_jw_end(w);
    }
    cm_jw_end(w);
}
