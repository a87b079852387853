/* The plug-in's NCCL (model/cuda/nccl_cuda.c) with libraries that are missing, too old, lacking a
 * function, or that tell what they are asked (nccl_fixture.c). A library is looked for once in a
 * process, so each has a process of its own: this program again, with where to look. */
#include <sys/wait.h>
#include <unistd.h>

#include "model/comm_driver.h"
#include "model/plugin.h"
#include "tests/unit/expect.h"

#define SKIPPED 77

static char folder[CM_PATH]; /* of this program */

/* ---- the other process ---- */

static void tell_state(const struct nn_comm_driver *driver, void *comm)
{
    static const char *const names[] = {"busy", "ready", "failed", "failed elsewhere"};
    char why[NN_COMM_WHY] = "";
    enum nn_comm_state state = driver->state(comm, why);
    printf("%s%s%s\n", names[state], *why ? ": " : "", why);
}

static int ask(const struct nn_comm_driver *driver)
{
    unsigned char id[NN_COMM_ID];
    static const char stream[256]; /* as struct nn_cuda_stream: no stream, of the first GPU */
    union {
        const void *in;
        void *out;
    } to = {.in = stream};
    float x[8];
    void *comm, *none;
    const struct nn_comm_part parts[] = {{.peer = 2, .out = x, .in = x + 2, .nout = 8, .nin = 4},
                                         {.peer = 1, .out = x, .nout = 4}},
                              bad = {.peer = 9, .out = x, .in = x, .nout = 1, .nin = 1};
    int code = driver->make_id(id);
    code = code ? code : driver->open(&comm, id, 1, 4);
    if (code)
        return 1;
    for (int i = 0; i < 4; i++)
        tell_state(driver, comm);
    printf("%d\n", driver->swap(comm, to.out, parts, 2));
    printf("%s\n", driver->text_of(driver->swap(comm, to.out, &bad, 1)));
    printf("%d\n", driver->sum(comm, to.out, x, 8));
    printf("%d\n", driver->finish(comm));
    driver->close(comm);
    printf("%s\n", driver->text_of(driver->open(&none, id, 4, 4)));
    if (none || driver->open(&comm, id, 0, 4))
        return 1;
    driver->abort(comm);
    return 0;
}

static int run_child(const char *path)
{
    const struct nn_plugin *plugin;
    if (nn_plugin_open(&plugin, path) != CM_OK) {
        puts(cm_error_text());
        return 1;
    }
    const struct nn_comm_driver *driver = plugin->driver->comm;
    const char *missing = driver->missing();
    puts(missing ? missing : driver->library());
    return missing ? 0 : ask(driver);
}

/* ---- this one ---- */

static void become_child(const char *name, int out)
{
    char plugin[2 * CM_PATH], path[3 * CM_PATH];
    const char *more = getenv("LD_LIBRARY_PATH");
    snprintf(plugin, sizeof plugin, "%s/../lib/" NN_PLUGIN_FILE, folder);
    snprintf(path, sizeof path, "%s/../lib/nccl/%s%s%s", folder, name, more ? ":" : "",
             more ? more : "");
    if (setenv("LD_LIBRARY_PATH", path, 1) == 0 && dup2(out, 1) == 1)
        (void)execl("/proc/self/exe", "test_nccl", plugin, (char *)NULL);
    _exit(127);
}

/* What the other process says when it finds the library in lib/nccl/NAME first. */
static void expect_words(const char *name, const char *words)
{
    char text[2048];
    size_t n = 0;
    ssize_t got;
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        become_child(name, pipes[1]);
    close(pipes[1]);
    while (n < sizeof text - 1 && (got = read(pipes[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0 || !strstr(text, words))
        fail_msg("%s: exit status %d, '%s' does not say '%s'", name, status, text, words);
}

static void a_library_that_cannot_be_used_is_named(void **state)
{
    (void)state;
    expect_words("broken", "libnccl.so.2: ");
    expect_words("old", "libnccl.so.2 is NCCL 2.10.3; 2.18 is needed");
    expect_words("lame", "libnccl.so.2 has no ncclCommAbort");
}

static void calls_are_as_nccl_wants_them(void **state)
{
    (void)state;
    expect_words("whole", "NCCL 2.28.9\n"
                          "init rank 1 of 4, id ii, blocking 0\n"
                          "busy\n"
                          "ready\n"
                          "failed: system error (2): cable is out\n"
                          "failed elsewhere: remote (6): cable is out\n"
                          "group\n"
                          "send 8 of type 0 to 2\n"
                          "receive 4 of type 0 from 2\n"
                          "send 4 of type 0 to 1\n"
                          "end\n"
                          "0\n"
                          "group\n"
                          "send 1 of type 0 to 9\n"
                          "end\n"
                          "usage (5): cable is out\n"
                          "sum in place 8 of type 7 by 0\n"
                          "0\n"
                          "finalize\n"
                          "0\n"
                          "destroy\n"
                          "usage (5): cable is out\n"
                          "init rank 0 of 4, id ii, blocking 0\n"
                          "abort\n");
}

int main(int argc, char **argv)
{
    char plugin[2 * CM_PATH];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n < 0)
        return 1;
    folder[n] = '\0';
    *strrchr(folder, '/') = '\0';
    if (argc > 1)
        return run_child(argv[1]);
    snprintf(plugin, sizeof plugin, "%s/../lib/" NN_PLUGIN_FILE, folder);
    if (access(plugin, F_OK) != 0) {
        puts("skipped: this build has no GPU plug-in");
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_library_that_cannot_be_used_is_named),
        cmocka_unit_test(calls_are_as_nccl_wants_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
