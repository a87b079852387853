/* What the tests of data sets share: a CIFAR-10 of 24 images, with facts that fit it. */
#ifndef TESTS_UNIT_DATA_FIXTURE_H
#define TESTS_UNIT_DATA_FIXTURE_H

#include "common/hash.h"
#include "common/log.h"
#include "common/rng.h"
#include "tests/unit/expect.h"
#include "trainer/cifar10.h"

#define PER_FILE    4
#define RECORD      3073
#define FILE_NBYTES (PER_FILE * RECORD)

struct small_cifar {
    char dir[CM_PATH]; /* holds the six files */
    char md5[TR_CIFAR10_FILES][CM_MD5_TEXT];
    struct tr_cifar10_facts facts;
};

/* Byte j of file i. A label is 7 i + record mod 10. */
static inline uint8_t small_byte(int i, int j)
{
    if (j % RECORD == 0)
        return (uint8_t)((7 * i + j / RECORD) % 10);
    return (uint8_t)cm_rng_u32(5, CM_RNG_SYNTHETIC, 0, (uint32_t)i, (uint32_t)j);
}

static inline void small_path(char path[CM_PATH], const struct small_cifar *s, int i)
{
    expect_ok(cm_path_join(path, s->dir, s->facts.file[i].name));
}

/* (Re)writes file i as it should be. */
static inline void small_write(const struct small_cifar *s, int i)
{
    static uint8_t raw[FILE_NBYTES];
    char path[CM_PATH];
    for (int j = 0; j < FILE_NBYTES; j++)
        raw[j] = small_byte(i, j);
    small_path(path, s, i);
    expect_ok(cm_file_replace(path, raw, sizeof raw));
}

static inline void small_make(struct small_cifar *s)
{
    cm_log_set_level(CM_LOG_ERROR);
    unsetenv("CIFAR10_DIR");
    expect_dir_make(s->dir);
    s->facts = tr_cifar10_facts;
    s->facts.per_file = PER_FILE;
    s->facts.fingerprint = NULL;
    for (int i = 0; i < TR_CIFAR10_FILES; i++) {
        char path[CM_PATH];
        small_write(s, i);
        small_path(path, s, i);
        expect_ok(cm_md5_file(s->md5[i], path));
        s->facts.file[i].md5 = s->md5[i];
    }
}

static inline void flip_bit(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_not_equal(c, EOF);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_not_equal(fputc(c ^ 4, f), EOF);
    assert_int_equal(fclose(f), 0);
}

#endif
