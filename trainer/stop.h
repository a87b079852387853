/* Being told to stop, by SIGUSR1, SIGTERM or SIGINT. The signals stay blocked, and so pending: the
 * kernel keeps the wish, no handler runs, and every thread can look. */
#ifndef TRAINER_STOP_H
#define TRAINER_STOP_H

#include <stdbool.h>

/* Before the first thread starts: threads inherit the mask, and a signal kills through any thread
 * that does not block it. */
void tr_stop_block(void);

/* Has one come since? Stays true. Always false where nothing was blocked. Any thread; a system
 * call. */
bool tr_stop_asked(void);

#endif
