#include "common/lane.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/rng.h"
#include "tests/unit/expect.h"

#define PATIENCE_MS 60000 /* only a deadlock takes so long */

static struct cm_deadline patience(void)
{
    return cm_deadline_in_ms(PATIENCE_MS);
}

static struct ln_lane *open_lane(void)
{
    struct ln_lane *lane;
    expect_ok(ln_lane_open(&lane, &(struct ln_config){.name = "test", .core = -1}));
    return lane;
}

static struct ln_event *open_event(void)
{
    struct ln_event *event;
    expect_ok(ln_event_open(&event));
    return event;
}

/* --- tasks --- */

/* A door that holds a lane until the test opens it. */
struct door {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool reached, open;
};
#define DOOR                                                                                       \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                     \
    }

static cm_status stand_at(void *ctx, int64_t a, int64_t b)
{
    struct door *door = ctx;
    (void)a;
    (void)b;
    pthread_mutex_lock(&door->lock);
    door->reached = true;
    pthread_cond_broadcast(&door->changed);
    while (!door->open)
        pthread_cond_wait(&door->changed, &door->lock);
    pthread_mutex_unlock(&door->lock);
    return CM_OK;
}

static void await_reached(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    while (!door->reached)
        pthread_cond_wait(&door->changed, &door->lock);
    pthread_mutex_unlock(&door->lock);
}

static void open_door(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    door->open = true;
    pthread_cond_broadcast(&door->changed);
    pthread_mutex_unlock(&door->lock);
}

/* Fails unless tasks come as 0, 1, 2, … */
static cm_status expect_next(void *ctx, int64_t a, int64_t b)
{
    int64_t *next = ctx;
    if (a != *next || b != -a)
        return CM_FAIL(CM_EINTERNAL, "task %lld came as number %lld", (long long)a,
                       (long long)*next);
    (*next)++;
    return CM_OK;
}

static cm_status find_nan(void *ctx, int64_t a, int64_t b)
{
    (void)ctx;
    (void)b;
    return CM_FAIL(CM_ENUMERIC, "task %lld has a NaN", (long long)a);
}

static cm_status store(void *ctx, int64_t a, int64_t b)
{
    (void)b;
    *(int64_t *)ctx = a;
    return CM_OK;
}

/* --- tests --- */

static void test_tasks_run_in_order(void **state)
{
    (void)state;
    struct ln_lane *lane = open_lane();
    int64_t next = 0;
    for (int64_t i = 0; i < 5000; i++) /* several times the ring */
        ln_lane_run(lane, expect_next, &next, i, -i);
    expect_ok(ln_lane_sync(lane, patience()));
    assert_int_equal(next, 5000);
    expect_ok(ln_lane_sync(lane, patience())); /* an empty lane */
    ln_lane_close(&lane);
    assert_null(lane);
    ln_lane_close(&lane);
}

static void test_close_finishes_the_work(void **state)
{
    (void)state;
    struct ln_lane *lane = open_lane();
    int64_t next = 0;
    for (int64_t i = 0; i < 1000; i++)
        ln_lane_run(lane, expect_next, &next, i, -i);
    ln_lane_close(&lane);
    assert_int_equal(next, 1000);
}

static void test_a_fault_stops_the_lane_until_sync(void **state)
{
    (void)state;
    struct ln_lane *lane = open_lane();
    struct ln_event *event = open_event();
    int64_t touched = -1;
    ln_lane_run(lane, find_nan, NULL, 3, 0);
    ln_lane_run(lane, store, &touched, 1, 0);
    ln_lane_run(lane, find_nan, NULL, 4, 0);
    ln_lane_record(lane, event);
    expect_ok(ln_event_sync(event, patience())); /* happens all the same */
    expect_fault(CM_ENUMERIC, "task 3 has a NaN", ln_lane_sync(lane, patience()));
    assert_non_null(strstr(cm_error_where(), "test_lane.c:"));
    assert_int_equal(touched, -1);

    ln_lane_run(lane, store, &touched, 2, 0);
    expect_ok(ln_lane_sync(lane, patience()));
    assert_int_equal(touched, 2);
    ln_lane_close(&lane);
    ln_event_close(&event);
}

