#include "tests/parity/host_streams.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/rng.h"

enum { MOST_STREAMS = 64 };

struct event {
    uint64_t recorded, happened; /* tickets: of the newest record, of the newest that ran */
    int64_t happened_ns;
    uint64_t capture;            /* that recorded it last; 0: none did */
    uint64_t mark;               /* of that record in its graph */
    uint64_t seen[MOST_STREAMS]; /* work of each stream in front of it, in the capture */
};

struct call {
    enum { WORK, RECORD, WAIT, GRAPH } what;
    host_work work;
    void *args; /* its own copy */
    struct event *event;
    const struct graph *graph;
    uint64_t ticket; /* of the event; in a graph: its mark */
};

struct queue {
    struct call *call;
    size_t first, n, room; /* call[first … n - 1] are still to be run */
};

struct stream {
    struct queue queue;
    int number;
    struct graph *capture;       /* that it is in; NULL: none */
    uint64_t seen[MOST_STREAMS]; /* as an event's; its own: all so far */
};

struct graph {
    struct queue queue[MOST_STREAMS]; /* by the streams' numbers */
    uint64_t nmarks;
    bool *happened; /* by mark, while it runs */
    /* while it is captured */
    uint64_t number;
    const struct stream *origin;
    pthread_t thread;
};

/* The one GPU that the host is. */
static struct {
    pthread_mutex_t lock; /* of all here, and of what streams run */
    struct stream *streams[MOST_STREAMS];
    uint64_t seed, draws, ncaptures;
    _Atomic int64_t skipped_ns; /* of its clock; by itself */
} host = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* By this thread. */
static bool is_capturing(void)
{
    for (int i = 0; i < MOST_STREAMS; i++)
        if (host.streams[i] && host.streams[i]->capture &&
            pthread_equal(host.streams[i]->capture->thread, pthread_self()))
            return true;
    return false;
}

void host_streams_seed(uint64_t value)
{
    pthread_mutex_lock(&host.lock);
    host.seed = value;
    host.draws = 0;
    pthread_mutex_unlock(&host.lock);
}

/* ---- queues ---- */

static bool is_empty(const struct queue *q)
{
    return q->first == q->n;
}

static int push(struct queue *q, const struct call *call)
{
    if (q->n == q->room) {
        size_t room = q->room ? 2 * q->room : 64;
        struct call *more = realloc(q->call, room * sizeof *more);
        if (!more)
            return HOST_NO_MEMORY;
        q->call = more;
        q->room = room;
    }
    q->call[q->n++] = *call;
    return 0;
}

static void pop(struct queue *q)
{
    free(q->call[q->first++].args);
    if (is_empty(q))
        q->first = q->n = 0;
}

static void release(struct queue *q)
{
    while (!is_empty(q))
        pop(q);
    free(q->call);
    *q = (struct queue){0};
}

/* ---- running ---- */

static bool run_graph(const struct graph *graph);

int64_t host_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec + atomic_load(&host.skipped_ns);
}

void host_skip_ms(int64_t ms)
{
    atomic_fetch_add(&host.skipped_ns, ms * 1000000);
}

/* happened: of the graph that the call is in; NULL: it is none's. */
static bool try_call(const struct call *c, bool *happened)
{
    switch (c->what) {
    case WORK:
        return c->work(c->args);
    case RECORD:
        if (happened)
            happened[c->ticket] = true;
        else if (c->event->happened < c->ticket) { /* an older record may come late */
            c->event->happened = c->ticket;
            c->event->happened_ns = host_now_ns();
        }
        return true;
    case WAIT:
        return happened ? happened[c->ticket] : c->event->happened >= c->ticket;
    case GRAPH:
        return run_graph(c->graph);
    }
    return false;
}

/* A stream's place in an order; the largest goes first. */
static uint32_t place_of(uint64_t order, int stream)
{
    return cm_rng_u32(host.seed, CM_RNG_SYNTHETIC, (uint32_t)(order >> 32), (uint32_t)order,
                      (uint32_t)stream);
}

/* Numbers of the queues that hold something, in a new order. */
static int draw_order(const struct queue *const queues[MOST_STREAMS], int number[MOST_STREAMS])
{
    int n = 0;
    uint64_t order = host.draws++;
    for (int i = 0; i < MOST_STREAMS; i++) {
        if (!queues[i] || is_empty(queues[i]))
            continue;
        int at = n++;
        for (; at > 0 && place_of(order, number[at - 1]) < place_of(order, i); at--)
            number[at] = number[at - 1];
        number[at] = i;
    }
    return n;
}

/* All of a graph's streams in an order of their own, one call at a time. A graph has no calls that
 * wait for peers, and its events cannot lie in a circle. */
