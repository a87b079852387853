/* Section "store": the table is the parser, the check, the default and the help. */
#include "parameter/store_config.h"

static const char *const best_orders[] = {"high", "low", NULL};

#define AT(field) offsetof(struct ps_config, field)

static const struct cm_key keys[] = {
    {"dir", CM_KEY_STRING, AT(dir), "\"checkpoints\"", 0, 0, NULL, NULL,
     "folder of the versions, relative to the run directory"},
    {"every_epochs", CM_KEY_INT, AT(every_epochs), "1", 0, 1e6, NULL, "epochs",
     "write a version after so many epochs; 0: not by epochs"},
    {"every_steps", CM_KEY_INT, AT(every_steps), "0", 0, 1e12, NULL, "steps",
     "write a version after so many steps; 0: not by steps"},
    {"every_minutes", CM_KEY_FLOAT, AT(every_minutes), "0", 0, 1e6, NULL, "minutes",
     "write a version when the last one is so old; 0: not by time"},
    {"wait_seconds", CM_KEY_FLOAT, AT(wait_seconds), "5", 0, 3600, NULL, "seconds",
     "training stands still so long when a version is due and the one before is still being "
     "written; then the new one is left out (with train.on_spike \"rollback\" as finish_seconds)"},
    {"finish_seconds", CM_KEY_FLOAT, AT(finish_seconds), "600", 1, 1e6, NULL, "seconds",
     "the end of a run, and a preemption, wait so long for the last version to be written"},
    {"keep_last", CM_KEY_INT, AT(keep_last), "3", 1, 1e6, NULL, "versions",
     "the newest versions that stay"},
    {"keep_every", CM_KEY_INT, AT(keep_every), "0", 0, 1e9, NULL, "versions",
     "versions whose number is a multiple stay; 0: none"},
    {"keep_best", CM_KEY_INT, AT(keep_best), "1", 0, 1e6, NULL, "versions",
     "the best versions by best_metric that stay"},
    {"best_metric", CM_KEY_STRING, AT(best_metric), "\"holdout_accuracy\"", 0, 0, NULL, NULL,
     "metric of the manifest that keep_best ranks by"},
    {"best_order", CM_KEY_CHOICE, AT(best_order), "\"high\"", 0, 0, best_orders, NULL,
     "whether a high or a low best_metric is good"},
    {"trash_minutes", CM_KEY_FLOAT, AT(trash_minutes), "10", 0, 1e6, NULL, "minutes",
     "how long a removed version's files stay for readers that still have them open"},
};

const struct cm_section ps_config_section = {
    .name = "store",
    .keys = keys,
    .nkeys = sizeof keys / sizeof keys[0],
    .size = sizeof(struct ps_config),
};

struct ps_retention ps_config_retention(const struct ps_config *cfg)
{
    return (struct ps_retention){
        .keep_last = cfg->keep_last,
        .keep_every = cfg->keep_every,
        .keep_best = cfg->keep_best,
        .best_is_low = cfg->best_order == PS_BEST_LOW,
    };
}
