/* The end of a thread that may hang, in MPI, in a GPU's driver or on a disk. */
#ifndef ALLREDUCE_JOIN_H
#define ALLREDUCE_JOIN_H

#include <pthread.h>
#include <stdbool.h>

/* True: it has ended and is joined. False: not within that time, which is the monotonic clock's, as
 * pthread_timedjoin_np's is not: it runs on, with all that it uses. */
bool ar_join(pthread_t thread, int timeout_ms);

#endif
