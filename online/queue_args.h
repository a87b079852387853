/* What the feedback commands share: which Redis, which run directory. */
#ifndef ONLINE_QUEUE_ARGS_H
#define ONLINE_QUEUE_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/args.h"
#include "common/file.h"
#include "common/redis.h"
#include "common/status.h"
#include "online/online_config.h"

struct ol_queue_args { /* put first in a command's own values */
    const char *config, *redis, *user, *password_file, *run_dir;
};
#define OL_QUEUE_OPTS(type, field)                                                                 \
    {"config",      'c',                                                                           \
     CM_OPT_STRING, offsetof(type, field.config),                                                  \
     "CONFIG",      "take Redis' address and login from its section online"},                      \
        {"redis",       0,                                                                         \
         CM_OPT_STRING, offsetof(type, field.redis),                                               \
         "ADDRESS",     "host:port or unix:/path ($FLYWHEEL_REDIS, or 127.0.0.1:6379)"},           \
        {"user", 0, CM_OPT_STRING, offsetof(type, field.user), "NAME", "Redis' ACL user"},         \
    {                                                                                              \
        "password-file", 0, CM_OPT_STRING, offsetof(type, field.password_file), "FILE",            \
            "its first line is the password"                                                       \
    }

/* The section online of the config, or its defaults, with the arguments over it. run_dir (may be
 * NULL): --run, or the config's; "" when there is neither. */
CM_MUST_CHECK
cm_status ol_queue_config(struct ol_config *cfg, char run_dir[CM_PATH],
                          const struct ol_queue_args *args);

#endif
