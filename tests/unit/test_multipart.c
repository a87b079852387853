/* multipart/form-data: bodies as browsers and curl write them, and bodies that try to be mistaken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/multipart.h"

#define TYPE "multipart/form-data; boundary=XX"

/* The field of a body that lies in memory of exactly its size, so that ASan sees a read past it.
 * NULL when absent. */
static char *field_of(const char *type, const char *body, size_t n, const char *name)
{
    char *exact = malloc(n ? n : 1), *copy = NULL;
    size_t nfield;
    if (n)
        memcpy(exact, body, n);
    const char *field = cm_multipart_field(type, exact, n, name, &nfield);
    if (field) {
        assert_true(field >= exact && field + nfield <= exact + n);
        copy = calloc(1, nfield + 1);
        memcpy(copy, field, nfield);
    }
    free(exact);
    return copy;
}

static void expect(const char *type, const char *body, const char *name, const char *want)
{
    char *got = field_of(type, body, strlen(body), name);
    if (want) {
        assert_non_null(got);
        assert_string_equal(got, want);
    } else {
        assert_null(got);
    }
    free(got);
}

static const char three[] = "--XX\r\n"
                            "Content-Disposition: form-data; name=\"a\"\r\n"
                            "\r\n"
                            "first\r\n"
                            "--XX\r\n"
                            "Content-Type: image/png\r\n"
                            "content-disposition:form-data; filename=\"x; name=\\\"a\\\".png\"; "
                            "NAME=image\r\n"
                            "\r\n"
                            "pixels\r\n--XXY\r\n\r\nmore\r\n"
                            "--XX \t\r\n"
                            "Content-Disposition: form-data; name=\"empty\"\r\n"
                            "\r\n"
                            "\r\n"
                            "--XX--\r\nepilogue";

static void test_fields(void **state)
{
    (void)state;
    expect(TYPE, three, "a", "first");
    expect(TYPE, three, "image", "pixels\r\n--XXY\r\n\r\nmore");
    expect(TYPE, three, "empty", "");
    expect(TYPE, three, "absent", NULL);
    expect(TYPE, three, "", NULL);
    expect("Multipart/Form-Data ; charset=utf-8; boundary=\"XX\"", three, "a", "first");
}

static void test_preamble(void **state)
{
    char body[sizeof(three) + 32];
    (void)state;
    snprintf(body, sizeof(body), "preamble\r\n%s", three);
    expect(TYPE, body, "a", "first");
}

static void test_no_multipart(void **state)
{
    (void)state;
    expect(NULL, three, "a", NULL);
    expect("image/png", three, "a", NULL);
    expect("multipart/form-data", three, "a", NULL);
    expect("multipart/form-data; boundary=", three, "a", NULL);
    expect("multipart/form-data; boundary=\"", three, "a", NULL);
    expect("multipart/form-data; boundary", three, "a", NULL);
    expect("multipart/form-data; xboundary=XX", three, "a", NULL);
    expect("multipart/form-data; note=\"; boundary=XX\"", three, "a", NULL);
    expect("multipart/form-data; boundary="
           "0123456789012345678901234567890123456789012345678901234567890123456789X",
           three, "a", NULL);
    expect(TYPE, "", "a", NULL);
    expect(TYPE, "--XX", "a", NULL);
    expect(TYPE, "--XX--", "a", NULL);
    expect(TYPE, "--XX\r\n\r\nno headers\r\n--XX--", "a", NULL);
}

/* Cut anywhere, a field is whole or absent; with any byte changed, nothing outside the body is
 * touched. */
static void test_truncated_and_mutated(void **state)
{
    char body[sizeof(three)];
    size_t n = sizeof(three) - 1;
    (void)state;

    for (size_t cut = 0; cut < n; cut++) {
        char *got = field_of(TYPE, three, cut, "image");
        if (got)
            assert_string_equal(got, "pixels\r\n--XXY\r\n\r\nmore");
        free(got);
    }
    for (size_t i = 0; i < n; i++) {
        static const char bytes[] = {0, '\r', '\n', '-', ';', '"', '=', '\\', 'X', ' '};
        for (size_t k = 0; k < sizeof(bytes); k++) {
            memcpy(body, three, sizeof(three));
            body[i] = bytes[k];
            free(field_of(TYPE, body, n, "image"));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_preamble),
        cmocka_unit_test(test_no_multipart),
        cmocka_unit_test(test_truncated_and_mutated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
