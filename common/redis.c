/* hiredis behind common/redis.h. A context that failed once is useless to hiredis (its reconnect
 * forgets timeouts, keep-alive and login), so it is freed at the first fault and a fresh one is
 * made by the next command. Replies are handed out as a tree of cm_redis_value whose strings stay
 * in hiredis' own reply. */
#include "common/redis.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>

#include "common/mem.h"

#define CALL_ARGS 64
#define HOST      256

struct cm_redis {
    char *address, *user, *password, *name;
    int timeout_ms;
    redisContext *context; /* NULL: not connected */
    int context_timeout_ms;
    redisReply *reply; /* of the last command */
    struct cm_redis_value *values;
    size_t nvalues, capacity;
};

static void disconnect(struct cm_redis *r)
{
    if (r->context)
        redisFree(r->context);
    r->context = NULL;
}

static void drop_reply(struct cm_redis *r)
{
    if (r->reply)
        freeReplyObject(r->reply);
    r->reply = NULL;
}

static cm_status copy_text(char **out, const char *text)
{
    return cm_strdup(out, text ? text : "");
}

cm_status cm_redis_open(struct cm_redis **out, const struct cm_redis_config *cfg)
{
    struct cm_redis *r = NULL;
    cm_status st;

    *out = NULL;
    if (cfg->timeout_ms <= 0)
        return CM_FAIL(CM_EINVAL, "redis %s: a time-out of %d ms", cfg->address, cfg->timeout_ms);
    /* hiredis writes without MSG_NOSIGNAL: a server that went away would end the process. */
    signal(SIGPIPE, SIG_IGN);
    CM_TRY(cm_alloc(&r, 1, sizeof(*r), "redis connection"));
    r->timeout_ms = cfg->timeout_ms;
    CM_GOTO(st, copy_text(&r->address, cfg->address), out);
    CM_GOTO(st, copy_text(&r->user, cfg->user), out);
    CM_GOTO(st, copy_text(&r->password, cfg->password), out);
    CM_GOTO(st, copy_text(&r->name, cfg->name), out);
    *out = r;
    r = NULL;
out:
    cm_redis_close(&r);
    return st;
}

void cm_redis_close(struct cm_redis **r)
{
    struct cm_redis *self = *r;
    if (!self)
        return;
    drop_reply(self);
    disconnect(self);
    cm_free(&self->values);
    cm_free(&self->address);
    cm_free(&self->user);
    cm_free(&self->password);
    cm_free(&self->name);
    cm_free(r);
}

static struct timeval timeval_of_ms(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* hiredis' errno is still that of the call that failed. The context is gone afterwards. */
static cm_status fail_context(struct cm_redis *r)
{
    const redisContext *c = r->context;
    int code = errno;
    cm_status st = CM_EIO;

    switch (c->err) {
    case REDIS_ERR_IO:
        st = code == EAGAIN || code == EWOULDBLOCK || code == ETIMEDOUT ? CM_ETIMEDOUT : CM_ECLOSED;
        break;
    case REDIS_ERR_EOF:
        st = CM_ECLOSED;
        break;
    case REDIS_ERR_PROTOCOL:
        st = CM_EFORMAT;
        break;
    case REDIS_ERR_OOM:
        st = CM_ENOMEM;
        break;
    }
    st = CM_FAIL(st, "redis %s: %s (hiredis error %d)", r->address,
                 st == CM_ETIMEDOUT ? "no reply in time" : c->errstr, c->err);
    disconnect(r);
    return st;
}

static cm_status fail_reply(const struct cm_redis *r, const redisReply *error)
{
    static const struct {
        const char *prefix;
        cm_status st;
    } known[] = {
        {"OOM ", CM_ENOSPC},          {"MISCONF ", CM_ENOSPC},
        {"LOADING ", CM_EBUSY},       {"READONLY ", CM_EBUSY},
        {"MASTERDOWN ", CM_EBUSY},    {"NOPERM ", CM_EUNSUPPORTED},
        {"NOAUTH ", CM_EUNSUPPORTED}, {"WRONGPASS ", CM_EUNSUPPORTED},
        {"BUSY ", CM_EBUSY},          {"CLUSTERDOWN ", CM_EBUSY},
        {"TRYAGAIN ", CM_EBUSY},      {"ERR max number of clients", CM_EBUSY},
    };
    cm_status st = CM_EINVAL;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strncmp(error->str, known[i].prefix, strlen(known[i].prefix)) == 0)
            st = known[i].st;
    }
    return CM_FAIL(st, "redis %s: %s", r->address, error->str);
}

