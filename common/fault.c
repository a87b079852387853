/* Fault points for crash tests: FLYWHEEL_INJECT="store.rename=kill@2,file.write=enospc". */
#include "common/file.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

#define SPEC    512
#define RULES   16
#define HOLD_US 1000 /* between two looks */

enum action { ACT_KILL, ACT_STOP, ACT_ENOSPC, ACT_EIO, ACT_DELAY, ACT_HOLD };
static const char *const action_name[] = {"kill", "stop", "enospc", "eio", "delay", "hold"};

struct rule {
    char point[48];
    enum action action;
    long ms;           /* ACT_DELAY */
    long at, passages; /* acts when passages reaches at; 0: every time */
};

/* Counts passages for the process, so it has to be a global; it exists for tests, and without
 * FLYWHEEL_INJECT nothing here is touched. A new value of the variable starts new counts. */
static struct {
    pthread_mutex_t lock; /* guards the rest */
    char spec[SPEC];
    struct rule rule[RULES];
    size_t nrules;
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The number behind mark at *at, which moves past it; fallback when there is no mark, -1 when no
 * number of 1 or more follows it. */
static long number_after(const char **at, char mark, long fallback)
{
    if (**at != mark)
        return fallback;
    char *end;
    long v = strtol(*at + 1, &end, 10);
    *at = end;
    return v > 0 ? v : -1;
}

static bool find_action(enum action *action, const char *name)
{
    for (size_t i = 0; i < sizeof action_name / sizeof *action_name; i++) {
        if (strcmp(name, action_name[i]) == 0) {
            *action = (enum action)i;
            return true;
        }
    }
    return false;
}

static cm_status parse_rule(struct rule *rule, const char *text)
{
    char action[16];
    int read = 0;
    *rule = (struct rule){.at = -1};
    if (sscanf(text, "%47[^=]=%15[a-z]%n", rule->point, action, &read) == 2 &&
        find_action(&rule->action, action)) {
        const char *at = text + read;
        rule->ms = number_after(&at, ':', 0);
        rule->at = strcmp(at, "@*") == 0 ? 0 : number_after(&at, '@', 1);
        if (*at != '\0' && rule->at != 0)
            rule->at = -1;
    }
    if (rule->action == ACT_HOLD && !getenv("FLYWHEEL_HOLD"))
        return CM_FAIL(CM_EUSAGE, "FLYWHEEL_INJECT: '%s' wants a file in FLYWHEEL_HOLD", text);
    bool timed = rule->action == ACT_DELAY;
    if (rule->at < 0 || (timed ? rule->ms <= 0 : rule->ms != 0))
        return CM_FAIL(
            CM_EUSAGE,
            "FLYWHEEL_INJECT: '%s' is not POINT=kill|stop|enospc|eio|delay:MS|hold[@N|@*]", text);
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

static void hold(void)
{
    const char *path = getenv("FLYWHEEL_HOLD");
    while (path && cm_path_exists(path))
        cm_sleep_us(HOLD_US);
}

static cm_status act(const struct rule *rule, const char *point)
{
    switch (rule->action) {
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
    case ACT_DELAY:
        cm_sleep_us(1000 * (int64_t)rule->ms);
        return CM_OK;
    case ACT_HOLD:
        hold();
        return CM_OK;
    }
    return CM_OK;
}

cm_status cm_fault(const char *point)
{
    const char *spec = getenv("FLYWHEEL_INJECT");
    if (!spec || !*spec)
        return CM_OK;
    bool is_due = false;
    struct rule due = {0};
    pthread_mutex_lock(&faults.lock);
    cm_status st = strcmp(spec, faults.spec) == 0 ? CM_OK : parse_spec(spec);
    for (size_t i = 0; st == CM_OK && i < faults.nrules; i++) {
        struct rule *rule = &faults.rule[i];
        if (strcmp(rule->point, point) == 0 && (++rule->passages == rule->at || rule->at == 0)) {
            due = *rule;
            is_due = true;
        }
    }
    pthread_mutex_unlock(&faults.lock);
    return is_due ? act(&due, point) : st;
}
