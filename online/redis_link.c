#include "online/redis_link.h"

#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"

#define FIRST_MS       100
#define TELL_NS        60000000000 /* between two reminders */
#define PASSWORD_BYTES 4096

static cm_status read_password(char **out, const char *path)
{
    size_t n;
    *out = NULL;
    if (!*path)
        return CM_OK;
    CM_TRY(cm_file_read(out, &n, path, PASSWORD_BYTES));
    (*out)[strcspn(*out, "\r\n")] = '\0';
    return CM_OK;
}

cm_status ol_redis_open(struct cm_redis **out, const struct ol_config *cfg, const char *name)
{
    char *password;
    *out = NULL;
    CM_TRY(read_password(&password, cfg->redis_password_file));
    struct cm_redis_config redis = {.address = cfg->redis,
                                    .user = cfg->redis_user,
                                    .password = password,
                                    .timeout_ms = (int)cfg->redis_timeout_ms,
                                    .name = name};
    cm_status st = cm_redis_open(out, &redis);
    cm_free(&password);
    return st;
}

cm_status ol_link_open(struct ol_link *link, const struct ol_config *cfg, const char *name)
{
    *link = (struct ol_link){.retry_max_ms = cfg->retry_max_ms};
    return ol_redis_open(&link->redis, cfg, name);
}

void ol_link_close(struct ol_link *link)
{
    cm_redis_close(&link->redis);
}

int ol_link_wait_ms(const struct ol_link *link)
{
    if (link->failures == 0)
        return 0;
    return cm_deadline_left_ms((struct cm_deadline){link->retry_ns});
}

static bool heals(cm_status st)
{
    switch (st) {
    case CM_ECONNECT:
    case CM_ETIMEDOUT:
    case CM_ECLOSED:
    case CM_EBUSY:  /* loading, or a replica for now */
    case CM_ENOSPC: /* its memory, or its disk */
    case CM_EINVAL: /* a key of another type: a person may remove it */
    case CM_EIO:
        return true;
    default: /* not allowed, too old, another loop's, or no Redis at all: CM_EFORMAT */
        return false;
    }
}

/* Doubled with each failure, between half of it and all of it, so that many clients spread out. */
static int64_t pause_ms(const struct ol_link *link, int64_t now)
{
    int64_t ms = FIRST_MS << (link->failures < 16 ? link->failures : 16);
    if (ms > link->retry_max_ms)
        ms = link->retry_max_ms;
    uint32_t bits = cm_rng_u32((uint64_t)now, CM_RNG_BACKOFF, link->failures, 0, 0);
    return ms / 2 + (int64_t)cm_rng_below(bits, (uint32_t)(ms / 2 + 1));
}

cm_status ol_link_heed(struct ol_link *link, cm_status st, bool *up)
{
    int64_t now = cm_now_ns();
    *up = st == CM_OK;
    if (st == CM_OK) {
        if (link->failures)
            cm_log_info("Redis answers again after %.1f s", (double)(now - link->down_ns) * 1e-9);
        link->failures = 0;
        return CM_OK;
    }
    if (!heals(st))
        return st;
    if (link->failures == 0)
        link->down_ns = now;
    if (link->failures == 0 || now - link->told_ns > TELL_NS) {
        cm_log_warn("waiting for Redis: %s; nothing is lost meanwhile", cm_error_text());
        link->told_ns = now;
    }
    link->retry_ns = now + pause_ms(link, now) * 1000000;
    link->failures++;
    return CM_OK;
}
