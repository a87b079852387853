/* What Slurm's variables say, and whether it is enough. */
#include "launcher/slurm.h"

#include "tests/unit/expect.h"

static void test_slots(void **state)
{
    (void)state;
    assert_int_equal(la_slurm_slots("2"), 2);
    assert_int_equal(la_slurm_slots("2(x3),1"), 7);
    assert_int_equal(la_slurm_slots("1,2(x2),4"), 9);
    const char *bad[] = {"", "x", "0", "-1", "2(", "2(x", "2(x)", "2(x0)", "2(x3", "2;1", ",2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(la_slurm_slots(bad[i]), 0);
    assert_int_equal(la_slurm_slots(NULL), 0);
}

static char *small_job(const char *name)
{
    static struct {
        const char *name;
        char value[8];
    } all[] = {{"SLURM_JOB_ID", "12"},
               {"SLURM_TASKS_PER_NODE", "2"},
               {"SLURM_JOB_NUM_NODES", "1"},
               {"SLURM_STEP_NUM_TASKS", "2"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i].value;
    return NULL;
}

static char *no_job(const char *name)
{
    (void)name;
    return NULL;
}

static void test_room(void **state)
{
    (void)state;
    expect_ok(la_slurm_check_room(2, small_job));
    expect_ok(la_slurm_check_room(0, small_job));
    expect_fault(CM_ECONFIG, "Slurm job 12 has room for 2 tasks on 1 nodes",
                 la_slurm_check_room(4, small_job));
    expect_ok(la_slurm_check_room(4, no_job));
}

static void test_steps(void **state)
{
    (void)state;
    struct la_cluster c = {.nodes = 1, .ranks_per_node = 2};
    expect_ok(la_slurm_check_step(&c, small_job));
    c.ranks_per_node = 4;
    expect_fault(CM_ECONFIG, "asks for 1 nodes with 4 ranks each, but Slurm job 12 runs 2 ranks",
                 la_slurm_check_step(&c, small_job));
    expect_ok(la_slurm_check_step(&c, no_job));
    c = (struct la_cluster){.nodes = 2, .ranks_per_node = 1};
    expect_fault(CM_ECONFIG, "on 1 nodes", la_slurm_check_step(&c, small_job));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