static void test_deadlines(void **state)
{
    (void)state;
    struct ln_lane *lane = open_lane();
    struct ln_event *event = open_event();
    struct door door = DOOR;
    expect_ok(ln_event_sync(event, cm_deadline_in_ms(0))); /* never recorded: has happened */
    ln_lane_run(lane, stand_at, &door, 0, 0);
    ln_lane_record(lane, event);
    expect_fault(CM_ETIMEDOUT, "lane test: 2 entries", ln_lane_sync(lane, cm_deadline_in_ms(1)));
    expect_fault(CM_ETIMEDOUT, "event", ln_event_sync(event, cm_deadline_in_ms(1)));
    expect_fault(CM_ETIMEDOUT, "event", ln_event_sync(event, cm_deadline_in_ms(0)));
    open_door(&door);
    expect_ok(ln_event_sync(event, patience()));
    expect_ok(ln_lane_sync(lane, patience())); /* the timeout left it running */
    ln_lane_close(&lane);
    ln_event_close(&event);
}

static void test_a_wait_holds_the_other_lane(void **state)
{
    (void)state;
    struct ln_lane *a = open_lane(), *b = open_lane();
    struct ln_event *event = open_event();
    struct door door = DOOR;
    int64_t from_a = 0, seen_by_b = 0;
    ln_lane_wait(b, event); /* never recorded: does not wait */
    expect_ok(ln_lane_sync(b, patience()));
    ln_lane_run(a, stand_at, &door, 0, 0);
    ln_lane_run(a, store, &from_a, 7, 0);
    ln_lane_record(a, event);
    ln_lane_wait(b, event);
    ln_lane_run(b, store, &seen_by_b, 1, 0);
    await_reached(&door);
    assert_int_equal(ln_lane_sync(b, cm_deadline_in_ms(5)), CM_ETIMEDOUT);
    open_door(&door);
    expect_ok(ln_lane_sync(b, patience()));
    assert_int_equal(from_a, 7); /* a came first, and b's sync makes a's stores visible */
    assert_int_equal(seen_by_b, 1);
    ln_lane_close(&a);
    ln_lane_close(&b);
    ln_event_close(&event);
}

/* The event is recorded on a held lane, then again on a free one that gets there at once. Waits for
 * the first record must not pass with the second, and waits for the second need not wait for the
 * first. */
static void test_a_wait_is_for_its_own_record(void **state)
{
    (void)state;
    struct ln_lane *held = open_lane(), *free_lane = open_lane(), *first = open_lane(),
                   *second = open_lane();
    struct ln_event *event = open_event();
    struct door door = DOOR;
    ln_lane_run(held, stand_at, &door, 0, 0);
    ln_lane_record(held, event);
    ln_lane_wait(first, event);
    ln_lane_record(free_lane, event);
    ln_lane_wait(second, event);
    expect_ok(ln_lane_sync(second, patience()));
    expect_ok(ln_event_sync(event, patience())); /* the newest record */
    assert_int_equal(ln_lane_sync(first, cm_deadline_in_ms(5)), CM_ETIMEDOUT);
    open_door(&door);
    expect_ok(ln_lane_sync(first, patience()));
    struct ln_lane *all[] = {held, free_lane, first, second};
    for (int i = 0; i < 4; i++)
        ln_lane_close(&all[i]);
    ln_event_close(&event);
}

static void test_many_records_of_one_event(void **state)
{
    (void)state;
    struct ln_lane *a = open_lane(), *b = open_lane();
    struct ln_event *event = open_event();
    for (int i = 0; i < 3000; i++) {
        ln_lane_record(i % 3 ? a : b, event);
        ln_lane_wait(i % 2 ? a : b, event);
    }
    expect_ok(ln_event_sync(event, patience()));
    expect_ok(ln_lane_sync(a, patience()));
    expect_ok(ln_lane_sync(b, patience()));
    ln_lane_close(&a);
    ln_lane_close(&b);
    ln_event_close(&event);
}

/* --- random graphs --- */

