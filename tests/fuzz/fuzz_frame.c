/* Everything binary that comes over ZeroMQ. The first byte chooses the parser, the rest is its
 * input. A header is hashed, which no fuzzer guesses, so the hash is made right first. */
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "wire/announce.h"
#include "wire/bytes.h"
#include "wire/classes.h"
#include "wire/frame.h"
#include "wire/item.h"
#include "wire/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void rehash(uint8_t *p, size_t n)
{
    if (n >= 8)
        wi_put64(p + n - 8, cm_xxh64(p, n - 8));
}

static void fuzz_header(const uint8_t *data, size_t n)
{
    struct wi_header h;
    uint8_t again[WI_HEADER_NBYTES];
    size_t nbody = n >= WI_HEADER_NBYTES ? wi_get32(data + 92) : 0;
    if (wi_header_decode(&h, data, n, nbody) != CM_OK)
        return;
    /* What was read is what is written. */
    struct wi_header same;
    wi_header_encode(again, &h);
    if (wi_header_decode(&same, again, sizeof(again), nbody) != CM_OK || same.type != h.type ||
        same.version != h.version || !wi_id_equal(same.id, h.id))
        abort();
}

static void fuzz_items(const uint8_t *data, size_t n)
{
    struct wi_items items = {data, n, n ? data[0] : 0};
    struct wi_item item;
    while (items.left > 0 && wi_item_next(&items, &item) == CM_OK) {
        struct wi_image image = wi_item_image(&item);
        (void)!wi_image_check(&image);
        cm_xxh64(item.data, item.n); /* reads all of it */
    }
}

static void fuzz_classes(const uint8_t *data, size_t n)
{
    struct wi_classes c;
    struct wi_class one;
    if (wi_classes_open(&c, data, n) != CM_OK)
        return;
    int seen = 0;
    while (wi_classes_next(&c, &one))
        seen += one.index < c.total && strlen(one.name) <= WI_CLASS_NAME_MAX;
    if (seen != c.n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct wi_announce announce;
    struct wi_worker worker;

    if (n < 1)
        return 0;
    /* Memory of exactly its size, so that ASan sees a read past it. */
    uint8_t *copy = malloc(n > 1 ? n - 1 : 1);
    memcpy(copy, data + 1, n - 1);
    switch (data[0] % 5) {
    case 0:
        rehash(copy, n - 1);
        fuzz_header(copy, n - 1);
        break;
    case 1:
        fuzz_items(copy, n - 1);
        break;
    case 2:
        fuzz_classes(copy, n - 1);
        break;
    case 3:
        rehash(copy, n - 1);
        (void)!wi_announce_decode(&announce, copy, n - 1);
        break;
    case 4:
        (void)!wi_worker_decode(&worker, copy, n - 1);
        break;
    }
    free(copy);
    return 0;
}
