/* A child's standard output is a pipe: its end tells that the child is done, so nothing here polls
 * for exit. */
#include "trainer/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"

#define LAST_MOMENT 10000 /* ms that a program may live after it has closed its output */

extern char **environ;

/* posix_spawn takes char *const * for historical reasons and writes nothing. */
union arguments {
    const char *const *in;
    char *const *out;
};

/* The pipe's write end is the child's standard output; every other descriptor of ours closes on
 * exec. The child heeds signals, also those that the trainer keeps blocked (stop.h). */
static cm_status spawn(pid_t *pid, const char *const *argv, int output)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    const union arguments args = {.in = argv};

    if (posix_spawn_file_actions_init(&actions))
        return CM_FAIL(CM_ENOMEM, "starting %s", argv[0]);
    if (posix_spawnattr_init(&attributes)) {
        posix_spawn_file_actions_destroy(&actions);
        return CM_FAIL(CM_ENOMEM, "starting %s", argv[0]);
    }
    sigemptyset(&none);
    int rc = posix_spawnattr_setsigmask(&attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawnp(pid, argv[0], &actions, &attributes, args.out, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (rc == ENOENT)
        return CM_FAIL(CM_ENOTFOUND, "the program '%s' is not installed", argv[0]);
    if (rc)
        return CM_FAIL(CM_EIO, "cannot start '%s': %s", argv[0], strerror(rc));
    return CM_OK;
}

/* One read. *open turns false at the end of the output. */
static cm_status take_output(const struct tr_program *p, int fd, size_t *nbytes, bool *open)
{
    char spill[4096];
    size_t room = p->into ? p->capacity - *nbytes : 0;
    ssize_t n = room ? read(fd, (char *)p->into + *nbytes, room) : read(fd, spill, sizeof spill);

    if (n < 0 && errno == EINTR)
        return CM_OK;
    if (n < 0)
        return CM_FAIL_ERRNO("reading from %s", p->argv[0]);
    *open = n > 0;
    if (p->into && n > 0 && !room)
        return CM_FAIL(CM_EFORMAT, "%s gives more than the %zu bytes expected", p->argv[0],
                       p->capacity);
    if (p->into)
        *nbytes += (size_t)n;
    return CM_OK;
}

static cm_status watch_output(const struct tr_program *p, int fd, size_t *nbytes)
{
    const int64_t stall_ms = p->stall_ms ? p->stall_ms : -1;
    struct cm_awake stall = cm_awake_until(cm_deadline_in_ms(stall_ms));
    bool open = true;

    while (open) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        int rc = poll(&item, 1, CM_AWAKE_LOOK_MS);
        if (rc < 0 && errno != EINTR)
            return CM_FAIL_ERRNO("waiting for %s", p->argv[0]);
        if (rc > 0) {
            CM_TRY(take_output(p, fd, nbytes, &open));
            stall = cm_awake_until(cm_deadline_in_ms(stall_ms));
        } else if (cm_awake_passed(&stall)) {
            return CM_FAIL(CM_ETIMEDOUT, "%s gave nothing for %d s", p->argv[0],
                           p->stall_ms / 1000);
        }
    }
    return CM_OK;
}

/* Always reaps the child; one that should be gone and is not is killed. */
static int reap(pid_t pid, bool kill_now)
{
    struct cm_deadline deadline = cm_deadline_in_ms(kill_now ? 0 : LAST_MOMENT);
    int status = 0;

    for (;;) {
        bool late = cm_deadline_passed(deadline);
        if (late)
            (void)kill(pid, SIGKILL);
        pid_t done = waitpid(pid, &status, late ? 0 : WNOHANG);
        if (done == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (done < 0 && errno != EINTR)
            return 255;
        cm_sleep_us(1000);
    }
}

cm_status tr_program_run(const struct tr_program *program, size_t *nbytes, int *code)
{
    int ends[2];
    pid_t pid = 0;

    *nbytes = 0;
    *code = 255;
    if (pipe2(ends, O_CLOEXEC))
        return CM_FAIL_ERRNO("a pipe for %s", program->argv[0]);
    cm_status st = spawn(&pid, program->argv, ends[1]);
    (void)close(ends[1]);
    if (st == CM_OK) {
        st = watch_output(program, ends[0], nbytes);
        *code = reap(pid, st != CM_OK);
    }
    (void)close(ends[0]);
    return st;
}

static cm_status fail_size(const char *path, unsigned long long got, size_t want)
{
    return CM_FAIL(CM_ECORRUPT, "%s: %llu bytes, expected %zu (a truncated download?)", path, got,
                   want);
}

static cm_status read_plain(void *out, size_t nbytes, const char *path)
{
    const void *data = NULL;
    size_t n = 0;

    CM_TRY(cm_file_map(&data, &n, path));
    bool fits = n == nbytes;
    if (fits)
        memcpy(out, data, nbytes);
    cm_file_unmap(&data, n);
    return fits ? CM_OK : fail_size(path, n, nbytes);
}

static cm_status read_packed(void *out, size_t nbytes, const char *path, const char *tool)
{
    const char *const argv[] = {tool, "-dc", path, NULL};
    struct tr_program program = {
        .argv = argv, .into = out, .capacity = nbytes, .stall_ms = 120 * 1000};
    size_t n = 0;
    int code = 0;

    cm_status st = tr_program_run(&program, &n, &code);
    if (st == CM_EFORMAT)
        return CM_FAIL(CM_ECORRUPT, "%s: unpacks to more than the %zu bytes expected", path,
                       nbytes);
    if (st != CM_OK)
        return CM_CONTEXT(st, "%s", path);
    if (code != 0)
        return CM_FAIL(CM_ECORRUPT, "%s: %s cannot unpack it (a truncated or damaged download?)",
                       path, tool);
    return n == nbytes ? CM_OK : fail_size(path, n, nbytes);
}

cm_status tr_unpack_file(void *out, size_t nbytes, const char *path, char *used)
{
    static const char *const packed[][2] = {{".xz", "xz"}, {".gz", "gzip"}};
    char name[CM_PATH];

    if (strlen(path) + sizeof ".xz" > sizeof name)
        return CM_FAIL(CM_EINVAL, "the path is too long: %.60s…", path);
    if (used)
        snprintf(used, CM_PATH, "%s", path);
    if (cm_path_exists(path))
        return read_plain(out, nbytes, path);
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        snprintf(name, sizeof name, "%s%s", path, packed[i][0]);
        if (!cm_path_exists(name))
            continue;
        if (used)
            memcpy(used, name, sizeof name);
        return read_packed(out, nbytes, name, packed[i][1]);
    }
    return CM_FAIL(CM_ENOTFOUND, "%s: not found, nor with .xz or .gz", path);
}
