/* Golden bytes: what a version of a format looked like, kept for ever under tests/golden. A file
 * that is missing is written when FLYWHEEL_WRITE_GOLDEN is set, and is a failure otherwise; an
 * existing one is never changed. Include after cmocka.h. */
#ifndef UNIT_GOLDEN_BYTES_H
#define UNIT_GOLDEN_BYTES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN_MAX 4096

/* Reads a golden file into data (GOLDEN_MAX bytes); returns its size. */
static inline size_t golden_read(const char *name, void *data)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/tests/golden/%s", FW_SOURCE_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: missing (FLYWHEEL_WRITE_GOLDEN=1 writes it)", path);
    size_t n = fread(data, 1, GOLDEN_MAX, f);
    fclose(f);
    return n;
}

static inline void golden_expect(const char *name, const void *data, size_t n)
{
    char path[4096];
    unsigned char want[GOLDEN_MAX];
    snprintf(path, sizeof(path), "%s/tests/golden/%s", FW_SOURCE_DIR, name);
    if (getenv("FLYWHEEL_WRITE_GOLDEN")) {
        FILE *f = fopen(path, "wbx");
        if (f) {
            assert_int_equal(fwrite(data, 1, n, f), n);
            assert_int_equal(fclose(f), 0);
        }
    }
    assert_int_equal(golden_read(name, want), n);
    assert_memory_equal(want, data, n);
}

#endif
