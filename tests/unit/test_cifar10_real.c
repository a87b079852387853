/* The published CIFAR-10 against the facts in the code. Needs CIFAR10_DIR. */
#include "common/log.h"
#include "tests/unit/expect.h"
#include "trainer/cifar10.h"

static void as_published(void **state)
{
    (void)state;
    static const int32_t first_labels[] = {6, 9, 9, 4, 1, 1, 2, 7, 8, 3};
    struct tr_dataset ds;
    int64_t count[10] = {0};

    expect_ok(tr_cifar10_read(&ds, &tr_cifar10_facts, getenv("CIFAR10_DIR")));
    assert_string_equal(ds.fingerprint, tr_cifar10_facts.fingerprint);
    assert_memory_equal(ds.labels, first_labels, sizeof first_labels);
    for (int64_t i = 0; i < ds.n_train; i++)
        count[ds.labels[i]]++;
    for (int c = 0; c < 10; c++)
        assert_int_equal(count[c], 5000);
    tr_dataset_release(&ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_published)};
    const char *dir = getenv("CIFAR10_DIR");

    if (!dir || !*dir) {
        puts("skipped: CIFAR10_DIR names no folder with the published files");
        return 77;
    }
    cm_log_set_level(CM_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
