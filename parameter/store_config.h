/* Section "store" of the config: where versions go, when they are written and which stay. */
#ifndef PARAMETER_STORE_CONFIG_H
#define PARAMETER_STORE_CONFIG_H

#include <stdint.h>

#include "common/config.h"
#include "parameter/retention.h"

struct ps_config {
    char dir[CM_CONFIG_STRING]; /* relative to the run directory */
    int64_t every_epochs;       /* 0: off, as for the next two */
    int64_t every_steps;
    double every_minutes;
    double wait_seconds, finish_seconds; /* for the version before; for the last one */
    int64_t keep_last, keep_every, keep_best;
    char best_metric[CM_CONFIG_STRING];
    int best_order; /* enum ps_best_order */
    double trash_minutes;
};

enum ps_best_order { PS_BEST_HIGH, PS_BEST_LOW };

extern const struct cm_section ps_config_section;

struct ps_retention ps_config_retention(const struct ps_config *cfg);

#endif
