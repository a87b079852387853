/* The one owner of xxhash.h and openssl/evp.h. */
#include "common/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <xxhash.h>

#include "common/mem.h"

#define CHUNK_NBYTES ((size_t)256 << 10)

struct cm_xxh {
    XXH3_state_t *state;
};

uint64_t cm_xxh64(const void *data, size_t nbytes)
{
    return XXH3_64bits(data, nbytes);
}

cm_status cm_xxh_open(struct cm_xxh **out)
{
    CM_TRY(cm_alloc(out, 1, sizeof **out, "a hash"));
    struct cm_xxh *self = *out;
    self->state = XXH3_createState();
    if (!self->state || XXH3_64bits_reset(self->state) != XXH_OK) {
        cm_xxh_close(out);
        return CM_FAIL(CM_ENOMEM, "no memory for an XXH3 state");
    }
    return CM_OK;
}

void cm_xxh_update(struct cm_xxh *h, const void *data, size_t nbytes)
{
    if (nbytes)
        (void)XXH3_64bits_update(h->state, data, nbytes); /* fails only for a NULL pointer */
}

uint64_t cm_xxh_digest(const struct cm_xxh *h)
{
    return XXH3_64bits_digest(h->state);
}

void cm_xxh_close(struct cm_xxh **h)
{
    if (!*h)
        return;
    XXH3_freeState((*h)->state);
    cm_free(h);
}

void cm_xxh_format(char text[CM_XXH_TEXT], uint64_t hash)
{
    snprintf(text, CM_XXH_TEXT, "%016" PRIx64, hash);
}

/* A message digest being computed; OpenSSL's functions return 1 for success. */
static cm_status digest_open(EVP_MD_CTX **out, const EVP_MD *kind)
{
    *out = EVP_MD_CTX_new();
    if (!*out)
        return CM_FAIL(CM_ENOMEM, "no memory for a digest");
    if (EVP_DigestInit_ex(*out, kind, NULL) == 1)
        return CM_OK;
    EVP_MD_CTX_free(*out);
    *out = NULL;
    return CM_FAIL(CM_EUNSUPPORTED, "OpenSSL refuses %s (a FIPS-only configuration?)",
                   EVP_MD_get0_name(kind));
}

/* text takes two characters a byte and the NUL. Ends ctx. */
static cm_status digest_end(EVP_MD_CTX *ctx, char *text)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int ok = EVP_DigestFinal_ex(ctx, raw, &n);
    EVP_MD_CTX_free(ctx);
    if (ok != 1)
        return CM_FAIL(CM_EINTERNAL, "OpenSSL could not finish a digest");
    for (unsigned i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", raw[i]);
    return CM_OK;
}

static cm_status digest(char *text, const EVP_MD *kind, const void *data, size_t nbytes)
{
    EVP_MD_CTX *ctx;
    CM_TRY(digest_open(&ctx, kind));
    if (EVP_DigestUpdate(ctx, data, nbytes) != 1) {
        EVP_MD_CTX_free(ctx);
        return CM_FAIL(CM_EINTERNAL, "OpenSSL could not digest %zu bytes", nbytes);
    }
    return digest_end(ctx, text);
}

static cm_status digest_fd(EVP_MD_CTX *ctx, int fd, const char *path)
{
    char *chunk;
    cm_status st = cm_alloc(&chunk, CHUNK_NBYTES, 1, "a read buffer");
    while (st == CM_OK) {
        ssize_t n = read(fd, chunk, CHUNK_NBYTES);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            st = CM_FAIL_ERRNO("cannot read %s", path);
        else if (EVP_DigestUpdate(ctx, chunk, (size_t)n) != 1)
            st = CM_FAIL(CM_EINTERNAL, "OpenSSL could not digest %s", path);
    }
    cm_free(&chunk);
    return st;
}

static cm_status digest_file(char *text, const EVP_MD *kind, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return CM_FAIL_ERRNO("cannot open %s", path);
    EVP_MD_CTX *ctx;
    cm_status st = digest_open(&ctx, kind);
    if (st == CM_OK) {
        st = digest_fd(ctx, fd, path);
        if (st == CM_OK)
            st = digest_end(ctx, text);
        else
            EVP_MD_CTX_free(ctx);
    }
    close(fd);
    return st;
}

cm_status cm_sha256(char text[CM_SHA256_TEXT], const void *data, size_t nbytes)
{
    return digest(text, EVP_sha256(), data, nbytes);
}

cm_status cm_sha256_file(char text[CM_SHA256_TEXT], const char *path)
{
    return digest_file(text, EVP_sha256(), path);
}

cm_status cm_md5(char text[CM_MD5_TEXT], const void *data, size_t nbytes)
{
    return digest(text, EVP_md5(), data, nbytes);
}

cm_status cm_md5_file(char text[CM_MD5_TEXT], const char *path)
{
    return digest_file(text, EVP_md5(), path);
}