static bool run_graph(const struct graph *graph)
{
    const struct queue *queues[MOST_STREAMS];
    int number[MOST_STREAMS];
    size_t at[MOST_STREAMS] = {0};
    for (int i = 0; i < MOST_STREAMS; i++)
        queues[i] = &graph->queue[i];
    int n = draw_order(queues, number);
    memset(graph->happened, 0, (size_t)graph->nmarks * sizeof *graph->happened);
    for (int i = 0; i < n; i++) {
        const struct queue *q = &graph->queue[number[i]];
        if (at[number[i]] == q->n || !try_call(&q->call[at[number[i]]], graph->happened))
            continue;
        at[number[i]]++;
        i = -1; /* again from the first in the order */
    }
    return true;
}

/* Of all streams the first in the order that can go on makes one call. false: none can. */
static bool run_one(const int *number, int n)
{
    for (int i = 0; i < n; i++) {
        struct queue *q = &host.streams[number[i]]->queue;
        if (is_empty(q) || !try_call(&q->call[q->first], NULL))
            continue;
        pop(q);
        return true;
    }
    return false;
}

/* Until the stream (NULL: every one) is empty, or the event has happened, or nothing can go on. */
static void run_until(const struct stream *s, const struct event *e)
{
    const struct queue *queues[MOST_STREAMS] = {NULL};
    int number[MOST_STREAMS];
    for (int i = 0; i < MOST_STREAMS; i++)
        queues[i] = host.streams[i] ? &host.streams[i]->queue : NULL;
    int n = draw_order(queues, number);
    while (s ? !is_empty(&s->queue) : !e || e->happened < e->recorded)
        if (!run_one(number, n))
            return;
}

void host_streams_drain(void)
{
    pthread_mutex_lock(&host.lock);
    run_until(NULL, NULL);
    pthread_mutex_unlock(&host.lock);
}

/* ---- streams ---- */

static int add_stream(struct stream *s)
{
    for (s->number = 0; s->number < MOST_STREAMS; s->number++)
        if (!host.streams[s->number]) {
            host.streams[s->number] = s;
            return 0;
        }
    return HOST_NO_MEMORY;
}

int host_stream_open(void **out)
{
    struct stream *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return HOST_NO_MEMORY;
    pthread_mutex_lock(&host.lock);
    int code = add_stream(s);
    pthread_mutex_unlock(&host.lock);
    if (code)
        free(s);
    else
        *out = s;
    return code;
}

int host_stream_close(void *stream)
{
    struct stream *s = stream;
    pthread_mutex_lock(&host.lock);
    run_until(s, NULL);
    host.streams[s->number] = NULL;
    release(&s->queue);
    pthread_mutex_unlock(&host.lock);
    free(s);
    return 0;
}

int host_stream_idle(void *stream, bool *idle)
{
    const struct stream *s = stream;
    pthread_mutex_lock(&host.lock);
    int code = is_capturing() ? HOST_BAD_CAPTURE : 0;
    if (code == 0)
        run_until(s, NULL);
    *idle = is_empty(&s->queue);
    pthread_mutex_unlock(&host.lock);
    return code;
}

bool host_is_capturing(void)
{
    pthread_mutex_lock(&host.lock);
    bool yes = is_capturing();
    pthread_mutex_unlock(&host.lock);
    return yes;
}

static int enqueue(struct stream *s, const struct call *call)
{
    s->seen[s->number] += call->what == WORK || call->what == GRAPH;
    return push(s->capture ? &s->capture->queue[s->number] : &s->queue, call);
}

int host_stream_put(void *stream, host_work work, const void *args, size_t nbytes)
{
    struct call call = {.what = WORK, .work = work, .args = malloc(nbytes ? nbytes : 1)};
    if (!call.args)
        return HOST_NO_MEMORY;
    memcpy(call.args, args, nbytes);
    pthread_mutex_lock(&host.lock);
    int code = enqueue(stream, &call);
    pthread_mutex_unlock(&host.lock);
    if (code)
        free(call.args);
    return code;
}

/* ---- events ---- */

int host_event_open(void **out)
{
    *out = calloc(1, sizeof(struct event));
    return *out ? 0 : HOST_NO_MEMORY;
}

int host_event_close(void *event)
{
    host_streams_drain(); /* calls may still name it */
    free(event);
    return 0;
}

int host_event_record(void *event, void *stream)
{
    struct event *e = event;
    struct stream *s = stream;
    pthread_mutex_lock(&host.lock);
    struct call call = {.what = RECORD, .event = e};
    e->capture = s->capture ? s->capture->number : 0;
    if (s->capture) {
        call.ticket = e->mark = s->capture->nmarks++;
        memcpy(e->seen, s->seen, sizeof e->seen);
    } else {
        call.ticket = ++e->recorded;
    }
    int code = enqueue(s, &call);
    pthread_mutex_unlock(&host.lock);
    return code;
}

