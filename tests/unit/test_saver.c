/* saver.h with a real store: versions written beside the caller, the same bytes as by hand, and
 * what becomes of a slow and of a full disk. */
#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "tests/unit/expect.h"
#include "trainer/lost_run.h"
#include "trainer/saver.h"
#include "trainer/snapshot.h"

#define LONG_MS 60000

struct bench {
    char dir[CM_PATH], hold[CM_PATH];
    struct tr_session session;
    struct tr_publisher *publisher;
    struct tr_snapshot run; /* stands for the run: weights that a step may write to */
    struct tr_saver *saver;
};

static struct tr_publish version_of(struct bench *b, int64_t step)
{
    b->run.progress.step = step;
    return (struct tr_publish){.state = &b->run.state, .producer = "train"};
}

static void fill(struct bench *b, float seed)
{
    for (size_t i = 0; i < b->session.layout->ntotal; i++)
        b->run.state.weights[i] = seed + 1e-3f * (float)(i % 97);
}

static struct bench *open_bench(void)
{
    struct bench *b;
    expect_ok(cm_alloc(&b, 1, sizeof *b, "bench"));
    expect_dir_make(b->dir);
    static const char *const sets[] = {"model.network=" FW_SOURCE_DIR "/model/zoo/lenet.json",
                                       "data.dataset=synthetic:10:20:32x32x3"};
    const struct tr_session_options options = {.sets = sets, .nsets = 2, .run_dir = b->dir};
    expect_ok(tr_session_open(&b->session, &options));
    expect_ok(tr_session_load(&b->session, NULL));
    expect_ok(tr_publisher_open(&b->publisher, &b->session, TR_SUMMARY, false));
    const struct tr_state like = {.spec = b->session.spec, .layout = b->session.layout};
    expect_ok(tr_snapshot_init(&b->run, &b->session.train, &like));
    tr_plateau_init(&b->run.progress.plateau);
    fill(b, 0.5f);
    expect_ok(tr_saver_open(&b->saver, b->publisher, &b->session.train, &b->run.state));
    return b;
}

static void close_bench(struct bench *b)
{
    unsetenv("FLYWHEEL_INJECT");
    tr_saver_close(&b->saver);
    tr_snapshot_release(&b->run);
    tr_publisher_close(&b->publisher);
    tr_session_release(&b->session);
    expect_dir_remove(b->dir);
    cm_free(&b);
}

/* The writer stays at the fault point until it is let go. */
static void hold(struct bench *b, const char *fault)
{
    expect_ok(cm_path_join(b->hold, b->dir, "hold"));
    expect_ok(cm_file_replace(b->hold, "", 0));
    assert_int_equal(setenv("FLYWHEEL_HOLD", b->hold, 1), 0);
    assert_int_equal(setenv("FLYWHEEL_INJECT", fault, 1), 0);
}

static void let_go(const struct bench *b)
{
    expect_ok(cm_dir_remove(b->hold));
}

static struct tr_saved await(struct bench *b)
{
    struct tr_saved saved;
    assert_true(tr_saver_wait(b->saver, cm_deadline_in_ms(LONG_MS), &saved));
    return saved;
}

static void hash_file(const struct bench *b, const char *version, const char *name,
                      char sha256[CM_SHA256_TEXT])
{
    char dir[CM_PATH], path[CM_PATH];
    expect_ok(cm_path_join(dir, b->session.store_dir, version));
    expect_ok(cm_path_join(path, dir, name));
    expect_ok(cm_sha256_file(sha256, path));
}

static void expect_same_file(const struct bench *b, const char *name)
{
    char first[CM_SHA256_TEXT], second[CM_SHA256_TEXT];
    hash_file(b, "v000001", name, first);
    hash_file(b, "v000002", name, second);
    assert_string_equal(first, second);
}

/* The steps go on at once, and do not reach the version. */
static void a_version_holds_the_state_of_its_moment(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    struct tr_publication by_hand;
    struct tr_publish what = version_of(b, 5);
    expect_ok(tr_publisher_commit(b->publisher, &what, &by_hand));

    hold(b, "store.tensors=hold");
    what = version_of(b, 5);
    tr_saver_begin(b->saver, &what);
    fill(b, 7);
    b->run.progress.step = 6;
    let_go(b);
    struct tr_saved saved = await(b);
    assert_int_equal(saved.st, CM_OK);
    assert_int_equal(saved.step, 5);
    assert_int_equal(saved.publication.version, 2);
    assert_string_equal(saved.publication.sha256, by_hand.sha256);
    expect_same_file(b, "model.safetensors");
    expect_same_file(b, "state.safetensors");
    expect_same_file(b, "golden.safetensors");
    close_bench(b);
}

