/* What the store's tests share: a folder of their own, a tiny set of tensors, a version written in
 * one call, and a fork that must end as told. Not for the store's users. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "parameter/store.h"

#define assert_ok(call)        assert_int_equal((call), CM_OK)
#define assert_fails(call, st) assert_int_equal((call), (st))
/* The recorded message holds this text. */
#define assert_says(text)                                                                          \
    do {                                                                                           \
        if (!strstr(cm_error_text(), (text)))                                                      \
            fail_msg("'%s' does not say '%s'", cm_error_text(), (text));                           \
    } while (0)

struct fixture {
    char dir[128]; /* removed afterwards */
    char store[160];
};

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%.90s/flywheel-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->store, sizeof f->store, "%s/checkpoints", f->dir);
    *state = f;
    cm_log_set_level(CM_LOG_ERROR);
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    unsetenv("FLYWHEEL_INJECT");
    cm_status st = cm_dir_remove(f->dir);
    free(f);
    return st == CM_OK ? 0 : -1;
}

static const float fixture_weight[4] = {1, -2, 3, 0.5f};
static const int64_t fixture_shape[2] = {2, 2};

static inline void fixture_tensors(struct ps_tensors *set)
{
    static const int64_t steps = 7;
    assert_ok(ps_tensors_add(set, "w", PS_F32, 2, fixture_shape, fixture_weight));
    assert_ok(ps_tensors_add(set, "steps", PS_I64, 0, NULL, &steps));
}

/* Writes and commits a version of model.safetensors and model.json. */
static inline cm_status fixture_commit(struct ps_store *s, int64_t step, int64_t *version)
{
    struct ps_draft *d = NULL;
    struct ps_tensors set = {0};
    struct ps_manifest m = {.step = step};
    cm_status st;
    fixture_tensors(&set);
    snprintf(m.producer, sizeof m.producer, "train");
    CM_GOTO(st, ps_draft_open(&d, s), out);
    CM_GOTO(st, ps_draft_put_tensors(d, "model.safetensors", &set), out);
    CM_GOTO(st, ps_draft_put_file(d, "model.json", "{}", 2), out);
    st = ps_draft_commit(&d, &m);
    if (st == CM_OK && version)
        *version = m.version;
out:
    ps_draft_close(&d);
    ps_tensors_release(&set);
    ps_manifest_release(&m);
    return st;
}

/* Exit code of a child; 128 + signal when a signal ended it. */
static inline int fixture_wait(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Flips one bit of a file in place. */
static inline void fixture_flip(const char *path, long at, int bit)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_not_equal(c, EOF);
    assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
    assert_int_not_equal(fputc(c ^ (1 << bit), f), EOF);
    assert_int_equal(fclose(f), 0);
}

static inline void fixture_overwrite(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

#endif
