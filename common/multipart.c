/* A body is cut at its delimiters, CRLF "--" boundary, of which the first may lack the CRLF:
 *
 *   --B CRLF  header lines CRLF CRLF  content  CRLF --B CRLF  ...  CRLF --B--
 *
 * One pass with memmem per delimiter; content is never looked into. */
#include "common/multipart.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define BOUNDARY_MAX 70 /* RFC 2046 */

struct span {
    const char *p, *end;
};

static const char *find(struct span s, const char *needle, size_t n)
{
    return s.p < s.end ? memmem(s.p, (size_t)(s.end - s.p), needle, n) : NULL;
}

static void skip_blanks(struct span *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
        s->p++;
}

static bool starts_with(struct span s, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(s.end - s.p) >= n && strncasecmp(s.p, text, n) == 0;
}

/* Reads the value of a parameter: a token, or a quoted string, whose backslashes are left as they
 * are. */
static struct span take_value(struct span *s)
{
    struct span value;
    if (s->p < s->end && *s->p == '"') {
        value.p = ++s->p;
        while (s->p < s->end && *s->p != '"')
            s->p += *s->p == '\\' && s->p + 1 < s->end ? 2 : 1;
        value.end = s->p;
        s->p += s->p < s->end;
        return value;
    }
    value.p = s->p;
    while (s->p < s->end && !strchr("; \t\r\n", *s->p))
        s->p++;
    value.end = s->p;
    return value;
}

/* Looks in "type; a=b; c=\"d\"" for the parameter key. Parameters are walked, not searched: the
 * text of one may look like another. */
static bool parameter(struct span s, const char *key, struct span *value)
{
    while (s.p < s.end && *s.p != ';')
        s.p++;
    while (s.p < s.end && *s.p == ';') {
        s.p++;
        skip_blanks(&s);
        struct span name = {s.p, s.p};
        while (s.p < s.end && *s.p != '=' && *s.p != ';')
            s.p++;
        name.end = s.p;
        if (s.p == s.end || *s.p == ';')
            continue;
        s.p++;
        *value = take_value(&s);
        if (starts_with(name, key) && (size_t)(name.end - name.p) == strlen(key))
            return true;
        skip_blanks(&s);
    }
    return false;
}

/* The name in the Content-Disposition among a part's header lines. */
static bool part_name(struct span headers, struct span *name)
{
    while (headers.p < headers.end) {
        const char *eol = find(headers, "\r\n", 2);
        struct span line = {headers.p, eol ? eol : headers.end};
        if (starts_with(line, "content-disposition:"))
            return parameter(line, "name", name);
        headers.p = eol ? eol + 2 : headers.end;
    }
    return false;
}

/* The next delimiter in *s, where *s then goes on behind it. NULL when there is none. *last: the
 * closing one. */
static const char *next_delimiter(struct span *s, const char *text, size_t n, bool *last)
{
    const char *at;
    while ((at = find(*s, text, n)) != NULL) {
        s->p = at + n;
        *last = starts_with(*s, "--");
        if (*last)
            return at;
        skip_blanks(s);
        if (starts_with(*s, "\r\n")) {
            /* The CRLF stays: it begins the next delimiter when a part is empty of headers. */
            return at;
        }
    }
    return NULL;
}

const void *cm_multipart_field(const char *content_type, const void *body, size_t n,
                               const char *name, size_t *nfield)
{
    char delimiter[4 + BOUNDARY_MAX] = "\r\n--";
    struct span boundary, rest = {body, (const char *)body + n};
    bool last = false;

    *nfield = 0;
    if (!content_type || n == 0)
        return NULL;
    struct span type = {content_type, content_type + strlen(content_type)};
    if (!starts_with(type, "multipart/form-data") || !parameter(type, "boundary", &boundary))
        return NULL;
    size_t nboundary = (size_t)(boundary.end - boundary.p);
    if (nboundary == 0 || nboundary > BOUNDARY_MAX)
        return NULL;
    memcpy(delimiter + 4, boundary.p, nboundary);
    size_t ndelimiter = 4 + nboundary;

    bool bare = n >= ndelimiter - 2 && memcmp(body, delimiter + 2, ndelimiter - 2) == 0;
    const char *at = bare ? next_delimiter(&rest, delimiter + 2, ndelimiter - 2, &last)
                          : next_delimiter(&rest, delimiter, ndelimiter, &last);
    while (at && !last) {
        struct span part = rest, field;
        at = next_delimiter(&rest, delimiter, ndelimiter, &last);
        if (!at)
            return NULL;
        part.end = at;
        const char *headers_end = find(part, "\r\n\r\n", 4);
        if (!headers_end)
            continue;
        struct span headers = {part.p, headers_end};
        if (part_name(headers, &field) && (size_t)(field.end - field.p) == strlen(name) &&
            memcmp(field.p, name, strlen(name)) == 0) {
            *nfield = (size_t)(at - (headers_end + 4));
            return headers_end + 4;
        }
    }
    return NULL;
}