static void metrics_and_progress_travel_with_it(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    struct ps_metric metrics[] = {{"holdout_accuracy", 0.25}};
    struct tr_publish what = version_of(b, 12);
    what.metrics = metrics;
    what.nmetrics = 1;
    what.parent = 3;
    b->run.progress.skip[0] = (struct tr_skip){4, 9};
    b->run.progress.nskips = 1;
    for (int i = 0; i < 70; i++)
        tr_losses_note(&b->run.progress.losses, 1.0 / (i + 3));
    tr_saver_begin(b->saver, &what);
    metrics[0].value = 0;
    assert_int_equal(await(b).st, CM_OK);

    struct ps_version *version;
    struct tr_progress was = b->run.progress;
    fill(b, 0);
    b->run.progress = (struct tr_progress){0};
    expect_ok(ps_version_open(&version, tr_publisher_store(b->publisher), 1));
    assert_true(ps_manifest_metric(ps_version_manifest(version), "holdout_accuracy") == 0.25);
    assert_int_equal(ps_version_manifest(version)->parent, 3);
    expect_ok(tr_checkpoint_get(version, &b->run.state));
    assert_int_equal(b->run.progress.step, 12);
    assert_int_equal(b->run.progress.nskips, 1);
    assert_int_equal(b->run.progress.skip[0].first, 4);
    assert_int_equal(b->run.progress.skip[0].last, 9);
    assert_true(tr_losses_limit(&b->run.progress.losses, 2, 1) ==
                tr_losses_limit(&was.losses, 2, 1));
    assert_true(b->run.state.weights[1] == 0.5f + 1e-3f);
    ps_version_close(&version);
    close_bench(b);
}

static void on_a_slow_disk_only_the_thread_waits(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    struct tr_saved saved;
    struct tr_publish what = version_of(b, 1);
    assert_false(tr_saver_busy(b->saver));
    assert_false(tr_saver_poll(b->saver, &saved));
    assert_false(tr_saver_wait(b->saver, cm_deadline_in_ms(LONG_MS), &saved)); /* nothing begun */
    hold(b, "store.manifest=hold");
    tr_saver_begin(b->saver, &what);
    assert_true(tr_saver_busy(b->saver));
    assert_false(tr_saver_poll(b->saver, &saved));
    assert_false(tr_saver_wait(b->saver, cm_deadline_in_ms(1), &saved));
    assert_true(tr_saver_busy(b->saver));
    let_go(b);
    while (!tr_saver_poll(b->saver, &saved))
        cm_sleep_us(1000);
    assert_int_equal(saved.st, CM_OK);
    assert_false(tr_saver_busy(b->saver));
    assert_false(tr_saver_poll(b->saver, &saved)); /* told once */
    close_bench(b);
}

static void a_full_disk_is_told_and_the_next_version_is_written(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    struct tr_publish what = version_of(b, 1);
    assert_int_equal(setenv("FLYWHEEL_INJECT", "store.manifest=enospc", 1), 0);
    tr_saver_begin(b->saver, &what);
    struct tr_saved saved = await(b);
    assert_int_equal(saved.st, CM_ENOSPC);
    assert_non_null(strstr(saved.error.text, "store.manifest"));
    what = version_of(b, 2);
    tr_saver_begin(b->saver, &what);
    saved = await(b);
    assert_int_equal(saved.st, CM_OK);
    assert_int_equal(saved.step, 2);
    assert_int_equal(saved.publication.version, 1);
    close_bench(b);
}

static void a_writer_that_was_fenced_off_learns_it(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    struct ps_lease *other;
    struct tr_publish what = version_of(b, 1);
    expect_ok(ps_lease_acquire(&other, b->dir, "", true));
    tr_saver_begin(b->saver, &what);
    assert_int_equal(await(b).st, CM_EFENCED);
    ps_lease_release(&other);
    close_bench(b);
}

/* Closing lets the version on its way finish. */
static void closing_leaves_a_whole_version(void **state)
{
    (void)state;
    struct bench *b = open_bench();
    struct ps_version *version;
    struct tr_publish what = version_of(b, 1);
    assert_int_equal(setenv("FLYWHEEL_INJECT", "store.manifest=delay:100", 1), 0);
    tr_saver_begin(b->saver, &what);
    tr_saver_close(&b->saver);
    expect_ok(ps_version_open_newest(&version, tr_publisher_store(b->publisher)));
    assert_int_equal(ps_version_manifest(version)->step, 1);
    ps_version_close(&version);
    close_bench(b);
}

int main(void)
{
    cm_log_set_level(CM_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_holds_the_state_of_its_moment),
        cmocka_unit_test(metrics_and_progress_travel_with_it),
        cmocka_unit_test(on_a_slow_disk_only_the_thread_waits),
        cmocka_unit_test(a_full_disk_is_told_and_the_next_version_is_written),
        cmocka_unit_test(a_writer_that_was_fenced_off_learns_it),
        cmocka_unit_test(closing_leaves_a_whole_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
