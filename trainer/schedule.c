#include "trainer/schedule.h"

#include <math.h>

double tr_schedule_factor(const struct tr_train_config *cfg, int64_t step, int64_t total,
                          double steps_per_epoch)
{
    int64_t warmup = (int64_t)(cfg->warmup * steps_per_epoch);
    if (step < warmup)
        return cfg->warmup_from + (1 - cfg->warmup_from) * (double)step / (double)warmup;

    double epoch = (double)step / steps_per_epoch;
    double t = total > warmup ? (double)(step - warmup) / (double)(total - warmup) : 0;
    switch ((enum tr_schedule_kind)cfg->schedule) {
    case TR_STEP:
        return pow(cfg->gamma, floor(epoch / cfg->step_epochs));
    case TR_TIME:
        return 1 / (1 + cfg->time_decay * epoch);
    case TR_EXPONENTIAL:
        return pow(cfg->gamma, floor(epoch));
    case TR_COSINE:
        return cfg->final_factor + (1 - cfg->final_factor) * (1 + cos(acos(-1.0) * t)) / 2;
    case TR_LINEAR:
        return 1 - t * (1 - cfg->final_factor);
    case TR_CONSTANT:
    case TR_PLATEAU:
        break;
    }
    return 1;
}

void tr_plateau_init(struct tr_plateau *p)
{
    *p = (struct tr_plateau){.factor = 1, .best = (double)INFINITY};
}

void tr_plateau_observe(struct tr_plateau *p, const struct tr_train_config *cfg,
                        double holdout_loss)
{
    if (holdout_loss < p->best) {
        p->best = holdout_loss;
        p->bad = 0;
    } else if (++p->bad > cfg->patience) {
        p->factor *= cfg->gamma;
        p->bad = 0;
    }
}