static struct graph *capture_of(const struct event *e)
{
    for (int i = 0; i < MOST_STREAMS && e->capture; i++)
        if (host.streams[i] && host.streams[i]->capture &&
            host.streams[i]->capture->number == e->capture)
            return host.streams[i]->capture;
    return NULL;
}

static int join(struct stream *s, const struct event *e, struct graph *capture)
{
    if (!s->capture)
        memset(s->seen, 0, sizeof s->seen);
    for (int i = 0; i < MOST_STREAMS; i++)
        if (e->seen[i] > s->seen[i] && i != s->number)
            s->seen[i] = e->seen[i];
    s->capture = capture;
    return enqueue(s, &(struct call){.what = WAIT, .ticket = e->mark});
}

int host_event_wait(void *event, void *stream)
{
    struct event *e = event;
    struct stream *s = stream;
    int code = HOST_BAD_CAPTURE; /* an event of another capture, or in one an event of none */
    pthread_mutex_lock(&host.lock);
    struct graph *capture = capture_of(e);
    if (capture && (!s->capture || s->capture == capture))
        code = join(s, e, capture);
    else if (e->capture == 0 && !s->capture)
        code = enqueue(s, &(struct call){.what = WAIT, .event = e, .ticket = e->recorded});
    pthread_mutex_unlock(&host.lock);
    return code;
}

int host_event_happened(void *event, bool *happened)
{
    struct event *e = event;
    pthread_mutex_lock(&host.lock);
    int code = is_capturing() || e->capture ? HOST_BAD_CAPTURE : 0;
    if (code == 0)
        run_until(NULL, e);
    *happened = e->happened == e->recorded;
    pthread_mutex_unlock(&host.lock);
    return code;
}

int host_event_between(void *from, void *to, double *seconds)
{
    const struct event *a = from, *b = to;
    pthread_mutex_lock(&host.lock);
    bool both = a->happened > 0 && a->happened == a->recorded && b->happened > 0 &&
                b->happened == b->recorded;
    *seconds = (double)(b->happened_ns - a->happened_ns) * 1e-9;
    pthread_mutex_unlock(&host.lock);
    return both ? 0 : HOST_NOT_READY;
}

/* ---- graphs ---- */

int host_capture_begin(void *stream)
{
    struct stream *s = stream;
    struct graph *graph = calloc(1, sizeof *graph);
    if (!graph)
        return HOST_NO_MEMORY;
    pthread_mutex_lock(&host.lock);
    int code = s->capture ? HOST_BAD_CAPTURE : 0;
    if (code == 0) {
        graph->number = ++host.ncaptures;
        graph->origin = s;
        graph->thread = pthread_self();
        memset(s->seen, 0, sizeof s->seen);
        s->capture = graph;
    }
    pthread_mutex_unlock(&host.lock);
    if (code)
        free(graph);
    return code;
}

static void free_graph(struct graph *graph)
{
    for (int i = 0; i < MOST_STREAMS; i++)
        release(&graph->queue[i]);
    free(graph->happened);
    free(graph);
}

/* Whether the first stream has waited for all that the others did; they leave the capture. */
static bool end_capture(const struct graph *graph)
{
    bool joined = true;
    for (int i = 0; i < MOST_STREAMS; i++)
        if (host.streams[i] && host.streams[i]->capture == graph) {
            joined = joined && host.streams[i]->seen[i] <= graph->origin->seen[i];
            host.streams[i]->capture = NULL;
        }
    return joined;
}

int host_capture_end(void *stream, void **graph)
{
    const struct stream *s = stream;
    int code = HOST_BAD_CAPTURE;
    *graph = NULL;
    pthread_mutex_lock(&host.lock);
    struct graph *drawn = s->capture && s->capture->origin == s ? s->capture : NULL;
    if (drawn && end_capture(drawn))
        code = 0;
    pthread_mutex_unlock(&host.lock);
    if (code == 0) {
        drawn->happened = calloc(drawn->nmarks + 1, sizeof *drawn->happened);
        code = drawn->happened ? 0 : HOST_NO_MEMORY;
    }
    if (code && drawn)
        free_graph(drawn);
    else
        *graph = drawn;
    return code;
}

int host_graph_launch(void *graph, void *stream)
{
    pthread_mutex_lock(&host.lock);
    int code = enqueue(stream, &(struct call){.what = GRAPH, .graph = graph});
    pthread_mutex_unlock(&host.lock);
    return code;
}

int host_graph_close(void *graph)
{
    host_streams_drain();
    free_graph(graph);
    return 0;
}
