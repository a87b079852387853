/* Fault points for crash tests: FLYWHEEL_INJECT="store.rename=kill@2,file.write=enospc". */
#include "common/file.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPEC  512
#define RULES 16

enum action { ACT_KILL, ACT_STOP, ACT_ENOSPC, ACT_EIO };
static const char *const action_name[] = {"kill", "stop", "enospc", "eio"};

struct rule {
    char point[48];
    enum action action;
    long at, passages; /* acts when passages reaches at */
};

/* Counts passages for the process, so it has to be a global; it exists for tests, and without
 * FLYWHEEL_INJECT nothing here is touched. A new value of the variable starts new counts. */
static struct {
    pthread_mutex_t lock; /* guards the rest */
    char spec[SPEC];
    struct rule rule[RULES];
    size_t nrules;
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER};

static cm_status parse_rule(struct rule *rule, const char *text)
{
    char point[sizeof rule->point], action[16];
    long at = 1;
    int read = 0;
    int n = sscanf(text, "%47[^=]=%15[a-z]%n", point, action, &read);
    if (n == 2 && text[read] == '@') {
        char *end;
        at = strtol(text + read + 1, &end, 10);
        read = (int)(end - text);
    }
    bool known = false;
    for (size_t i = 0; i < sizeof action_name / sizeof *action_name && n == 2; i++) {
        if (strcmp(action, action_name[i]) == 0) {
            rule->action = (enum action)i;
            known = true;
        }
    }
    if (!known || text[read] != '\0' || at < 1)
        return CM_FAIL(CM_EUSAGE, "FLYWHEEL_INJECT: '%s' is not POINT=kill|stop|enospc|eio[@N]",
                       text);
    memcpy(rule->point, point, sizeof point);
    rule->at = at;
    rule->passages = 0;
    return CM_OK;
}

static cm_status parse_spec(const char *spec)
{
    if (strlen(spec) >= SPEC)
        return CM_FAIL(CM_EUSAGE, "FLYWHEEL_INJECT: longer than %d bytes", SPEC - 1);
    faults.nrules = 0;
    faults.spec[0] = '\0';
    char copy[SPEC], *rest = copy;
    memcpy(copy, spec, strlen(spec) + 1);
    for (char *text; (text = strsep(&rest, ","));) {
        if (faults.nrules == RULES)
            return CM_FAIL(CM_EUSAGE, "FLYWHEEL_INJECT: more than %d points", RULES);
        CM_TRY(parse_rule(&faults.rule[faults.nrules], text));
        faults.nrules++;
    }
    memcpy(faults.spec, spec, strlen(spec) + 1); /* last: a bad text is told at every point */
    return CM_OK;
}

static cm_status act(enum action action, const char *point)
{
    switch (action) {
    case ACT_KILL:
        kill(getpid(), SIGKILL);
        return CM_OK;
    case ACT_STOP:
        kill(getpid(), SIGSTOP);
        return CM_OK;
    case ACT_ENOSPC:
        return CM_FAIL(CM_ENOSPC, "injected at %s: no space left", point);
    case ACT_EIO:
        return CM_FAIL(CM_EIO, "injected at %s: input/output error", point);
    }
    return CM_OK;
}

cm_status cm_fault(const char *point)
{
    const char *spec = getenv("FLYWHEEL_INJECT");
    if (!spec || !*spec)
        return CM_OK;
    const struct rule *due = NULL;
    pthread_mutex_lock(&faults.lock);
    cm_status st = strcmp(spec, faults.spec) == 0 ? CM_OK : parse_spec(spec);
    for (size_t i = 0; st == CM_OK && i < faults.nrules; i++) {
        struct rule *rule = &faults.rule[i];
        if (strcmp(rule->point, point) == 0 && ++rule->passages == rule->at)
            due = rule;
    }
    enum action action = due ? due->action : ACT_KILL;
    pthread_mutex_unlock(&faults.lock);
    if (st == CM_OK && due)
        st = act(action, point);
    return st;
}
