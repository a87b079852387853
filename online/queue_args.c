#include "online/queue_args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cm_status set_text(char to[CM_CONFIG_STRING], const char *text, const char *what)
{
    if (!text)
        return CM_OK;
    if (strlen(text) >= CM_CONFIG_STRING)
        return CM_FAIL(CM_EUSAGE, "%s is longer than %d bytes", what, CM_CONFIG_STRING - 1);
    snprintf(to, CM_CONFIG_STRING, "%s", text);
    return CM_OK;
}

cm_status ol_queue_config(struct ol_config *cfg, char run_dir[CM_PATH],
                          const struct ol_queue_args *args)
{
    struct cm_config *config;
    const char *from_environment = args->config ? NULL : getenv("FLYWHEEL_REDIS");
    CM_TRY(cm_config_open(&config, args->config, NULL, 0));
    cm_status st = cm_config_read(config, &ol_config_section, cfg);
    if (st == CM_OK && run_dir) {
        run_dir[0] = '\0';
        if (args->config || args->run_dir)
            st = cm_config_run_dir(config, args->run_dir, run_dir);
    }
    cm_config_close(&config);
    CM_TRY(st);
    CM_TRY(set_text(cfg->redis, args->redis ? args->redis : from_environment, "--redis"));
    CM_TRY(set_text(cfg->redis_user, args->user, "--user"));
    return set_text(cfg->redis_password_file, args->password_file, "--password-file");
}
