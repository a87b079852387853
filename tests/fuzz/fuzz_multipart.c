/* Form data of HTTP: the first line is the content type, the rest the body. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *line = memchr(data, '\n', n);
    size_t ntype = line ? (size_t)(line - data) : n, nbody = line ? n - ntype - 1 : 0, nfield;
    char *type = calloc(1, ntype + 1), *body = malloc(nbody ? nbody : 1);

    memcpy(type, data, ntype);
    if (nbody)
        memcpy(body, line + 1, nbody);
    const char *field = cm_multipart_field(type, body, nbody, "image", &nfield);
    if (field && (field < body || field + nfield > body + nbody))
        abort();
    free(body);
    free(type);
    return 0;
}
