/* A letter box of one thread: any thread puts, the owner polls the descriptor and takes. It never
 * allocates: letters are links inside the caller's own structs. */
#ifndef SERVE_MAILBOX_H
#define SERVE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "common/status.h"

struct sv_letter {
    struct sv_letter *next;
    int kind; /* the owner's */
};

struct sv_mailbox {
    pthread_mutex_t lock; /* guards all but fd */
    struct sv_letter *head, **tail;
    bool open;
    int fd; /* readable while there are letters */
};

CM_MUST_CHECK
cm_status sv_mailbox_init(struct sv_mailbox *m);
void sv_mailbox_release(struct sv_mailbox *m); /* when nobody puts any more; zeroed is fine */
/* Any thread. False once closed: the letter stays the caller's. */
bool sv_mailbox_put(struct sv_mailbox *m, struct sv_letter *letter);
/* All letters, oldest first; NULL: none. */
struct sv_letter *sv_mailbox_take(struct sv_mailbox *m);
/* From now on put refuses; what is inside can still be taken. */
void sv_mailbox_close(struct sv_mailbox *m);

#endif