#define LANES  6
#define EVENTS 10
#define TASKS  4000

/* Vector clocks say which tasks a task comes after, by its lane's order or by events. It checks
 * that the newest of them on every lane has run. done is plain memory on purpose: where lanes and
 * events did not order its accesses, the thread sanitizer would tell. */
struct graph {
    unsigned char done[LANES][TASKS];
    int after[TASKS][LANES]; /* how many tasks of each lane have run before this one */
    int number[TASKS];       /* of the task within its lane */
};

static cm_status run_node(void *ctx, int64_t task, int64_t lane)
{
    struct graph *graph = ctx;
    for (int l = 0; l < LANES; l++) {
        int n = graph->after[task][l];
        if (n > 0 && !graph->done[l][n - 1])
            return CM_FAIL(CM_EINTERNAL, "task %lld came before number %d of lane %d",
                           (long long)task, n - 1, l);
    }
    if (task % 7 == 0)
        sched_yield(); /* other interleavings */
    graph->done[lane][graph->number[task]] = 1;
    return CM_OK;
}

static void enqueue_graph(struct graph *graph, struct ln_lane **lane, struct ln_event **event,
                          uint64_t seed)
{
    int lane_clock[LANES][LANES] = {0}, event_clock[EVENTS][LANES] = {0};
    uint32_t number = 0;
    for (int64_t task = 0; task < TASKS;) {
        struct cm_rng4 r = cm_rng_block(seed, CM_RNG_SYNTHETIC, 0, 0, number++);
        uint32_t l = cm_rng_below(r.v[0], LANES), e = cm_rng_below(r.v[1], EVENTS);
        uint32_t kind = cm_rng_below(r.v[2], 10);
        if (kind < 2) {
            ln_lane_record(lane[l], event[e]);
            memcpy(event_clock[e], lane_clock[l], sizeof event_clock[e]);
        } else if (kind < 4) {
            ln_lane_wait(lane[l], event[e]);
            for (int i = 0; i < LANES; i++) {
                if (event_clock[e][i] > lane_clock[l][i])
                    lane_clock[l][i] = event_clock[e][i];
            }
        } else {
            memcpy(graph->after[task], lane_clock[l], sizeof graph->after[task]);
            graph->number[task] = lane_clock[l][l]++;
            ln_lane_run(lane[l], run_node, graph, task, l);
            task++;
        }
    }
}

static void test_random_graphs_keep_their_order(void **state)
{
    (void)state;
    struct ln_lane *lane[LANES];
    struct ln_event *event[EVENTS];
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct graph *graph;
        expect_ok(cm_alloc(&graph, 1, sizeof *graph, "a graph"));
        for (int i = 0; i < LANES; i++)
            lane[i] = open_lane();
        for (int i = 0; i < EVENTS; i++)
            event[i] = open_event();
        enqueue_graph(graph, lane, event, seed);
        for (int i = 0; i < EVENTS; i++)
            expect_ok(ln_event_sync(event[i], patience()));
        for (int i = 0; i < LANES; i++)
            expect_ok(ln_lane_sync(lane[i], patience()));
        for (int i = 0; i < EVENTS; i++)
            ln_event_close(&event[i]);
        for (int i = 0; i < LANES; i++)
            ln_lane_close(&lane[i]);
        cm_free(&graph);
    }
}

/* --- opening --- */

static void note_thread(void *ctx)
{
    *(pthread_t *)ctx = pthread_self();
}

static cm_status check_thread(void *ctx, int64_t a, int64_t b)
{
    char name[16];
    (void)a;
    (void)b;
    pthread_getname_np(pthread_self(), name, sizeof name);
    bool same = pthread_equal(*(pthread_t *)ctx, pthread_self());
    return same && strcmp(name, "lane-3") == 0 ? CM_OK
                                               : CM_FAIL(CM_EINTERNAL, "on thread %s", name);
}

