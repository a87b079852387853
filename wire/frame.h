/* The message header, major 1: one ZeroMQ frame; the next frame is the body. Client and gateway,
 * gateway and worker speak it. Pure; any thread. Little-endian, field by field:
 *
 *    0  magic "FWMQ"      4  major   5  minor   6  u16 bytes of this header, hash included
 *    8  type    9  flags 10  u16 status        12  u16 kind of body        14  u16 top_k
 *   16  id, 16 bytes                           32  prediction id, 16 bytes
 *   48  u64 version      56  u64 manifest hash 64  u64 session
 *   72  u32 deadline us  76  u32 retry us      80  u32 queue us            84  u32 infer us
 *   88  u32 count        92  u32 bytes of body 96  u16 height  98 u16 width  100 u8 channels
 *  101  zero, 3 bytes
 *  104  u64 XXH3-64 of all before: the last 8 bytes of the header, however long it is
 *
 * A later minor puts its fields between 104 and the hash; a receiver ignores them. A higher major
 * is refused naming both; magic to id (0 to 31) stay where they are in every major, so that the
 * refusal can name the request. Flags: of the upper four, a set one that is unknown is refused; of
 * the lower four, ignored. Types, kinds of body and statuses that a receiver does not know it
 * answers WI_UNSUPPORTED or drops, as fits. Only relative times cross the wire. */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"
#include "wire/id.h"
#include "wire/wire_image.h"

#define WI_MAJOR            1
#define WI_MINOR            0
#define WI_HEADER_NBYTES    112  /* of 1.0, which this program writes */
#define WI_HEADER_MAX       1024 /* longer ones are refused */
#define WI_BODY_MAX         ((size_t)64 << 20)
#define WI_FLAGS_CRITICAL   0xf0u
#define WI_DEADLINE_NONE_US 0u /* the receiver's default */

enum wi_type {
    /* Client and gateway. */
    WI_REQUEST = 1, /* body: an image */
    WI_REPLY = 2,   /* body: classes when status is WI_OK, else a text */
    WI_PING = 3,    /* either side; no body */
    WI_PONG = 4,    /* echoes id */
    /* Gateway and worker: worker.h. */
    WI_READY = 16,
    WI_HEARTBEAT = 17,
    WI_LOAD = 18,
    WI_LOADED = 19,
    WI_REFUSED = 20,
    WI_BATCH = 21,
    WI_ANSWER = 22,
    WI_DRAIN = 23,
    WI_GOODBYE = 24,
};

enum wi_body {
    WI_BODY_NONE = 0,
    WI_BODY_FILE = WI_IMAGE_FILE,
    WI_BODY_PIXELS = WI_IMAGE_PIXELS,
    WI_BODY_CLASSES = 3, /* classes.h */
    WI_BODY_TEXT = 4,    /* UTF-8 for a person, no NUL */
    WI_BODY_ITEMS = 5,   /* item.h */
    WI_BODY_WORKER = 6,  /* worker.h */
};

/* Status of an answer: code, HTTP's code for the same, text. Numbers are for ever. */
#define WI_STATUS_LIST(X)                                                                          \
    X(WI_OK, 0, 200, "ok")                                                                         \
    X(WI_BAD_INPUT, 1, 400, "the input is no image that the model can take")                       \
    X(WI_TOO_LARGE, 2, 413, "the input is too large")                                              \
    X(WI_OVERLOADED, 3, 429, "the queue is full")                                                  \
    X(WI_TIMED_OUT, 4, 504, "the deadline passed")                                                 \
    X(WI_NOT_READY, 5, 503, "no model is loaded yet")                                              \
    X(WI_STOPPING, 6, 503, "the server is stopping")                                               \
    X(WI_FAILED, 7, 500, "the server failed")                                                      \
    X(WI_UNSUPPORTED, 8, 501, "the message is not supported")

enum wi_status {
#define WI_STATUS_ENUM(name, number, http, text) name = number,
    WI_STATUS_LIST(WI_STATUS_ENUM)
#undef WI_STATUS_ENUM
};
/* Any number is fine; an unknown one is told as such, and is 500. */
const char *wi_status_text(unsigned status);
int wi_status_http(unsigned status);

struct wi_header {
    uint8_t type;    /* enum wi_type */
    uint8_t flags;   /* none are defined yet */
    uint16_t status; /* enum wi_status; of answers */
    uint16_t body;   /* enum wi_body */
    uint16_t top_k;  /* of a request: how many classes the answer lists; 0: all */
    struct wi_id id; /* of a request, echoed by its reply; of a batch; else of the worker */
    struct wi_id prediction_id; /* of a reply that predicts */
    int64_t version;            /* of the model; 0: none */
    uint64_t manifest_hash;     /* of that version */
    uint64_t
        session; /* gateway to client, never 0: one life of the gateway and one link; client.h */
    uint32_t deadline_us;        /* of a request: an answer is wanted within */
    uint32_t retry_us;           /* with WI_OVERLOADED: try again after; 0: no advice */
    uint32_t queue_us, infer_us; /* of a reply: how long it waited, how long its batch computed */
    uint32_t count;              /* items of a batch; of a reply: images in its batch */
    uint32_t body_nbytes;
    uint16_t height, width; /* of a body of pixels, as in struct wi_image */
    uint8_t channels;
    uint8_t minor; /* of the sender; set by decoding */
};

void wi_header_encode(uint8_t out[WI_HEADER_NBYTES], const struct wi_header *h);

/* nbody: bytes of the body frame that came with it (0 when none did). CM_EFORMAT: not a header, or
 * lengths that do not fit, or items counted without a body or the other way round; CM_ECORRUPT: its
 * hash; CM_EVERSION: a higher major or an unknown critical flag, and then h->id is set, all else
 * zero, so that the sender can be told. */
CM_MUST_CHECK cm_status wi_header_decode(struct wi_header *h, const void *data, size_t n,
                                         size_t nbody);

/* The image that header and body of a request carry (kind WI_IMAGE_NONE when it is none), not yet
 * checked; and a header's fields for an image. */
struct wi_image wi_header_image(const struct wi_header *h, const void *body);
void wi_header_set_image(struct wi_header *h, const struct wi_image *image);

#endif
