#include "launcher/hosts.h"

#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "launcher/proc.h"
#include "launcher/restart.h"

/* ---- the file ---- */

static struct la_host *find_or_add(struct la_hosts *hosts, const char *name)
{
    for (size_t i = 0; i < hosts->n; i++)
        if (strcmp(hosts->host[i].name, name) == 0)
            return &hosts->host[i];
    if (hosts->n == LA_HOSTS_MAX)
        return NULL;
    struct la_host *host = &hosts->host[hosts->n++];
    snprintf(host->name, sizeof host->name, "%s", name);
    return host;
}

/* slots=N among the words behind the name; 1 when it is not there, 0 when it is no number. */
static int64_t slots_of(const char *words)
{
    const char *at = strstr(words, "slots");
    /* "max_slots" and "max-slots" say nothing of how many there are. */
    while (at && at > words && !strchr(" \t", at[-1]))
        at = strstr(at + 1, "slots");
    if (!at)
        return 1;
    at += strlen("slots");
    at += strspn(at, " \t=");
    char *end;
    long long n = strtoll(at, &end, 10);
    return end > at && n > 0 && n <= 100000 && strchr(" \t", *end) ? n : 0;
}

static cm_status parse_line(struct la_hosts *hosts, char *line, const char *what, int number)
{
    line[strcspn(line, "#\r")] = '\0';
    char *name = line + strspn(line, " \t");
    if (!*name)
        return CM_OK;
    size_t n = strcspn(name, " \t");
    const char *words = name[n] ? name + n + 1 : "";
    int64_t slots = slots_of(words);
    name[n] = '\0';
    if (n >= LA_HOST_NAME || strchr(name, ',') || strchr(name, '\'') || slots == 0)
        return CM_FAIL(CM_ECONFIG, "%s: line %d is not 'NAME [slots=N]'", what, number);
    struct la_host *host = find_or_add(hosts, name);
    if (!host)
        return CM_FAIL(CM_ECONFIG, "%s: more than %d hosts", what, LA_HOSTS_MAX);
    host->slots += slots;
    return CM_OK;
}

cm_status la_hosts_parse(struct la_hosts *out, const char *text, const char *what)
{
    *out = (struct la_hosts){0};
    char *copy = NULL, *line;
    cm_status st;
    CM_GOTO(st, cm_alloc(&out->host, LA_HOSTS_MAX, sizeof *out->host, "hosts"), out);
    CM_GOTO(st, cm_strdup(&copy, text), out);
    char *rest = copy;
    for (int number = 1; (line = strsep(&rest, "\n")); number++)
        CM_GOTO(st, parse_line(out, line, what, number), out);
    if (out->n == 0)
        st = CM_FAIL(CM_ECONFIG, "%s names no host", what);
out:
    cm_free(&copy);
    if (st != CM_OK)
        la_hosts_release(out);
    return st;
}

void la_hosts_release(struct la_hosts *hosts)
{
    cm_free(&hosts->host);
    hosts->n = 0;
}

/* ---- which answer ---- */

static cm_status start_probe(struct la_proc *p, const struct la_host *host,
                             const struct la_argv *mpirun)
{
    struct la_argv argv = {0};
    la_argv_add_all(&argv, mpirun->item, mpirun->n);
    la_argv_add(&argv, "--host");
    la_argv_add(&argv, host->name);
    la_argv_add(&argv, "-np");
    la_argv_add(&argv, "1");
    la_argv_add(&argv, "true");
    cm_status st = la_argv_end(&argv);
    struct la_command command = {.argv = argv.item, .log_path = "/dev/null", .keep_fd = -1};
    if (st == CM_OK)
        st = la_proc_start(p, &command);
    la_argv_release(&argv);
    return st;
}

