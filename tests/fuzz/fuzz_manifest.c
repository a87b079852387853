/* Any bytes under a right seal into the manifest's reader; what it accepts must survive being
 * written and read again. Without the seal being made here no input would get past it. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/hash.h"
#include "common/mem.h"
#include "parameter/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static cm_status parse_sealed(struct ps_manifest *m, const uint8_t *data, size_t n)
{
    char *text = NULL, digits[CM_XXH_TEXT];
    if (cm_alloc(&text, n + 64, 1, "sealed input") != CM_OK)
        return CM_ENOMEM;
    memcpy(text, data, n);
    cm_xxh_format(digits, cm_xxh64(data, n));
    int seal = snprintf(text + n, 64, ",\"xxh3\": \"%s\"}\n", digits);
    cm_status st = ps_manifest_parse(m, text, n + (size_t)seal, "input");
    cm_free(&text);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ps_manifest m, again;
    char *text = NULL;
    size_t ntext;
    if (ps_manifest_parse(&m, (const char *)data, n, "input") == CM_OK)
        ps_manifest_release(&m);
    if (parse_sealed(&m, data, n) != CM_OK)
        return 0;
    if (ps_manifest_write(&m, &text, &ntext) != CM_OK ||
        ps_manifest_parse(&again, text, ntext, "again") != CM_OK)
        __builtin_trap();
    ps_manifest_release(&again);
    cm_free(&text);
    ps_manifest_release(&m);
    return 0;
}
