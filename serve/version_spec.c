#include "serve/version_spec.h"

#include "common/json.h"
#include "common/mem.h"

#define MODEL_JSON_NBYTES ((size_t)4 << 20)

cm_status sv_version_spec(struct nn_spec **out, const struct ps_version *v)
{
    struct cm_json *json = NULL;
    char *text = NULL;
    size_t n;
    cm_status st;
    *out = NULL;
    CM_GOTO(st, ps_version_read(&text, &n, v, "model.json", MODEL_JSON_NBYTES), out);
    CM_GOTO(st, cm_json_parse(&json, text, n, "model.json"), out);
    CM_GOTO(st, nn_spec_parse(out, json, "model.json"), out);
out:
    cm_json_close(&json);
    cm_free(&text);
    return st;
}