/* Until all have ended or the deadline has passed. A killed one ends as well. */
static void await_probes(struct la_hosts *hosts, struct la_proc *probes, struct pollfd *fds,
                         int64_t timeout_ms)
{
    struct cm_deadline deadline = cm_deadline_in_ms(timeout_ms);
    size_t left = hosts->n;
    while (left > 0) {
        bool late = cm_deadline_passed(deadline);
        left = 0;
        for (size_t i = 0; i < hosts->n; i++) {
            int status = 0;
            fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
            if (probes[i].guardian == 0)
                continue;
            if (la_proc_ended(&probes[i], &status, NULL, 0)) {
                hosts->host[i].gone = la_exit_code(status) != 0;
                continue;
            }
            if (late)
                la_proc_kill(&probes[i]);
            fds[i].fd = probes[i].lifeline;
            left++;
        }
        if (left > 0)
            (void)poll(fds, hosts->n, late ? -1 : cm_deadline_left_ms(deadline));
        if (late)
            deadline = cm_deadline_in_ms(-1);
    }
}

cm_status la_hosts_probe(struct la_hosts *hosts, const struct la_argv *mpirun, int64_t timeout_ms)
{
    struct la_proc *probes = NULL;
    struct pollfd *fds = NULL;
    cm_status st;
    CM_GOTO(st, cm_alloc(&probes, hosts->n, sizeof *probes, "probes of hosts"), out);
    CM_GOTO(st, cm_alloc(&fds, hosts->n, sizeof *fds, "probes of hosts"), out);
    for (size_t i = 0; i < hosts->n && st == CM_OK; i++)
        st = start_probe(&probes[i], &hosts->host[i], mpirun);
    await_probes(hosts, probes, fds, st == CM_OK ? timeout_ms : 0);
    for (size_t i = 0; i < hosts->n && st == CM_OK; i++)
        if (hosts->host[i].gone)
            cm_log_warn("host %s does not answer: '%s --host %s -np 1 true' failed or took more "
                        "than %lld ms",
                        hosts->host[i].name, mpirun->item[0], hosts->host[i].name,
                        (long long)timeout_ms);
out:
    cm_free(&probes);
    cm_free(&fds);
    return st;
}

/* ---- how many fit ---- */

cm_status la_hosts_ranks(int64_t *ranks, const struct la_hosts *hosts, int64_t wanted,
                         const char *what)
{
    int64_t all = 0, slots = 0;
    for (size_t i = 0; i < hosts->n; i++) {
        all += hosts->host[i].slots;
        slots += hosts->host[i].gone ? 0 : hosts->host[i].slots;
    }
    if (all < wanted)
        return CM_FAIL(CM_ECONFIG,
                       "%lld ranks, but the hosts of %s have %lld slots: add hosts or slots, or "
                       "ask for fewer --ranks",
                       (long long)wanted, what, (long long)all);
    if (slots == 0)
        return CM_FAIL(CM_ECONNECT, "none of the %zu hosts of %s answers", hosts->n, what);
    *ranks = wanted;
    if (slots >= wanted)
        return CM_OK;
    for (*ranks = 1; 2 * *ranks <= slots;)
        *ranks *= 2;
    return CM_OK;
}

cm_status la_hosts_list(char **list, const struct la_hosts *hosts)
{
    size_t room = hosts->n * (LA_HOST_NAME + 24), n = 0;
    CM_TRY(cm_alloc(list, room, 1, "list of hosts"));
    for (size_t i = 0; i < hosts->n; i++)
        if (!hosts->host[i].gone)
            n += (size_t)snprintf(*list + n, room - n, "%s%s:%lld", n ? "," : "",
                                  hosts->host[i].name, (long long)hosts->host[i].slots);
    return CM_OK;
}

/* ---- networks ---- */

/* "lo, eth0" */
static void list_networks(char *text, size_t size)
{
    size_t n = 0;
    struct if_nameindex *all = if_nameindex();
    text[0] = '\0';
    for (const struct if_nameindex *i = all; i && i->if_name && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i == all ? "" : ", ", i->if_name);
    if (all)
        if_freenameindex(all);
}

cm_status la_interface_check(const char *interface)
{
    for (const char *at = interface; *at;) {
        char name[LA_HOST_NAME], networks[512];
        size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        if (!strchr(name, '/') && !if_nametoindex(name)) {
            list_networks(networks, sizeof networks);
            return CM_FAIL(CM_ECONFIG, "cluster.interface: this host has no network '%s', only %s",
                           name, networks);
        }
        at += n + (at[n] == ',');
    }
    return CM_OK;
}
