/* Letters of several threads arrive once each, in each one's order, and none after the box closed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>

#include "serve/mailbox.h"

#define SENDERS 4
#define LETTERS 2000
#define LONG_MS 60000

struct sender {
    struct sv_mailbox *box;
    struct sv_letter letters[LETTERS];
    pthread_t thread;
};

static bool is_readable(const struct sv_mailbox *m, int ms)
{
    struct pollfd p = {.fd = m->fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void test_order_and_end(void **state)
{
    struct sv_mailbox m;
    struct sv_letter a = {.kind = 1}, b = {.kind = 2}, c = {.kind = 3};
    (void)state;
    assert_int_equal(sv_mailbox_init(&m), CM_OK);
    assert_false(is_readable(&m, 0));
    assert_null(sv_mailbox_take(&m));
    assert_true(sv_mailbox_put(&m, &a));
    assert_true(sv_mailbox_put(&m, &b));
    assert_true(is_readable(&m, 0));
    assert_ptr_equal(sv_mailbox_take(&m), &a);
    assert_ptr_equal(a.next, &b);
    assert_null(b.next);
    assert_false(is_readable(&m, 0));
    assert_true(sv_mailbox_put(&m, &a));
    sv_mailbox_close(&m);
    assert_false(sv_mailbox_put(&m, &c));
    assert_ptr_equal(sv_mailbox_take(&m), &a); /* what was in it can still be taken */
    assert_null(a.next);
    sv_mailbox_release(&m);
    sv_mailbox_release(&m);
}

static void *send_all(void *ctx)
{
    struct sender *s = ctx;
    for (int i = 0; i < LETTERS; i++) {
        s->letters[i].kind = i;
        if (!sv_mailbox_put(s->box, &s->letters[i]))
            return s;
    }
    return NULL;
}

static void test_many_senders(void **state)
{
    static struct sender senders[SENDERS];
    struct sv_mailbox m;
    int next[SENDERS] = {0}, taken = 0;
    (void)state;
    assert_int_equal(sv_mailbox_init(&m), CM_OK);
    for (int k = 0; k < SENDERS; k++) {
        senders[k].box = &m;
        assert_int_equal(pthread_create(&senders[k].thread, NULL, send_all, &senders[k]), 0);
    }
    while (taken < SENDERS * LETTERS) {
        assert_true(is_readable(&m, LONG_MS)); /* or a letter would lie unseen */
        for (struct sv_letter *l = sv_mailbox_take(&m); l; l = l->next, taken++) {
            int k = 0;
            while (l < senders[k].letters || l >= senders[k].letters + LETTERS)
                k++;
            assert_int_equal(l->kind, next[k]++);
        }
    }
    for (int k = 0; k < SENDERS; k++) {
        void *failed;
        pthread_join(senders[k].thread, &failed);
        assert_null(failed);
    }
    sv_mailbox_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_end),
        cmocka_unit_test(test_many_senders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