/* How many values a reply needs; an error inside an array (of EXEC) counts as the command's. */
static cm_status count_values(const struct cm_redis *r, const redisReply *reply, size_t *n)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return fail_reply(r, reply);
    ++*n;
    if (reply->type != REDIS_REPLY_ARRAY)
        return CM_OK;
    for (size_t i = 0; i < reply->elements; i++)
        CM_TRY(count_values(r, reply->element[i], n));
    return CM_OK;
}

/* Fills *v; the elements of an array lie side by side at r->values[r->nvalues]. hiredis ends
 * nesting at 8 levels. */
static void fill_value(struct cm_redis *r, struct cm_redis_value *v, const redisReply *reply)
{
    *v = (struct cm_redis_value){.type = CM_REDIS_NIL};
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        v->type = CM_REDIS_INT;
        v->integer = reply->integer;
        break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        v->type = CM_REDIS_STRING;
        v->string = reply->str;
        v->n = (size_t)reply->len;
        break;
    case REDIS_REPLY_ARRAY: {
        struct cm_redis_value *element = r->values + r->nvalues;
        v->type = CM_REDIS_ARRAY;
        v->n = reply->elements;
        v->element = element;
        r->nvalues += v->n;
        for (size_t i = 0; i < v->n; i++)
            fill_value(r, element + i, reply->element[i]);
        break;
    }
    }
}

static cm_status set_timeout(struct cm_redis *r, int64_t ms)
{
    if (r->context_timeout_ms == ms)
        return CM_OK;
    if (redisSetTimeout(r->context, timeval_of_ms(ms)) != REDIS_OK)
        return fail_context(r);
    r->context_timeout_ms = (int)ms;
    return CM_OK;
}

/* Sends one command and keeps its reply; leaves a broken context freed. */
static cm_status run(struct cm_redis *r, int argc, const char *const *argv, const size_t *argn,
                     int extra_ms)
{
    size_t n = 0;
    int64_t ms = (int64_t)r->timeout_ms + extra_ms;

    CM_TRY(set_timeout(r, ms < INT32_MAX ? ms : INT32_MAX));
    errno = 0;
    /* hiredis takes pointers to mutable pointers, and changes nothing. */
    const char **args;
    memcpy(&args, &argv, sizeof(args));
    r->reply = redisCommandArgv(r->context, argc, args, argn);
    if (!r->reply)
        return fail_context(r);
    CM_TRY(count_values(r, r->reply, &n));
    if (n > r->capacity) {
        CM_TRY(cm_realloc(&r->values, n, sizeof(*r->values), "redis reply"));
        r->capacity = n;
    }
    r->nvalues = 1;
    fill_value(r, r->values, r->reply);
    return CM_OK;
}

static cm_status run_words(struct cm_redis *r, int argc, const char *const *argv)
{
    size_t argn[4];
    for (int i = 0; i < argc; i++)
        argn[i] = strlen(argv[i]);
    cm_status st = run(r, argc, argv, argn, 0);
    drop_reply(r);
    return st;
}

static bool is_unix(const char *address)
{
    return strncmp(address, "unix:", 5) == 0;
}

/* hiredis cuts what is longer than a socket's name may be, and would ask for another one for ever.
 */
static cm_status check_unix(const char *address)
{
    size_t n = strlen(address + 5), most = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    if (n > 0 && n <= most)
        return CM_OK;
    return CM_FAIL(CM_EINVAL, "redis address '%s': a socket's path has 1 to %zu bytes", address,
                   most);
}

/* "host:port" or "[v6]:port". */
static cm_status parse_address(char host[HOST], int *port, const char *address)
{
    const char *colon = strrchr(address, ':');
    const char *first = address;
    char *end = NULL;
    long number = colon ? strtol(colon + 1, &end, 10) : 0;
    size_t n = colon ? (size_t)(colon - first) : 0;
    if (n >= 2 && first[0] == '[' && first[n - 1] == ']') {
        first++;
        n -= 2;
    }
    if (n == 0 || n >= HOST || *end || number < 1 || number > 65535)
        return CM_FAIL(CM_EINVAL, "redis address '%s': expected host:port or unix:/path", address);
    memcpy(host, first, n);
    host[n] = '\0';
    *port = (int)number;
    return CM_OK;
}

cm_status cm_redis_check_address(const char *address)
{
    char host[HOST];
    int port;
    return is_unix(address) ? check_unix(address) : parse_address(host, &port, address);
}

