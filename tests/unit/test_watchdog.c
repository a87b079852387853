/* Two watchdogs in one process, as ranks 0 and 1: their threads beside those of the ranks, so that
 * a sanitizer sees both. (Ranks under mpirun: tests/integration/test_watchdog.sh.) */
#include "allreduce/watchdog.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/expect.h"

/* A rank is silent after 3 heartbeats and 50 ms: so long a thread may be kept waiting for a core.
 */
enum { HEARTBEAT_MS = 250, LATE_MS = 900, TIMEOUT_MS = 1000, LONG_MS = 60000 };

struct pair {
    struct ar_watch *rank[2];
};

static struct pair open_pair(int64_t timeout_ms)
{
    struct pair p = {0};
    struct ar_place places[2];
    for (int r = 0; r < 2; r++)
        expect_ok(ar_watch_open(&p.rank[r], &places[r]));
    for (int r = 0; r < 2; r++) {
        const struct ar_watch_config cfg = {.places = places,
                                            .rank = r,
                                            .size = 2,
                                            .key = 7,
                                            .heartbeat_ms = HEARTBEAT_MS,
                                            .late_ms = LATE_MS,
                                            .timeout_ms = timeout_ms};
        expect_ok(ar_watch_start(p.rank[r], &cfg));
    }
    return p;
}

/* Of a job that is lost: what was told, where a test can read it after the process has ended. */
static int told[2];

static void write_loss(const struct ar_loss *loss, void *arg)
{
    (void)arg;
    char line[64];
    int n = snprintf(line, sizeof line, "%d %s %s %lld;", loss->rank, loss->fault, loss->phase,
                     (long long)loss->step);
    if (write(told[1], line, (size_t)n) != n)
        abort();
}

/* Runs end in a process of its own, which is to leave with this code, having told this. */
static void expect_end(void (*end)(void), int code, const char *text)
{
    char got[256] = "";
    int status;
    assert_int_equal(pipe(told), 0);
    pid_t child = fork();
    if (child == 0) {
        end();
        _exit(99); /* it was to leave before */
    }
    close(told[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
    assert_true(read(told[0], got, sizeof got - 1) >= 0);
    assert_string_equal(got, text);
    close(told[0]);
}

static atomic_bool at_work;

/* What a rank's own threads do all the time, as fast as they can. */
static void *work(void *arg)
{
    struct ar_watch *w = arg;
    for (int64_t step = 0; atomic_load(&at_work); step++) {
        ar_watch_phase(w, step % 2 ? "step" : "evaluate", step);
        ar_watch_enter(w, "sum");
        ar_watch_on_loss(w, write_loss, NULL);
        ar_watch_leave(w);
    }
    return NULL;
}

static void watches_beside_the_ranks(void **state)
{
    (void)state;
    pthread_t thread[2];
    struct pair p = open_pair(LONG_MS);
    told[1] = -1; /* to tell of a loss would end the test */
    atomic_store(&at_work, true);
    for (int r = 0; r < 2; r++)
        assert_int_equal(pthread_create(&thread[r], NULL, work, p.rank[r]), 0);
    cm_sleep_us((int64_t)4 * HEARTBEAT_MS * 1000);
    atomic_store(&at_work, false);
    for (int r = 0; r < 2; r++)
        assert_int_equal(pthread_join(thread[r], NULL), 0);
    for (int r = 0; r < 2; r++) {
        ar_watch_part(p.rank[r]);
        ar_watch_close(&p.rank[r]);
        assert_null(p.rank[r]);
    }
}

static void wait_for_a_rank_that_is_elsewhere(void)
{
    struct pair p = open_pair(TIMEOUT_MS);
    ar_watch_on_loss(p.rank[0], write_loss, NULL);
    ar_watch_phase(p.rank[0], "step", 12);
    ar_watch_phase(p.rank[1], "checkpoint", 11);
    ar_watch_enter(p.rank[0], "sum");
    cm_sleep_us((int64_t)LONG_MS * 1000);
}

static void a_rank_that_is_behind_is_blamed_once(void **state)
{
    (void)state;
    expect_end(wait_for_a_rank_that_is_elsewhere, 1, "1 behind checkpoint 11;");
}

static void say_last_words(void)
{
    struct pair p = open_pair(LONG_MS);
    for (int r = 0; r < 2; r++)
        ar_watch_on_loss(p.rank[r], write_loss, NULL);
    ar_watch_phase(p.rank[1], "step", 5);
    ar_watch_last_words(p.rank[1], "the disk is full");
    ar_watch_last_words(p.rank[1], "and once more"); /* is not told again */
    cm_sleep_us((int64_t)LONG_MS * 1000);            /* rank 0 ends the process when it hears it */
}

static void a_rank_that_leaves_is_told_of_once(void **state)
{
    (void)state;
    expect_end(say_last_words, 1, "1 failed step 5;");
}

static void hang(const struct ar_loss *loss, void *arg)
{
    write_loss(loss, arg);
    cm_sleep_us((int64_t)LONG_MS * 1000);
}

static void tell_one_who_hangs(void)
{
    struct pair p = open_pair(TIMEOUT_MS);
    ar_watch_on_loss(p.rank[0], hang, NULL);
    ar_watch_phase(p.rank[0], "step", 3);
    ar_watch_phase(p.rank[1], "step", 2);
    ar_watch_enter(p.rank[0], "sum");
    cm_sleep_us((int64_t)LONG_MS * 1000);
}

/* As a file system does that is what the job was lost to. */
static void who_is_told_may_hang(void **state)
{
    (void)state;
    expect_end(tell_one_who_hangs, 1, "1 behind step 2;");
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_that_is_behind_is_blamed_once),
        cmocka_unit_test(a_rank_that_leaves_is_told_of_once),
        cmocka_unit_test(who_is_told_may_hang),
        cmocka_unit_test(watches_beside_the_ranks), /* last: threads and fork do not mix */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
