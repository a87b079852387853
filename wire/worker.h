/* How gateway and worker talk. Every message is a header (frame.h) whose id is the worker's, but in
 * BATCH and ANSWER, where it is the batch's. Pure; any thread.
 *
 *   worker                               gateway
 *   READY     version, WORKER body  -->            I am new: forget what you gave me before
 *   HEARTBEAT version, WORKER body  -->            as often as READY says; unknown to a restarted
 *                                                  gateway, it counts as READY
 *                                   <--  HEARTBEAT      any message counts as one, both ways
 *                                   <--  LOAD      version, manifest hash
 *   LOADED    version, hash         -->            verified and warmed up; batches may name it
 *   REFUSED   version, hash, text   -->            why not; the old version stays. status
 *                                                  WI_NOT_READY: it could not be read, ask again
 *                                   <--  BATCH     version, count, items: images
 *   ANSWER    version, count, items -->            a result for every slot of the batch; infer_us.
 *                                                  WI_OVERLOADED: no time was left for that one
 *                                   <--  DRAIN     no more batches; answer what you have (from
 *                                                  tools: a gateway that ends sends none)
 *   GOODBYE                         -->            last message; without DRAIN: I am stopping
 *
 * A worker computes one batch at a time with exactly the version it names, and keeps the last two
 * versions loaded, so that batches before a switch can end. Silence of 3 heartbeats is death: the
 * gateway gives the batch to another worker, and drops an ANSWER to a batch it no longer waits for.
 */
#ifndef WIRE_WORKER_H
#define WIRE_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "wire/bytes.h"

#define WI_WORKER_NAME   128 /* with its NUL */
#define WI_WORKER_DEVICE 24  /* with its NUL */
#define WI_SILENT_BEATS  3

/* Body of READY and HEARTBEAT: u16 bytes of these numbers (16, or 40 with a device), u16 heartbeat
 * ms, u32 max batch, u32 pid, u16 bytes of the name, u16 zero, 24 bytes of the device, filled up
 * with zeros; then the name. */
struct wi_worker {
    char name[WI_WORKER_NAME];     /* for people: "node03:1" */
    char device[WI_WORKER_DEVICE]; /* "cuda:1"; "": not said, as by older workers */
    uint32_t max_batch;            /* images; >= 1 */
    uint32_t pid;
    uint16_t heartbeat_ms; /* >= 1 */
};
CM_MUST_CHECK cm_status wi_worker_encode(struct wi_buffer *body, const struct wi_worker *w);
CM_MUST_CHECK cm_status wi_worker_decode(struct wi_worker *w, const void *data, size_t n);

#endif
