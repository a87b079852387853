/* The published Fashion-MNIST against the facts in the code. Needs Debian's dataset-fashion-mnist.
 */
#include "common/file.h"
#include "common/log.h"
#include "tests/unit/expect.h"
#include "trainer/idx.h"

static void as_published(void **state)
{
    (void)state;
    struct tr_dataset ds;

    expect_ok(tr_idx_open(&ds, &tr_fashion_mnist_facts, "/nonexistent"));
    assert_int_equal(ds.labels[0], 9);
    assert_string_equal(tr_dataset_class(&ds, 9), "ankle boot");
    assert_string_equal(ds.fingerprint, "c2ba12e3bd95227f");
    tr_dataset_release(&ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_published)};

    if (!cm_path_is_dir(tr_fashion_mnist_facts.folder)) {
        puts("skipped: the package dataset-fashion-mnist is not installed");
        return 77;
    }
    cm_log_set_level(CM_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
