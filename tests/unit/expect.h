/* What unit tests share: expectations on a status and its message, and a folder of their own. */
#ifndef TESTS_UNIT_EXPECT_H
#define TESTS_UNIT_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/file.h"
#include "common/status.h"

/* Macros, so that a failure names the line of the test. */
#define expect_ok(call)                                                                            \
    do {                                                                                           \
        cm_status expect_st_ = (call);                                                             \
        if (expect_st_ != CM_OK)                                                                   \
            fail_msg("%s: %s", #call, cm_error_text());                                            \
    } while (0)

/* call fails with this code, and its message contains text. */
#define expect_fault(code, text, call)                                                             \
    do {                                                                                           \
        cm_status expect_st_ = (call);                                                             \
        if (expect_st_ != (code))                                                                  \
            fail_msg("%s: got %s, expected %s", #call, cm_status_name(expect_st_), #code);         \
        if (!strstr(cm_error_text(), (text)))                                                      \
            fail_msg("%s: '%s' does not say '%s'", #call, cm_error_text(), (text));                \
    } while (0)

/* A new empty folder; removed with all in it by expect_dir_remove. */
static inline void expect_dir_make(char path[CM_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, CM_PATH, "%s/flywheel-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

static inline void expect_dir_remove(const char *path)
{
    unsetenv("FLYWHEEL_INJECT");
    expect_ok(cm_dir_remove(path));
}

#endif
