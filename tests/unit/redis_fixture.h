/* A redis-server of the test's own, on a unix socket in a folder of its own. */
#ifndef TESTS_UNIT_REDIS_FIXTURE_H
#define TESTS_UNIT_REDIS_FIXTURE_H

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/redis.h"
#include "tests/unit/expect.h"

struct redis_fixture {
    char dir[CM_PATH], socket[108], address[128]; /* a unix socket's path is short */
    pid_t pid;
    struct cm_redis *redis; /* the test's own connection */
};

static inline void redis_fixture_start(struct redis_fixture *f)
{
    const struct cm_redis_value *v;
    cm_status st = CM_ECONNECT;
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (f->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(open("/dev/null", O_RDWR), 1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", f->socket, "--dir",
               f->dir, "--save", "", NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000 && st != CM_OK; i++) { /* its socket is there a little before it */
        st = cm_redis_call(f->redis, &v, "PING", NULL);
        if (st != CM_OK)
            cm_sleep_us(10000);
    }
    assert_int_equal(st, CM_OK);
}

static inline void redis_fixture_stop(struct redis_fixture *f)
{
    kill(f->pid, SIGKILL);
    waitpid(f->pid, NULL, 0);
}

static inline int redis_fixture_setup(void **state)
{
    struct redis_fixture *f = calloc(1, sizeof *f);
    expect_dir_make(f->dir);
    snprintf(f->socket, sizeof f->socket, "%.90s/redis.sock", f->dir);
    snprintf(f->address, sizeof f->address, "unix:%s", f->socket);
    struct cm_redis_config cfg = {.address = f->address, .timeout_ms = 5000, .name = "test"};
    expect_ok(cm_redis_open(&f->redis, &cfg));
    redis_fixture_start(f);
    *state = f;
    return 0;
}

static inline int redis_fixture_teardown(void **state)
{
    struct redis_fixture *f = *state;
    cm_redis_close(&f->redis);
    redis_fixture_stop(f);
    expect_dir_remove(f->dir);
    free(f);
    return 0;
}

/* A command that must succeed, and what it says. */
#define redis_do(f, ...) redis_fixture_do((f), (const char *const[]){__VA_ARGS__, NULL})
static inline const struct cm_redis_value *redis_fixture_do(struct redis_fixture *f,
                                                            const char *const *word)
{
    const struct cm_redis_value *v;
    size_t n[32];
    int argc = 0;
    for (; word[argc]; argc++)
        n[argc] = strlen(word[argc]);
    expect_ok(cm_redis_command(f->redis, &v, argc, word, n, 0));
    return v;
}

#endif
