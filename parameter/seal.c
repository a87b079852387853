/* The seal is put on and looked for as bytes, not as JSON: any change of any byte of the text, the
 * seal's own included, breaks either the fixed form of the tail or the hash before it. */
#include "parameter/seal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/mem.h"

/* ,"xxh3": "0123456789abcdef"}\n */
#define SEAL_HEAD   ",\"xxh3\": \""
#define SEAL_TAIL   "\"}\n"
#define SEAL_NBYTES (sizeof SEAL_HEAD - 1 + CM_XXH_TEXT - 1 + sizeof SEAL_TAIL - 1)

static void seal_text(char seal[SEAL_NBYTES + 1], uint64_t hash)
{
    char digits[CM_XXH_TEXT];
    cm_xxh_format(digits, hash);
    snprintf(seal, SEAL_NBYTES + 1, "%s%s%s", SEAL_HEAD, digits, SEAL_TAIL);
}

void ps_seal_begin(struct cm_jw *w)
{
    w->indent = 2;
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "format", PS_FORMAT);
}

cm_status ps_seal_end(struct cm_jw *w, char **text, size_t *n, uint64_t *hash)
{
    cm_jw_end(w);
    CM_TRY(cm_jw_take(w, text, n));
    while (*n > 0 && (*text)[*n - 1] != '}')
        --*n;
    --*n; /* the brace moves behind the seal */
    cm_status st = cm_realloc(text, *n + SEAL_NBYTES + 1, 1, "sealed text");
    if (st != CM_OK) {
        cm_free(text);
        return st;
    }
    uint64_t own = cm_xxh64(*text, *n);
    seal_text(*text + *n, own);
    *n += SEAL_NBYTES;
    if (hash)
        *hash = own;
    return CM_OK;
}

static cm_status check_seal(const char *text, size_t n, const char *what, uint64_t *hash)
{
    if (n < SEAL_NBYTES)
        return CM_FAIL(CM_ECORRUPT, "%s: %zu bytes, cut off", what, n);
    uint64_t own = cm_xxh64(text, n - SEAL_NBYTES);
    char seal[SEAL_NBYTES + 1];
    seal_text(seal, own);
    if (memcmp(seal, text + n - SEAL_NBYTES, SEAL_NBYTES) != 0)
        return CM_FAIL(CM_ECORRUPT, "%s: its checksum does not fit: damaged, cut off or edited",
                       what);
    if (hash)
        *hash = own;
    return CM_OK;
}

cm_status ps_seal_parse(struct cm_json **out, const char *text, size_t n, const char *what,
                        uint64_t *hash)
{
    *out = NULL;
    struct cm_json *root = NULL;
    bool sealed = check_seal(text, n, what, hash) == CM_OK;
    cm_status st = cm_json_parse(&root, text, n, what);
    if (st == CM_OK)
        st = cm_json_need_format(root, what, PS_FORMAT_MAJOR, NULL);
    /* A newer major may be sealed in another way, so being newer goes before being damaged. */
    if (!sealed && st != CM_EVERSION)
        st = check_seal(text, n, what, hash);
    if (st != CM_OK) {
        cm_json_close(&root);
        return st;
    }
    *out = root;
    return CM_OK;
}
