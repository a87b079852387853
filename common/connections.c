#include "common/connections.h"

#include <sys/socket.h>

#include "common/clock.h"
#include "common/mem.h"

struct cm_connection {
    struct cm_connection *next, **at; /* at: the link that leads here */
    int fd;
    int64_t due_ns;   /* INT64_MAX: never, or cut already */
    int64_t since_ns; /* it waits for its next request; INT64_MAX: it has one, or was cut */
    bool excess, cut;
};

void cm_connections_init(struct cm_connections *all, int max, int64_t idle_ns,
                         int64_t excess_idle_ns)
{
    *all =
        (struct cm_connections){.max = max, .idle_ns = idle_ns, .excess_idle_ns = excess_idle_ns};
    pthread_mutex_init(&all->lock, NULL);
}

void cm_connections_release(struct cm_connections *all)
{
    pthread_mutex_destroy(&all->lock);
}

static int64_t later(int64_t ns)
{
    return ns == INT64_MAX ? ns : cm_now_ns() + ns;
}

/* With the lock. */
static bool is_excess(const struct cm_connections *all, struct cm_connection *c)
{
    return c->excess = c->excess && all->n > all->max;
}

/* With the lock. */
static void begin_idling(const struct cm_connections *all, struct cm_connection *c)
{
    c->due_ns = later(is_excess(all, c) ? all->excess_idle_ns : all->idle_ns);
    c->since_ns = cm_now_ns();
}

/* With the lock. */
static void cut(struct cm_connections *all, struct cm_connection *c)
{
    shutdown(c->fd, SHUT_RDWR);
    c->due_ns = c->since_ns = INT64_MAX;
    all->ncut += !c->cut;
    c->cut = true;
}

/* As many as are in excess, of those that have waited for their next request for as long as one in
 * excess may. With the lock. */
static void give_way(struct cm_connections *all)
{
    int64_t before_ns = cm_now_ns() - all->excess_idle_ns;
    for (struct cm_connection *c = all->first; c && all->n - all->ncut > all->max; c = c->next)
        if (!c->excess && c->since_ns <= before_ns)
            cut(all, c);
}

struct cm_connection *cm_connections_add(struct cm_connections *all, int fd)
{
    struct cm_connection *c;
    if (cm_alloc(&c, 1, sizeof(*c), "connection") != CM_OK)
        return NULL;
    c->fd = fd;
    pthread_mutex_lock(&all->lock);
    c->excess = ++all->n > all->max;
    give_way(all); /* this one may be gone, with a refusal, before cm_connections_cut looks */
    begin_idling(all, c);
    c->next = all->first;
    c->at = &all->first;
    if (c->next)
        c->next->at = &c->next;
    all->first = c;
    pthread_mutex_unlock(&all->lock);
    return c;
}

void cm_connections_remove(struct cm_connections *all, struct cm_connection *c)
{
    pthread_mutex_lock(&all->lock);
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    all->n--;
    all->ncut -= c->cut;
    pthread_mutex_unlock(&all->lock);
    cm_free(&c);
}

void cm_connections_set_due(struct cm_connections *all, struct cm_connection *c, int64_t ns)
{
    pthread_mutex_lock(&all->lock);
    c->due_ns = later(ns);
    c->since_ns = INT64_MAX;
    pthread_mutex_unlock(&all->lock);
}

void cm_connections_set_idle(struct cm_connections *all, struct cm_connection *c)
{
    pthread_mutex_lock(&all->lock);
    begin_idling(all, c);
    pthread_mutex_unlock(&all->lock);
}

bool cm_connections_is_excess(struct cm_connections *all, struct cm_connection *c)
{
    pthread_mutex_lock(&all->lock);
    bool excess = is_excess(all, c);
    pthread_mutex_unlock(&all->lock);
    return excess;
}

void cm_connections_cut(struct cm_connections *all)
{
    int64_t now_ns = cm_now_ns();
    pthread_mutex_lock(&all->lock);
    for (struct cm_connection *c = all->first; c; c = c->next)
        if (now_ns >= c->due_ns)
            cut(all, c);
    give_way(all);
    pthread_mutex_unlock(&all->lock);
}
