/* Streams, events and graphs of a GPU that is the host, for driver_host.c. Nothing runs when it is
 * enqueued: only when somebody waits, and then in the worst order that events allow. Each wait
 * draws an order of the streams; the first of them goes on as long as it can, and the last is
 * starved until somebody waits for it. So work that no event holds back runs too early or too late
 * in one of the orders, and the numbers that it reads are wrong.
 *
 *   stream 0   a  record(e)  b ...           order 1, 0: nothing of stream 1 before record(e);
 *   stream 1   wait(e)  c  d ...             then c and d before b
 *
 * Functions return CUDA's codes. Any thread; one lock, so only one stream runs at a time. */
#ifndef TESTS_PARITY_HOST_STREAMS_H
#define TESTS_PARITY_HOST_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOST_NO_MEMORY 2
#define HOST_NOT_READY 600
#define HOST_BAD_CAPTURE                                                                           \
    900 /* the call is not allowed while this thread captures, or as it does                       \
         */

/* Of the host's clock that only goes forward, and whatever was skipped: work that is to look long.
 */
int64_t host_now_ns(void);
void host_skip_ms(int64_t ms);

/* Orders are a function of this and of the calls made since. */
void host_streams_seed(uint64_t seed);

int host_stream_open(void **out);
/* Runs what it was given to its end. */
int host_stream_close(void *stream);
int host_stream_idle(void *stream, bool *idle);
/* Runs everything: what memory's end waits for. */
void host_streams_drain(void);
/* This thread, any stream. */
bool host_is_capturing(void);

/* Work copies what it needs from args; false: not yet (a peer is missing), it is asked again. */
typedef bool (*host_work)(const void *args);
/* args is copied. */
int host_stream_put(void *stream, host_work work, const void *args, size_t nbytes);

int host_event_open(void **out);
int host_event_close(void *event);
int host_event_record(void *event, void *stream);
int host_event_wait(void *event, void *stream);
int host_event_happened(void *event, bool *happened);
/* By host_now_ns, when each was reached. */
int host_event_between(void *from, void *to, double *seconds);

/* As cudaStreamBeginCapture: streams join by waiting for an event of the capture, and must have
 * come back to the first one by its end. */
int host_capture_begin(void *stream);
int host_capture_end(void *stream, void **graph);
int host_graph_launch(void *graph, void *stream);
int host_graph_close(void *graph);

#endif
