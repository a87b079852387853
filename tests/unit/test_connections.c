/* Who is one too many, and who is cut: after its time, not before, and never when it has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "common/connections.h"

#define LONG_NS INT64_C(3600000000000)

static int ends[3][2]; /* socket pairs: ours, the connection's */

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
    return 0;
}

static bool is_cut(int i)
{
    char byte;
    return recv(ends[i][0], &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_excess(void **state)
{
    struct cm_connections all;
    struct cm_connection *c[3];
    (void)state;
    cm_connections_init(&all, 2, LONG_NS, 0);
    for (int i = 0; i < 3; i++) {
        c[i] = cm_connections_add(&all, ends[i][1]);
        if (i < 2)
            cm_connections_set_due(&all, c[i], LONG_NS);
    }
    assert_false(cm_connections_is_excess(&all, c[0]) || cm_connections_is_excess(&all, c[1]));
    assert_true(cm_connections_is_excess(&all, c[2]));
    cm_connections_cut(&all); /* only the one in excess has no time at all */
    assert_true(!is_cut(0) && !is_cut(1) && is_cut(2));
    cm_connections_remove(&all, c[1]);
    assert_false(cm_connections_is_excess(&all, c[2])); /* there is a place now */
    cm_connections_remove(&all, c[0]);
    cm_connections_remove(&all, c[2]);
    assert_int_equal(all.n, 0);
    cm_connections_release(&all);
}

static void test_due(void **state)
{
    struct cm_connections all;
    struct cm_connection *c[3];
    (void)state;
    cm_connections_init(&all, 3, 0, 0);
    for (int i = 0; i < 3; i++)
        c[i] = cm_connections_add(&all, ends[i][1]);
    cm_connections_set_due(&all, c[0], INT64_MAX);
    cm_connections_set_due(&all, c[1], LONG_NS);
    cm_connections_remove(&all, c[2]); /* and its number may be another's by now */
    cm_connections_cut(&all);
    assert_false(is_cut(0) || is_cut(1) || is_cut(2));
    cm_connections_set_due(&all, c[0], 0);
    cm_connections_cut(&all);
    assert_true(is_cut(0));
    assert_false(is_cut(1));
    cm_connections_remove(&all, c[1]);
    cm_connections_remove(&all, c[0]);
    cm_connections_release(&all);
}

/* Who has a place and asks nothing gives it to one in excess, at once, and no more do than there
 * are of those. */
static void test_give_way(void **state)
{
    struct cm_connections all;
    struct cm_connection *c[3];
    (void)state;
    cm_connections_init(&all, 2, LONG_NS, 0);
    for (int i = 0; i < 3; i++)
        c[i] = cm_connections_add(&all, ends[i][1]);
    assert_int_equal(is_cut(0) + is_cut(1), 1);
    int left = is_cut(0);
    cm_connections_set_due(&all, c[2], LONG_NS); /* it has asked */
    cm_connections_cut(&all);
    assert_false(is_cut(left) || is_cut(2));
    cm_connections_remove(&all, c[!left]);
    cm_connections_cut(&all); /* nobody is in excess any more */
    assert_false(is_cut(left) || is_cut(2));
    cm_connections_remove(&all, c[left]);
    cm_connections_remove(&all, c[2]);
    assert_int_equal(all.ncut, 0);
    cm_connections_release(&all);
}

/* Who has asked keeps its place, and so does who asked a moment ago. */
static void test_keep_place(void **state)
{
    struct cm_connections all;
    struct cm_connection *c[3];
    (void)state;
    cm_connections_init(&all, 2, LONG_NS, LONG_NS);
    for (int i = 0; i < 3; i++)
        c[i] = cm_connections_add(&all, ends[i][1]);
    cm_connections_cut(&all);
    assert_false(is_cut(0) || is_cut(1) || is_cut(2));
    all.excess_idle_ns = 0;
    for (int i = 0; i < 3; i++)
        cm_connections_set_due(&all, c[i], LONG_NS);
    cm_connections_cut(&all);
    assert_false(is_cut(0) || is_cut(1) || is_cut(2));
    for (int i = 0; i < 3; i++)
        cm_connections_remove(&all, c[i]);
    cm_connections_release(&all);
}

/* One in excess that was answered may not stay as long as others; with a place of its own it may.
 */
static void test_idle(void **state)
{
    struct cm_connections all;
    struct cm_connection *c[3];
    (void)state;
    cm_connections_init(&all, 1, LONG_NS, 0);
    for (int i = 0; i < 3; i++) {
        c[i] = cm_connections_add(&all, ends[i][1]);
        cm_connections_set_due(&all, c[i], LONG_NS); /* until its request is there */
    }
    cm_connections_cut(&all);
    assert_false(is_cut(0) || is_cut(1) || is_cut(2));
    cm_connections_set_idle(&all, c[1]);
    cm_connections_cut(&all);
    assert_true(!is_cut(0) && is_cut(1) && !is_cut(2));
    cm_connections_remove(&all, c[0]);
    cm_connections_remove(&all, c[1]);
    cm_connections_set_idle(&all, c[2]);
    cm_connections_cut(&all);
    assert_false(is_cut(2));
    cm_connections_remove(&all, c[2]);
    cm_connections_release(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_excess, setup, teardown),
        cmocka_unit_test_setup_teardown(test_due, setup, teardown),
        cmocka_unit_test_setup_teardown(test_give_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
