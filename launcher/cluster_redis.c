/* The private Redis of a cluster: its address, its configuration, and that nobody else has the
 * address. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/mem.h"
#include "launcher/roles.h"

static cm_status parse_socket(struct la_redis_address *a, const char *text, const char *path)
{
    char cwd[CM_PATH] = "", full[CM_PATH];
    if (*path != '/' && !getcwd(cwd, sizeof cwd))
        return CM_FAIL_ERRNO("working directory");
    if (*path == '/')
        snprintf(full, sizeof full, "%s", path);
    else
        CM_TRY(cm_path_join(full, cwd, path));
    if (!*path || strlen(full) >= sizeof a->socket)
        return CM_FAIL(CM_ECONFIG,
                       "cluster.redis: '%s': a socket's absolute path has 1 to 107 bytes", text);
    memcpy(a->socket, full, strlen(full) + 1);
    return CM_OK;
}

cm_status la_redis_address_parse(struct la_redis_address *a, const char *text)
{
    *a = (struct la_redis_address){0};
    if (strncmp(text, "unix:", 5) == 0)
        return parse_socket(a, text, text + 5);
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    if (!colon || colon == text || *end || port < 1 || port > 65535 || strpbrk(text, " \t\r\n\"'"))
        return CM_FAIL(CM_ECONFIG, "cluster.redis: '%s' is neither host:port nor unix:PATH", text);
    snprintf(a->host, sizeof a->host, "%.*s", (int)(colon - text), text);
    a->port = (int)port;
    return CM_OK;
}

cm_status la_redis_conf(char **text, const struct la_redis_address *a, const char *dir)
{
    *text = NULL;
    if (strpbrk(dir, "\"\\\r\n") || strpbrk(a->socket, "\"\\\r\n"))
        return CM_FAIL(CM_ECONFIG, "%s: a path with quotes or line ends cannot go into redis.conf",
                       dir);
    size_t size = 2 * CM_PATH;
    char listen[2 * CM_CONFIG_STRING + 64];
    if (a->port)
        snprintf(listen, sizeof listen, "bind %s\nport %d\n", a->host, a->port);
    else
        snprintf(listen, sizeof listen, "port 0\nunixsocket \"%s\"\nunixsocketperm 700\n",
                 a->socket);
    CM_TRY(cm_alloc(text, size, 1, "redis.conf"));
    int n =
        snprintf(*text, size,
                 "# Written by 'flywheel up'; feedback survives a crash by the append-only file.\n"
                 "dir \"%s\"\n%s"
                 "appendonly yes\nappendfsync everysec\nsave \"\"\n"
                 "maxmemory-policy noeviction\nproto-max-bulk-len 8mb\ndaemonize no\n",
                 dir, listen);
    if (n < 0 || (size_t)n >= size) {
        cm_free(text);
        return CM_FAIL(CM_EINVAL, "%s: path too long for redis.conf", dir);
    }
    return CM_OK;
}

static cm_status check_socket(const struct la_redis_address *a, const char *text)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, a->socket, strlen(a->socket) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return CM_FAIL_ERRNO("socket");
    bool served = connect(fd, (const struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    if (served)
        return CM_FAIL(CM_EBUSY,
                       "cluster.redis: something already listens on %s; 'up' uses no Redis that it "
                       "did not start: end that one or choose another address",
                       text);
    return CM_OK;
}

cm_status la_redis_check_free(const struct la_redis_address *a, const char *text)
{
    if (!a->port)
        return check_socket(a, text);
    char port[16];
    snprintf(port, sizeof port, "%d", a->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int err = getaddrinfo(a->host, port, &hints, &found);
    if (err)
        return CM_FAIL(CM_ECONFIG, "cluster.redis: %s: %s", text, gai_strerror(err));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    int failed = fd < 0 ? errno : 0;
    if (!failed) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        failed = bind(fd, found->ai_addr, found->ai_addrlen) ? errno : 0;
        close(fd);
    }
    freeaddrinfo(found);
    if (failed == EADDRINUSE)
        return CM_FAIL(CM_EBUSY,
                       "cluster.redis: something already listens on %s; 'up' uses no Redis that it "
                       "did not start: end that one or choose another address",
                       text);
    errno = failed;
    return failed ? CM_FAIL_ERRNO("cluster.redis: %s", text) : CM_OK;
}
