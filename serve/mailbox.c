#include "serve/mailbox.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

cm_status sv_mailbox_init(struct sv_mailbox *m)
{
    *m = (struct sv_mailbox){.open = true};
    m->tail = &m->head;
    m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->fd < 0) {
        m->tail = NULL;
        return CM_FAIL_ERRNO("eventfd");
    }
    pthread_mutex_init(&m->lock, NULL);
    return CM_OK;
}

void sv_mailbox_release(struct sv_mailbox *m)
{
    if (!m->tail)
        return;
    pthread_mutex_destroy(&m->lock);
    close(m->fd);
    *m = (struct sv_mailbox){0};
}

bool sv_mailbox_put(struct sv_mailbox *m, struct sv_letter *letter)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&m->lock);
    bool open = m->open, was_empty = !m->head;
    if (open) {
        letter->next = NULL;
        *m->tail = letter;
        m->tail = &letter->next;
    }
    pthread_mutex_unlock(&m->lock);
    /* A full counter is readable already. */
    if (open && was_empty && write(m->fd, &one, sizeof one) < 0)
        return true;
    return open;
}

struct sv_letter *sv_mailbox_take(struct sv_mailbox *m)
{
    uint64_t n;
    /* Emptied first: a letter that comes in between wakes once more for nothing, never too late. */
    if (read(m->fd, &n, sizeof n) < 0)
        n = 0;
    pthread_mutex_lock(&m->lock);
    struct sv_letter *head = m->head;
    m->head = NULL;
    m->tail = &m->head;
    pthread_mutex_unlock(&m->lock);
    return head;
}

void sv_mailbox_close(struct sv_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    m->open = false;
    pthread_mutex_unlock(&m->lock);
}
