/* What a run tells of its epochs, read back from events.jsonl. */
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "tests/unit/expect.h"
#include "trainer/report.h"

/* The last event of that name, for the caller to close; NULL: none. */
static struct cm_json *last_event(const char *dir, const char *name)
{
    char path[CM_PATH], *text, *rest;
    size_t n;
    struct cm_json *last = NULL;
    expect_ok(cm_path_join(path, dir, "events.jsonl"));
    expect_ok(cm_file_read(&text, &n, path, 1 << 20));
    rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        struct cm_json *event;
        const char *kind;
        expect_ok(cm_json_parse(&event, line, strlen(line), path));
        expect_ok(cm_json_need_string(event, "event", "event", &kind));
        if (strcmp(kind, name) == 0) {
            cm_json_close(&last);
            last = event;
            continue;
        }
        cm_json_close(&event);
    }
    cm_free(&text);
    return last;
}

static void an_epoch_counts_all_its_steps_through_every_break(void **state)
{
    (void)state;
    char dir[CM_PATH];
    struct tr_report r;
    expect_dir_make(dir);
    expect_ok(tr_report_open(&r, dir, true));
    for (int64_t step = 0; step < 4; step++) {
        const struct tr_outcome o = {
            .loss = 10.0 * (double)step, .correct = step, .count = 10, .seconds = 0.5};
        const struct tr_place at = {
            .step = step, .total = 4, .within = step, .epoch_steps = 4, .epochs = 1};
        tr_report_step(&r, &o, &at);
        tr_report_break(&r); /* a version is written, say */
    }
    struct cm_json *epoch = last_event(dir, "epoch");
    double loss, accuracy, rate;
    assert_non_null(epoch);
    expect_ok(cm_json_need_f64(epoch, "event", "loss", &loss));
    expect_ok(cm_json_need_f64(epoch, "event", "accuracy", &accuracy));
    expect_ok(cm_json_need_f64(epoch, "event", "images_per_s", &rate));
    assert_float_equal(loss, 60.0 / 40, 1e-9);
    assert_float_equal(accuracy, 6.0 / 40, 1e-9);
    assert_float_equal(rate, 20, 1e-9);
    cm_json_close(&epoch);
    tr_report_release(&r);
    expect_dir_remove(dir);
}

/* Resumed at step 110 of 800, 100 to an epoch: two seconds a step are 1,376 s for the 688 left. */
static void the_time_left_is_the_runs_also_after_a_resume(void **state)
{
    (void)state;
    char dir[CM_PATH];
    struct tr_report r;
    const struct tr_outcome o = {.loss = 1, .count = 10, .seconds = 2};
    expect_dir_make(dir);
    expect_ok(tr_report_open(&r, dir, true));
    int64_t began_ns = cm_now_ns();
    for (int64_t step = 110; step < 112; step++) {
        const struct tr_place at = {.step = step,
                                    .total = 800,
                                    .epoch = 1,
                                    .within = step - 100,
                                    .epoch_steps = 100,
                                    .epochs = 7.9};
        tr_report_step(&r, &o, &at);
        tr_report_break(&r);               /* a line of the log between them */
        r.began_ns -= INT64_C(2000000000); /* the clock goes on */
    }
    assert_string_equal(r.label, "epoch 2/8");
    /* At the second step: four seconds, two steps. What this took for itself adds to them. */
    double own_s = (double)(cm_now_ns() - began_ns) * 1e-9;
    assert_true(r.progress.left_s > 1376 - 1 && r.progress.left_s < 1376 + 344 * own_s + 1);
    tr_report_release(&r);
    expect_dir_remove(dir);
}

static void a_report_that_is_off_does_nothing(void **state)
{
    (void)state;
    struct tr_report r = {0};
    const struct tr_outcome o = {.count = 1, .seconds = 1};
    const struct tr_place at = {.total = 1, .epoch_steps = 1, .epochs = 1};
    tr_report_step(&r, &o, &at);
    tr_report_text(&r, "end", "sha256", NULL);
    tr_report_break(&r);
    tr_report_release(&r);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_counts_all_its_steps_through_every_break),
        cmocka_unit_test(the_time_left_is_the_runs_also_after_a_resume),
        cmocka_unit_test(a_report_that_is_off_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
