#include "trainer/differences.h"

#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "trainer/fingerprint.h"

/* One line of JSON; NULL for an absent value, or where memory is short. */
static char *text_of(const struct cm_json *value)
{
    char *text = NULL;
    size_t n;
    struct cm_jw w = {0};
    if (!value)
        return NULL;
    cm_jw_value(&w, NULL, value);
    if (cm_jw_take(&w, &text, &n) != CM_OK)
        text = NULL;
    cm_jw_release(&w);
    return text;
}

static void compare_key(const char *section, const struct cm_json *before,
                        const struct cm_json *now)
{
    char *old = text_of(before), *new = text_of(now);
    if (new && (!old || strcmp(old, new) != 0))
        cm_log_warn("config: %s.%s is %s, the version was written with %s", section,
                    cm_json_key(now), new, old ? old : "none");
    cm_free(&old);
    cm_free(&new);
}

/* Keys that only the version has are of another release: the manifest's fingerprint tells. */
static void compare_configs(const char *before, const char *now)
{
    struct cm_json *old = NULL, *new = NULL;
    cm_status st = cm_json_parse(&old, before, strlen(before), "the version's config");
    if (st == CM_OK)
        st = cm_json_parse(&new, now, strlen(now), "the config");
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "comparing configs");
    CM_JSON_EACH (section, new) {
        const struct cm_json *same = cm_json_get(old, cm_json_key(section));
        CM_JSON_EACH (key, section)
            compare_key(cm_json_key(section), cm_json_get(same, cm_json_key(key)), key);
    }
    cm_json_close(&old);
    cm_json_close(&new);
}

void tr_warn_of_differences(const struct tr_session *s, const struct ps_manifest *m)
{
    char before[TR_FINGERPRINT_LINE], now[TR_FINGERPRINT_LINE];
    if (m->fingerprint && tr_fingerprint_differs(m->fingerprint, s->fingerprint, before, now))
        cm_log_warn("the version was made by another build or machine ('%s', now '%s'): the run "
                    "goes on, but its bits may differ from an uninterrupted one",
                    before, now);
    if (m->data_fingerprint && strcmp(m->data_fingerprint, s->data.set.fingerprint) != 0)
        cm_log_warn("the version was trained on other data (%s, now %s)", m->data_fingerprint,
                    s->data.set.fingerprint);
    if (m->config)
        compare_configs(m->config, s->config_text);
}
