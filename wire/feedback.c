/* One table row per field; whatever the fields, an entry is read in one pass and each fault has its
 * sentence. */
#include "wire/feedback.h"

#include <stdbool.h>
#include <string.h>

#include "wire/text.h"

#define MAJOR 1
#define MINOR 0

enum known { LABEL, IMAGE, PREDICTION_ID, OPERATOR_NAME, NOTE, ID, FORMAT };

static const struct {
    const char *name;
    size_t min, max; /* bytes */
    bool text;
} known[WI_FEEDBACK_FIELDS] = {
    [LABEL] = {"label", 1, WI_FEEDBACK_LABEL_MAX, true},
    [IMAGE] = {"image", 1, WI_FEEDBACK_IMAGE_MAX, false},
    [PREDICTION_ID] = {"prediction_id", WI_ID_TEXT - 1, WI_ID_TEXT - 1, false},
    [OPERATOR_NAME] = {"operator", 1, WI_OPERATOR - 1, false},
    [NOTE] = {"note", 0, WI_FEEDBACK_NOTE_MAX, true},
    [ID] = {"id", 1, WI_FEEDBACK_ID_MAX, true},
    [FORMAT] = {"format", 1, 9, false},
};

static int find(const struct wi_field *f)
{
    for (int k = 0; k < WI_FEEDBACK_FIELDS; k++) {
        if (f->nname == strlen(known[k].name) && memcmp(f->name, known[k].name, f->nname) == 0)
            return k;
    }
    return -1;
}

static cm_status check_value(int k, const struct wi_field *f)
{
    char quoted[WI_QUOTED];
    if (f->nvalue < known[k].min || f->nvalue > known[k].max)
        return CM_FAIL(CM_EFORMAT, "feedback: '%s' has %zu bytes, %zu to %zu are expected",
                       known[k].name, f->nvalue, known[k].min, known[k].max);
    if (known[k].text && !wi_text_is_plain(f->value, f->nvalue))
        return CM_FAIL(CM_EFORMAT, "feedback: '%s' is no plain UTF-8 text: %s", known[k].name,
                       wi_text_quote(quoted, f->value, f->nvalue));
    return CM_OK;
}

static cm_status set_value(struct wi_feedback *out, int k, const struct wi_field *f)
{
    struct wi_text text = {f->value, f->nvalue};
    char quoted[WI_QUOTED];

    CM_TRY(check_value(k, f));
    switch ((enum known)k) {
    case LABEL:
        out->label = text;
        return CM_OK;
    case IMAGE:
        out->image = wi_image_guess(f->value, f->nvalue);
        return CM_OK;
    case PREDICTION_ID:
        if (!wi_id_parse(&out->prediction_id, f->value, f->nvalue) ||
            wi_id_is_zero(out->prediction_id))
            return CM_FAIL(CM_EFORMAT, "feedback: 'prediction_id' %s is none",
                           wi_text_quote(quoted, f->value, f->nvalue));
        return CM_OK;
    case OPERATOR_NAME:
        if (!wi_text_is_name(f->value, f->nvalue, WI_OPERATOR - 1))
            return CM_FAIL(CM_EFORMAT, "feedback: 'operator' %s may have letters, digits, - _ .",
                           wi_text_quote(quoted, f->value, f->nvalue));
        out->operator_name = text;
        return CM_OK;
    case NOTE:
        out->note = text;
        return CM_OK;
    case ID:
        out->id = text;
        return CM_OK;
    case FORMAT:
        return wi_text_check_format(f->value, f->nvalue, "feedback", MAJOR, MINOR);
    }
    return CM_OK;
}

cm_status wi_feedback_parse(struct wi_feedback *out, const struct wi_field *field, size_t n)
{
    struct wi_feedback f = {0};
    unsigned seen = 0;

    *out = f;
    if (n > WI_FEEDBACK_ENTRY_MAX)
        return CM_FAIL(CM_EFORMAT, "feedback: %zu fields, at most %d are allowed", n,
                       WI_FEEDBACK_ENTRY_MAX);
    for (size_t i = 0; i < n; i++) {
        int k = find(&field[i]);
        if (k < 0)
            continue;
        if (seen & 1u << k)
            return CM_FAIL(CM_EFORMAT, "feedback: '%s' comes twice", known[k].name);
        seen |= 1u << k;
        CM_TRY(set_value(&f, k, &field[i]));
    }
    if (!(seen & 1u << LABEL))
        return CM_FAIL(CM_EFORMAT, "feedback: 'label' is missing");
    bool image = seen & 1u << IMAGE, prediction = seen & 1u << PREDICTION_ID;
    if (image == prediction)
        return CM_FAIL(CM_EFORMAT,
                       "feedback: %s of 'image' and 'prediction_id', exactly one is "
                       "expected",
                       image ? "both" : "none");
    *out = f;
    return CM_OK;
}

cm_status wi_feedback_class(int *out, const struct wi_feedback *f, const char *const *name, int n)
{
    char quoted[WI_QUOTED];
    long index = 0;
    size_t i = 0;

    for (int c = 0; c < n; c++) {
        if (strlen(name[c]) == f->label.n && memcmp(name[c], f->label.s, f->label.n) == 0) {
            *out = c;
            return CM_OK;
        }
    }
    while (i < f->label.n && i < 9 && f->label.s[i] >= '0' && f->label.s[i] <= '9')
        index = index * 10 + (f->label.s[i++] - '0');
    if (f->label.n == 0 || i < f->label.n || index >= n)
        return CM_FAIL(CM_EFORMAT,
                       "feedback: 'label' %s is neither the name nor the index (0 to "
                       "%d) of a class",
                       wi_text_quote(quoted, f->label.s, f->label.n), n - 1);
    *out = (int)index;
    return CM_OK;
}

static void add(struct wi_feedback_fields *out, int k, const char *value, size_t n)
{
    out->field[out->n++] = (struct wi_field){
        .name = known[k].name, .nname = strlen(known[k].name), .value = value, .nvalue = n};
}

cm_status wi_feedback_encode(struct wi_feedback_fields *out, const struct wi_feedback *f)
{
    struct wi_feedback again;

    out->n = 0;
    if (f->label.s)
        add(out, LABEL, f->label.s, f->label.n);
    if (f->image.kind != WI_IMAGE_NONE)
        add(out, IMAGE, f->image.data, f->image.n);
    if (!wi_id_is_zero(f->prediction_id)) {
        wi_id_format(out->text, f->prediction_id);
        add(out, PREDICTION_ID, out->text, WI_ID_TEXT - 1);
    }
    if (f->operator_name.s)
        add(out, OPERATOR_NAME, f->operator_name.s, f->operator_name.n);
    if (f->note.s)
        add(out, NOTE, f->note.s, f->note.n);
    if (f->id.s)
        add(out, ID, f->id.s, f->id.n);
    add(out, FORMAT, "1.0", 3);
    return wi_feedback_parse(&again, out->field, out->n);
}