static cm_status dial(struct cm_redis *r)
{
    struct timeval timeout = timeval_of_ms(r->timeout_ms);
    if (is_unix(r->address)) {
        CM_TRY(check_unix(r->address));
        r->context = redisConnectUnixWithTimeout(r->address + 5, timeout);
        return CM_OK;
    }
    char host[HOST];
    int port;
    CM_TRY(parse_address(host, &port, r->address));
    r->context = redisConnectWithTimeout(host, port, timeout);
    if (r->context && !r->context->err)
        redisEnableKeepAlive(r->context);
    return CM_OK;
}

static cm_status log_in(struct cm_redis *r)
{
    if (r->user[0])
        CM_TRY(run_words(r, 3, (const char *[]){"AUTH", r->user, r->password}));
    else if (r->password[0])
        CM_TRY(run_words(r, 2, (const char *[]){"AUTH", r->password}));
    if (r->name[0])
        CM_TRY(run_words(r, 3, (const char *[]){"CLIENT", "SETNAME", r->name}));
    return CM_OK;
}

static cm_status connect_once(struct cm_redis *r)
{
    CM_TRY(dial(r));
    if (!r->context)
        return CM_FAIL(CM_ENOMEM, "redis %s: out of memory", r->address);
    if (r->context->err) {
        cm_status st = CM_FAIL(CM_ECONNECT, "redis %s: %s", r->address, r->context->errstr);
        disconnect(r);
        return st;
    }
    fcntl(r->context->fd, F_SETFD, FD_CLOEXEC);
    r->context_timeout_ms = -1;
    cm_status st = log_in(r);
    if (st != CM_OK)
        disconnect(r);
    return st;
}

/* Between commands the server has nothing to say: a readable socket is one that it closed (a
 * restart, its own idle time-out). Seen here, the command is not sent into the void and its fate is
 * never in doubt. */
static void drop_stale(struct cm_redis *r)
{
    if (!r->context)
        return;
    struct pollfd p = {.fd = r->context->fd, .events = POLLIN};
    if (poll(&p, 1, 0) != 0)
        disconnect(r);
}

cm_status cm_redis_command(struct cm_redis *r, const struct cm_redis_value **reply, int argc,
                           const char *const *argv, const size_t *argn, int extra_ms)
{
    *reply = NULL;
    drop_reply(r);
    drop_stale(r);
    if (!r->context)
        CM_TRY(connect_once(r));
    CM_TRY(run(r, argc, argv, argn, extra_ms));
    *reply = r->values;
    return CM_OK;
}

static cm_status send_all(struct cm_redis *r, const struct cm_redis_args *commands, size_t n)
{
    CM_TRY(set_timeout(r, r->timeout_ms));
    errno = 0;
    for (size_t i = 0; i < n; i++) {
        const char **args;
        memcpy(&args, &commands[i].argv, sizeof(args));
        if (redisAppendCommandArgv(r->context, commands[i].argc, args, commands[i].argn) !=
            REDIS_OK)
            return fail_context(r);
    }
    return CM_OK;
}

cm_status cm_redis_pipeline(struct cm_redis *r, const struct cm_redis_args *commands, size_t n,
                            size_t *done)
{
    *done = 0;
    drop_reply(r);
    drop_stale(r);
    if (!r->context)
        CM_TRY(connect_once(r));
    CM_TRY(send_all(r, commands, n));
    while (*done < n) {
        void *reply = NULL;
        size_t nvalues = 0;
        if (redisGetReply(r->context, &reply) != REDIS_OK)
            return fail_context(r);
        r->reply = reply;
        cm_status st = count_values(r, r->reply, &nvalues);
        drop_reply(r);
        if (st != CM_OK) {
            disconnect(r); /* with the replies that are still to come */
            return st;
        }
        ++*done;
    }
    return CM_OK;
}

cm_status cm_redis_call(struct cm_redis *r, const struct cm_redis_value **reply, ...)
{
    const char *argv[CALL_ARGS];
    size_t argn[CALL_ARGS];
    int argc = 0;
    const char *arg;
    va_list list;

    *reply = NULL;
    va_start(list, reply);
    while ((arg = va_arg(list, const char *)) != NULL && argc < CALL_ARGS) {
        argv[argc] = arg;
        argn[argc++] = strlen(arg);
    }
    va_end(list);
    if (arg)
        return CM_FAIL(CM_EINVAL, "redis %s: more than %d arguments", argv[0], CALL_ARGS);
    return cm_redis_command(r, reply, argc, argv, argn, 0);
}
