/* Hostfiles, and how many ranks fit on the hosts that answer. */
#include "launcher/hosts.h"

#include "common/mem.h"
#include "tests/unit/expect.h"

static void test_a_hostfile(void **state)
{
    (void)state;
    struct la_hosts h;
    expect_ok(
        la_hosts_parse(&h,
                       "# two nodes\n\nnode-1 slots=2\r\n  node-2\tslots = 4 max_slots=8 # big\n"
                       "node-3\nnode-3\nnode-4 max_slots=3\nnode-5 max-slots=9 slots=7",
                       "hosts"));
    assert_int_equal(h.n, 5);
    assert_string_equal(h.host[0].name, "node-1");
    const int64_t slots[] = {2, 4, 2, 1, 7};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(h.host[i].slots, slots[i]);
    char *list;
    h.host[1].gone = true;
    expect_ok(la_hosts_list(&list, &h));
    assert_string_equal(list, "node-1:2,node-3:2,node-4:1,node-5:7");
    cm_free(&list);
    la_hosts_release(&h);
    la_hosts_release(&h);
}

static void test_bad_hostfiles(void **state)
{
    (void)state;
    struct la_hosts h;
    expect_fault(CM_ECONFIG, "names no host", la_hosts_parse(&h, "", "hosts"));
    expect_fault(CM_ECONFIG, "names no host", la_hosts_parse(&h, " \n# nothing\n", "hosts"));
    const char *bad[] = {"a slots=",           "a slots=x",   "a slots=0", "a slots=-2",
                         "a slots=9999999999", "a,b slots=1", "a'b",       "a slots=2x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_fault(CM_ECONFIG, "hosts: line 1", la_hosts_parse(&h, bad[i], "hosts"));
        assert_null(h.host);
    }
    char longest[400];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    expect_fault(CM_ECONFIG, "line 1", la_hosts_parse(&h, longest, "hosts"));
}

static int64_t ranks_of(const struct la_hosts *h, int64_t wanted)
{
    int64_t ranks = 0;
    expect_ok(la_hosts_ranks(&ranks, h, wanted, "hosts"));
    return ranks;
}

static void test_ranks_that_fit(void **state)
{
    (void)state;
    struct la_host host[] = {{"a", 2, false}, {"b", 2, false}, {"c", 4, false}};
    struct la_hosts h = {host, 3};
    int64_t ranks;
    assert_int_equal(ranks_of(&h, 8), 8);
    expect_fault(CM_ECONFIG, "have 8 slots", la_hosts_ranks(&ranks, &h, 16, "hosts"));
    host[1].gone = true; /* 6 slots are left */
    assert_int_equal(ranks_of(&h, 8), 4);
    assert_int_equal(ranks_of(&h, 4), 4);
    assert_int_equal(ranks_of(&h, 5), 5);
    host[2].gone = true;
    assert_int_equal(ranks_of(&h, 8), 2);
    assert_int_equal(ranks_of(&h, 2), 2);
    host[0].slots = 3;
    assert_int_equal(ranks_of(&h, 8), 2);
    host[0].slots = 1;
    assert_int_equal(ranks_of(&h, 4), 1);
    host[0].gone = true;
    expect_fault(CM_ECONNECT, "none of the 3 hosts", la_hosts_ranks(&ranks, &h, 2, "hosts"));
}

/* Stands in for "mpirun" up to the hosts: `sh -c 'test "$2" != b' mpirun` is asked with "--host b".
 * Who answers has all the time it needs; who does not, very little. */
static void test_probes(void **state)
{
    (void)state;
    struct la_host host[] = {{"a", 2, false}, {"b", 2, false}, {"slow", 1, false}};
    struct la_hosts answering = {host, 2}, silent = {host + 2, 1};
    char *items[] = {(char[]){"sh"}, (char[]){"-c"},
                     (char[]){"test \"$2\" != slow || sleep 100; test \"$2\" != b"},
                     (char[]){"mpirun"}};
    struct la_argv mpirun = {0};
    la_argv_add_all(&mpirun, items, 4);
    expect_ok(la_hosts_probe(&answering, &mpirun, 60000));
    expect_ok(la_hosts_probe(&silent, &mpirun, 100));
    assert_false(host[0].gone);
    assert_true(host[1].gone);
    assert_true(host[2].gone);
    la_argv_release(&mpirun);
}

static void test_no_mpirun(void **state)
{
    (void)state;
    struct la_host host[] = {{"a", 2, false}};
    struct la_hosts h = {host, 1};
    struct la_argv mpirun = {0};
    la_argv_add(&mpirun, "/nonexistent/mpirun");
    expect_fault(CM_ENOTFOUND, "/nonexistent/mpirun", la_hosts_probe(&h, &mpirun, 2000));
    la_argv_release(&mpirun);
}

static void test_networks(void **state)
{
    (void)state;
    expect_ok(la_interface_check(""));
    expect_ok(la_interface_check("lo"));
    expect_ok(la_interface_check("127.0.0.0/8,lo"));
    expect_fault(CM_ECONFIG, "'nosuch0', only ", la_interface_check("lo,nosuch0"));
    expect_fault(CM_ECONFIG, "lo", la_interface_check("nosuch0"));
    expect_fault(CM_ECONFIG, "''", la_interface_check(",lo"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hostfile),     cmocka_unit_test(test_bad_hostfiles),
        cmocka_unit_test(test_ranks_that_fit), cmocka_unit_test(test_probes),
        cmocka_unit_test(test_no_mpirun),      cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
