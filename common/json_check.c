/* A recursive-descent recogniser. cJSON alone would accept 01, +1, raw control characters, bad
 * UTF-8, duplicate keys and a thousand levels, and can not tell a fault from a lack of memory;
 * after this check only the latter can stop it. */
#include "common/json_check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

#define NUMBER 64 /* longest number, in characters; 17 digits and an exponent need 25 */

struct scan {
    const char *at, *begin, *end;
    const char *what;
    int depth;
};

static cm_status fault(const struct scan *s, const char *text)
{
    size_t line = 1, column = 1;
    for (const char *p = s->begin; p < s->at; p++) {
        column++;
        if (*p == '\n') {
            line++;
            column = 1;
        }
    }
    return CM_FAIL(CM_EFORMAT, "%s:%zu:%zu: %s", s->what, line, column, text);
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool accept(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* Four hex digits at s->at; -1 when they are not there. */
static int hex4(const struct scan *s)
{
    if (s->end - s->at < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* After "\u". */
static cm_status check_unicode(struct scan *s)
{
    int unit = hex4(s);
    if (unit < 0)
        return fault(s, "\\u takes four hex digits");
    if (unit == 0)
        return fault(s, "a NUL in a string");
    bool low = unit >= 0xdc00 && unit <= 0xdfff;
    if (low)
        return fault(s, "half of a surrogate pair");
    s->at += 4;
    if (unit < 0xd800 || unit > 0xdbff)
        return CM_OK;
    if (!accept(s, '\\') || !accept(s, 'u'))
        return fault(s, "half of a surrogate pair");
    unit = hex4(s);
    if (unit < 0xdc00 || unit > 0xdfff)
        return fault(s, "half of a surrogate pair");
    s->at += 4;
    return CM_OK;
}

static cm_status check_string(struct scan *s)
{
    if (!accept(s, '"'))
        return fault(s, "expected a string in double quotes");
    while (s->at < s->end) {
        if (accept(s, '"'))
            return CM_OK;
        if (accept(s, '\\')) {
            if (accept(s, 'u'))
                CM_TRY(check_unicode(s));
            else if (s->at < s->end && *s->at && strchr("\"\\/bfnrt", *s->at))
                s->at++;
            else
                return fault(s, "unknown escape in a string");
            continue;
        }
        if ((unsigned char)*s->at < ' ')
            return fault(s, "a control character in a string");
        size_t length = cm_utf8_length(s->at, (size_t)(s->end - s->at));
        if (length == 0)
            return fault(s, "a string is not valid UTF-8");
        s->at += length;
    }
    return fault(s, "a string that does not end");
}

static size_t skip_digits(struct scan *s)
{
    const char *from = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return (size_t)(s->at - from);
}

static cm_status check_number(struct scan *s)
{
    struct scan start = *s;
    bool integer = true;
    accept(s, '-');
    if (!accept(s, '0') && skip_digits(s) == 0)
        return fault(&start, "expected a value");
    if (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        return fault(&start, "a number may not begin with 0");
    if (accept(s, '.')) {
        integer = false;
        if (skip_digits(s) == 0)
            return fault(s, "expected a digit after the decimal point");
    }
    if (accept(s, 'e') || accept(s, 'E')) {
        integer = false;
        if (!accept(s, '+'))
            accept(s, '-');
        if (skip_digits(s) == 0)
            return fault(s, "expected a digit in the exponent");
    }
    char text[NUMBER];
    size_t n = (size_t)(s->at - start.at);
    if (n >= sizeof text)
        return fault(&start, "a number with too many digits");
    memcpy(text, start.at, n);
    text[n] = '\0';
    double value = strtod(text, NULL);
    if (!isfinite(value))
        return fault(&start, "a number too large for a double");
    if (integer && fabs(value) >= 0x1p53) /* 2^53 itself may be a rounded 2^53 + 1 */
        return fault(&start, "an integer of 2^53 or more, which a double can not hold exactly");
    return CM_OK;
}

static cm_status check_value(struct scan *s);

/* The items of a container after its opening bracket. */
static cm_status check_items(struct scan *s, char close)
{
    skip_space(s);
    if (accept(s, close))
        return CM_OK;
    for (;;) {
        skip_space(s);
        if (close == '}') {
            CM_TRY(check_string(s));
            skip_space(s);
            if (!accept(s, ':'))
                return fault(s, "expected ':' after a key");
        }
        CM_TRY(check_value(s));
        skip_space(s);
        if (accept(s, close))
            return CM_OK;
        if (!accept(s, ','))
            return fault(s, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    }
}

static bool accept_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0)
        return false;
    s->at += n;
    return true;
}

static cm_status check_value(struct scan *s)
{
    skip_space(s);
    if (s->at == s->end)
        return fault(s, "the text ends where a value should be");
    char c = *s->at;
    if (c == '{' || c == '[') {
        if (s->depth == CM_JSON_DEPTH)
            return fault(s, "nested too deeply (32 levels at most)");
        s->at++;
        s->depth++;
        CM_TRY(check_items(s, c == '{' ? '}' : ']'));
        s->depth--;
        return CM_OK;
    }
    if (c == '"')
        return check_string(s);
    if (accept_word(s, "true") || accept_word(s, "false") || accept_word(s, "null"))
        return CM_OK;
    return check_number(s);
}

cm_status cm_json_check(const char *text, size_t n, const char *what)
{
    struct scan s = {.at = text, .begin = text, .end = text + n, .what = what};
    CM_TRY(check_value(&s));
    skip_space(&s);
    if (s.at != s.end)
        return fault(&s, "more text after the value");
    return CM_OK;
}
