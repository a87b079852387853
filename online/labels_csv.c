#include "online/labels_csv.h"

#include <string.h>

#include "common/mem.h"

static size_t count_lines(const char *text)
{
    size_t n = 1;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

static cm_status parse_line(struct ol_labelled *out, char *line, const char *what, size_t number)
{
    char *comma = strrchr(line, ',');
    if (!comma || comma == line || comma[1] == '\0')
        return CM_FAIL(CM_EFORMAT, "%s:%zu: expected path,label", what, number);
    *comma = '\0';
    *out = (struct ol_labelled){.path = line, .label = comma + 1};
    return CM_OK;
}

cm_status ol_labels_parse(struct ol_labelled **out, size_t *n, char *text, const char *what)
{
    size_t number = 0;
    *n = 0;
    CM_TRY(cm_alloc(out, count_lines(text), sizeof **out, "labels"));
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        number++;
        if (*line == '\0' || *line == '#')
            continue;
        cm_status st = parse_line(&(*out)[*n], line, what, number);
        if (st != CM_OK) {
            cm_free(out);
            *n = 0;
            return st;
        }
        ++*n;
    }
    return CM_OK;
}
