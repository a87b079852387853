/* Synthetic images: the same for ever, and classes that can be told apart. */
#include "tests/unit/expect.h"
#include "trainer/synthetic.h"

static void repeatable(void **state)
{
    (void)state;
    struct tr_dataset a, b;

    expect_ok(tr_synthetic_open(&a, "synthetic:10:64:16x16x3", 1));
    expect_ok(tr_synthetic_open(&b, "synthetic:10:64:16x16x3", 1));
    assert_string_equal(a.fingerprint, b.fingerprint);
    assert_string_equal(a.fingerprint, "437300336ffbc76e");
    tr_dataset_release(&b);
    expect_ok(tr_synthetic_open(&b, "synthetic:10:64:16x16x3", 2));
    assert_string_not_equal(a.fingerprint, b.fingerprint);
    assert_int_equal(a.n_test, 16);
    assert_int_equal(a.labels[63], 3);
    tr_dataset_release(&a);
    tr_dataset_release(&b);
}

/* The nearest class mean of the training images finds the class of nearly every test image. */
static void learnable(void **state)
{
    (void)state;
    enum { CLASSES = 10, PIXELS = 8 * 8 };
    struct tr_dataset ds;
    double mean[CLASSES][PIXELS] = {{0}};
    int right = 0;

    expect_ok(tr_synthetic_open(&ds, "synthetic:10:400:8x8x1", 3));
    for (int64_t i = 0; i < 400; i++)
        for (int p = 0; p < PIXELS; p++)
            mean[ds.labels[i]][p] += tr_dataset_image(&ds, i)[p] / 40.0;
    for (int64_t i = 400; i < 500; i++) {
        int best = 0;
        double least = 1e300;
        for (int c = 0; c < CLASSES; c++) {
            double d = 0;
            for (int p = 0; p < PIXELS; p++)
                d += (mean[c][p] - tr_dataset_image(&ds, i)[p]) *
                     (mean[c][p] - tr_dataset_image(&ds, i)[p]);
            if (d < least) {
                least = d;
                best = c;
            }
        }
        right += best == ds.labels[i];
    }
    assert_in_range(right, 90, 100);
    tr_dataset_release(&ds);
}

static void bad_specs(void **state)
{
    (void)state;
    static const char *const bad[] = {"synthetic",
                                      "synthetic:",
                                      "synthetic:10:2000:32x32",
                                      "synthetic:10:2000:32x32x3x",
                                      "synthetic:10:2000:32x32x2",
                                      "synthetic:1:2000:32x32x3",
                                      "synthetic:10:9:32x32x3",
                                      "synthetic:10:2000:0x32x3",
                                      "synthetic:10:2000:32x2000x3",
                                      "synthetic:10:-5:32x32x3",
                                      "synthetic:1001:2000:32x32x3"};
    struct tr_dataset ds;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_fault(CM_ECONFIG, "synthetic:CLASSES:N:HxWxC", tr_synthetic_open(&ds, bad[i], 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeatable),
        cmocka_unit_test(learnable),
        cmocka_unit_test(bad_specs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