static void test_on_start_runs_first_on_the_lanes_thread(void **state)
{
    (void)state;
    struct ln_lane *lane;
    pthread_t thread = pthread_self();
    expect_ok(ln_lane_open(&lane, &(struct ln_config){.name = "lane-3",
                                                      .core = -1,
                                                      .on_start = note_thread,
                                                      .on_start_ctx = &thread}));
    ln_lane_run(lane, check_thread, &thread, 0, 0);
    expect_ok(ln_lane_sync(lane, patience()));
    ln_lane_close(&lane);
    assert_false(pthread_equal(thread, pthread_self()));
}

static cm_status check_core(void *ctx, int64_t a, int64_t b)
{
    (void)b;
    (void)ctx;
    return sched_getcpu() == a ? CM_OK : CM_FAIL(CM_EINTERNAL, "on core %d", sched_getcpu());
}

static void test_pinning(void **state)
{
    (void)state;
    struct ln_lane *lane;
    cpu_set_t cores;
    assert_int_equal(sched_getaffinity(0, sizeof cores, &cores), 0);
    int core = 0;
    while (!CPU_ISSET(core, &cores))
        core++;
    expect_ok(ln_lane_open(&lane, &(struct ln_config){.name = "pinned", .core = core}));
    ln_lane_run(lane, check_core, NULL, core, 0);
    expect_ok(ln_lane_sync(lane, patience()));
    ln_lane_close(&lane);
    expect_fault(CM_EINVAL, "core 1023",
                 ln_lane_open(&lane, &(struct ln_config){.name = "x", .core = 1023}));
    assert_null(lane);
    expect_fault(CM_EINVAL, "core 99999",
                 ln_lane_open(&lane, &(struct ln_config){.name = "x", .core = 99999}));
}

/* The deadline passes while the process is stopped, and its work with it. */
static cm_status stop_here(void *ctx, int64_t a, int64_t b)
{
    (void)ctx;
    (void)a;
    (void)b;
    raise(SIGSTOP);
    cm_sleep_us(100000); /* so that whoever waits is asked first */
    return CM_OK;
}

static int wait_for_a_stop(void)
{
    struct ln_lane *lane;
    struct ln_event *event;
    bool ok = ln_lane_open(&lane, &(struct ln_config){.name = "test", .core = -1}) == CM_OK &&
              ln_event_open(&event) == CM_OK;
    if (!ok)
        return 2;
    ln_lane_run(lane, stop_here, NULL, 0, 0);
    ok = ln_lane_sync(lane, cm_deadline_in_ms(1000)) == CM_OK;
    ln_lane_run(lane, stop_here, NULL, 0, 0);
    ln_lane_record(lane, event);
    ok = ok && ln_event_sync(event, cm_deadline_in_ms(1000)) == CM_OK;
    ln_lane_close(&lane);
    ln_event_close(&event);
    return ok ? 0 : 1;
}

static void test_a_stopped_process_loses_no_time(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(wait_for_a_stop());
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        assert_true(WIFSTOPPED(status));
        cm_sleep_us(1200000);
        assert_int_equal(kill(pid, SIGCONT), 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_a_lack_of_memory_is_told(void **state)
{
    (void)state;
    struct ln_lane *lane;
    struct ln_event *event;
    cm_mem_fail_at(1);
    expect_fault(CM_ENOMEM, "a lane",
                 ln_lane_open(&lane, &(struct ln_config){.name = "x", .core = -1}));
    cm_mem_fail_at(1);
    expect_fault(CM_ENOMEM, "an event", ln_event_open(&event));
    cm_mem_fail_at(0);
    assert_null(lane);
    assert_null(event);
    ln_event_close(&event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks_run_in_order),
        cmocka_unit_test(test_close_finishes_the_work),
        cmocka_unit_test(test_a_fault_stops_the_lane_until_sync),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_a_wait_holds_the_other_lane),
        cmocka_unit_test(test_a_wait_is_for_its_own_record),
        cmocka_unit_test(test_many_records_of_one_event),
        cmocka_unit_test(test_random_graphs_keep_their_order),
        cmocka_unit_test(test_on_start_runs_first_on_the_lanes_thread),
        cmocka_unit_test(test_pinning),
        cmocka_unit_test(test_a_stopped_process_loses_no_time),
        cmocka_unit_test(test_a_lack_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
