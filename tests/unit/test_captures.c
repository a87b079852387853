/* Captures and a Redis that is away, or there and silent: the caller never waits, what does not fit
 * is dropped and counted, and the end comes in time. test_serve_faults.sh has a real Redis. */
#include "tests/unit/expect.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "serve/captures.h"
#include "wire/classes.h"
#include "wire/feedback.h"

#define QUEUE 4

struct captures {
    char dir[CM_PATH], hold[CM_PATH], address[128];
    struct cm_metrics *registry;
    struct sv_captures_config cfg;
    struct sv_captures *c;
    struct wi_buffer classes;
    int listener; /* -1: none */
};

static int setup(void **state)
{
    static const float p[] = {0.25f, 0.75f};
    static const char *const names[] = {"cat", "dog"};
    uint16_t order[2];
    struct captures *t = calloc(1, sizeof *t);
    expect_ok(wi_classes_encode(&t->classes, p, names, 2, 0, order));
    expect_dir_make(t->dir);
    snprintf(t->address, sizeof t->address, "unix:%.100s/redis", t->dir);
    expect_ok(cm_metrics_open(&t->registry));
    t->cfg = (struct sv_captures_config){.redis = t->address,
                                         .ttl_s = 10,
                                         .queue = QUEUE,
                                         .max_nbytes = 1200,
                                         .kept_nbytes = 4 * WI_FEEDBACK_IMAGE_MAX};
    expect_ok(cm_metric_counter(&t->cfg.written, t->registry, "written_total", "", "x"));
    expect_ok(cm_metric_counter(&t->cfg.dropped, t->registry, "dropped_total", "", "x"));
    t->listener = -1;
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct captures *t = *state;
    if (t->listener >= 0)
        close(t->listener);
    cm_metrics_close(&t->registry);
    wi_buffer_release(&t->classes);
    expect_dir_remove(t->dir);
    free(t);
    return 0;
}

/* Clients connect, and never hear a word. */
static void listen_in_silence(struct captures *t)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", t->address + 5);
    t->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(t->listener, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(listen(t->listener, 8), 0);
}

static void put(struct captures *t, size_t n)
{
    static const uint8_t bytes[WI_FEEDBACK_IMAGE_MAX + 1] = {0xff, 0xd8,
                                                             0xff}; /* a JPEG, to begin with */
    struct wi_capture capture = {.image = {WI_IMAGE_FILE, 0, 0, 0, bytes, n},
                                 .version = 1,
                                 .classes = t->classes.data,
                                 .nclasses = t->classes.n};
    sv_captures_put(t->c, (struct wi_id){{1}}, &capture);
}

/* Its thread stays with the first capture until it is let go. */
static void start_held(struct captures *t)
{
    expect_ok(cm_path_join(t->hold, t->dir, "hold"));
    expect_ok(cm_file_replace(t->hold, "", 0));
    assert_int_equal(setenv("FLYWHEEL_HOLD", t->hold, 1), 0);
    assert_int_equal(setenv("FLYWHEEL_INJECT", "serve.capture=hold@*", 1), 0);
    listen_in_silence(t);
    expect_ok(sv_captures_start(&t->c, &t->cfg));
}

static void let_go(const struct captures *t)
{
    expect_ok(cm_dir_remove(t->hold));
}

static double dropped(const struct captures *t)
{
    return cm_metric_value(t->cfg.dropped);
}

static void test_full(void **state)
{
    struct captures *t = *state;
    start_held(t);
    for (int i = 0; i < QUEUE; i++)
        put(t, 100);
    assert_true(dropped(t) == 0);
    put(t, 1); /* no place */
    assert_true(dropped(t) == 1);
    let_go(t);
    sv_captures_stop(&t->c, 0);
    assert_null(t->c);
    sv_captures_stop(&t->c, 0);
    assert_true(dropped(t) == 1 + QUEUE);
    assert_true(cm_metric_value(t->cfg.written) == 0);
}

static void test_too_many_bytes(void **state)
{
    struct captures *t = *state;
    start_held(t);
    put(t, 900);
    put(t, 900);
    assert_true(dropped(t) == 1);
    put(t, 50);
    assert_true(dropped(t) == 1);
    let_go(t);
    sv_captures_stop(&t->c, 0);
    assert_true(dropped(t) == 3);
}

/* More than Redis takes as one value: it would cut the connection, and what waits be lost too. */
static void test_too_large_an_image(void **state)
{
    struct captures *t = *state;
    t->cfg.max_nbytes = 4 * WI_FEEDBACK_IMAGE_MAX;
    start_held(t);
    put(t, WI_FEEDBACK_IMAGE_MAX);
    assert_true(dropped(t) == 0);
    put(t, WI_FEEDBACK_IMAGE_MAX + 1);
    assert_true(dropped(t) == 1);
    let_go(t);
    sv_captures_stop(&t->c, 0);
}

/* Whoever asks a lot would else fill Redis for a day, and nobody could push feedback. */
static void test_room_in_redis(void **state)
{
    struct captures *t = *state;
    t->cfg.max_nbytes = 4 * WI_FEEDBACK_IMAGE_MAX;
    t->cfg.ttl_s = 1e6;
    start_held(t);
    put(t, WI_FEEDBACK_IMAGE_MAX);
    assert_true(dropped(t) == 0);
    put(t, WI_FEEDBACK_IMAGE_MAX); /* half of the room is gone with this and what comes with it */
    assert_true(dropped(t) == 1);
    put(t, WI_FEEDBACK_IMAGE_MAX / 2);
    assert_true(dropped(t) == 1);
    let_go(t);
    sv_captures_stop(&t->c, 0);
}

static void test_room_comes_back(void **state)
{
    struct captures *t = *state;
    t->cfg.max_nbytes = 4 * WI_FEEDBACK_IMAGE_MAX;
    t->cfg.ttl_s = 1e-6; /* what was kept is gone by now */
    start_held(t);
    for (int i = 0; i < 3; i++)
        put(t, WI_FEEDBACK_IMAGE_MAX);
    assert_true(dropped(t) == 0);
    let_go(t);
    sv_captures_stop(&t->c, 0);
}

/* A silent Redis costs a time-out, not one for each capture: each is tried on a link of its own. */
static void test_end_in_time(void **state)
{
    struct captures *t = *state;
    int links = 0;
    start_held(t);
    for (int i = 0; i < QUEUE; i++)
        put(t, 10);
    let_go(t);
    sv_captures_stop(&t->c, 100);
    for (int fd; (fd = accept(t->listener, NULL, NULL)) >= 0; links++)
        close(fd);
    assert_in_range(links, 0, QUEUE - 1);
    assert_true(dropped(t) == QUEUE);
}

static void test_nobody_there(void **state)
{
    struct captures *t = *state;
    expect_ok(sv_captures_start(&t->c, &t->cfg));
    put(t, 10);
    struct cm_deadline end = cm_deadline_in_ms(20000);
    while (dropped(t) < 1 && !cm_deadline_passed(end))
        cm_sleep_us(1000);
    assert_true(dropped(t) == 1);
    sv_captures_stop(&t->c, 1000);
    t->cfg.redis = "localhost:none";
    assert_int_equal(sv_captures_start(&t->c, &t->cfg), CM_EINVAL);
    assert_null(t->c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large_an_image, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room_in_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
