#include "online/online_config.h"

#include "common/redis.h"
#include "online/gate.h"
#include "parameter/alias.h"

#define AT(field) offsetof(struct ol_config, field)

static const char *const replays[] = {"balanced", "uniform", NULL};
static const char *const optimizers[] = {"sgd", "adam", "rmsprop", "adagrad", NULL};

static const struct cm_key keys[] = {
    {"redis", CM_KEY_STRING, AT(redis), "\"127.0.0.1:6379\"", 0, 0, NULL, NULL,
     "the feedback queue: host:port or unix:/path"},
    {"redis_user", CM_KEY_STRING, AT(redis_user), "\"\"", 0, 0, NULL, NULL,
     "ACL user; empty: Redis' default user"},
    {"redis_password_file", CM_KEY_STRING, AT(redis_password_file), "\"\"", 0, 0, NULL, NULL,
     "file whose first line is the password (a config is copied into every version, so it holds "
     "none); empty: no password"},
    {"redis_timeout_ms", CM_KEY_INT, AT(redis_timeout_ms), "2000", 10, 60000, NULL, "ms",
     "to connect and for a reply"},
    {"poll_ms", CM_KEY_INT, AT(poll_ms), "250", 1, 10000, NULL, "ms",
     "how long one wait for feedback lasts: how soon a signal is heeded"},
    {"scan_ms", CM_KEY_INT, AT(scan_ms), "2000", 1, 3600000, NULL, "ms",
     "between two looks for new operators and for a Redis that lost data"},
    {"retry_max_ms", CM_KEY_INT, AT(retry_max_ms), "5000", 1, 3600000, NULL, "ms",
     "longest wait before Redis is tried again"},
    {"entries", CM_KEY_INT, AT(entries), "256", 1, 65536, NULL, "entries",
     "a batch is closed when it has so many good entries"},
    {"max_wait_s", CM_KEY_FLOAT, AT(max_wait_s), "60", 0, 1e7, NULL, "s",
     "or so long after its first entry came, with min_entries or none; 0: only when it is full"},
    {"min_entries", CM_KEY_INT, AT(min_entries), "5", 1, 65536, NULL, "entries",
     "gate: fewer good entries make no champion and wait for others; 5 images of 5 put right "
     "show something at one-sided 95 %, 4 of 4 do not"},
    {"drain_wait_s", CM_KEY_FLOAT, AT(drain_wait_s), "60", 0, 1e7, NULL, "s",
     "with --drain: how long Redis may be away before the program gives up"},
    {"quota", CM_KEY_INT, AT(quota), "0", 0, 65536, NULL, "entries",
     "at most so many entries of one operator in a batch; 0: no limit"},
    {"max_image_kib", CM_KEY_INT, AT(max_image_kib), "8192", 1, 8192, NULL, "KiB",
     "larger encoded images are dead-lettered"},
    {"max_image_side", CM_KEY_INT, AT(max_image_side), "8192", 1, 65535, NULL, "pixels",
     "images wider or higher are dead-lettered before they are decoded"},
    {"dedup", CM_KEY_INT, AT(dedup), "65536", 1, 1 << 22, NULL, "entries",
     "an entry equal to one of the last so many, or delivered again, counts once"},
    {"epochs", CM_KEY_FLOAT, AT(epochs), "2", 0.01, 1000, NULL, "epochs",
     "passes over a batch of feedback"},
    {"batch", CM_KEY_INT, AT(batch), "128", 1, 1 << 20, NULL, "images",
     "images of a step, over all ranks, feedback and replay together"},
    {"replay_ratio", CM_KEY_FLOAT, AT(replay_ratio), "3", 0, 1000, NULL, NULL,
     "training images shown for each image of feedback; steps are filled up with more"},
    {"replay", CM_KEY_CHOICE, AT(replay), "\"balanced\"", 0, 0, replays, NULL,
     "how they are drawn: as many of each class, or as the training set has them"},
    {"optimizer", CM_KEY_CHOICE, AT(optimizer), "\"sgd\"", 0, 0, optimizers, NULL,
     "of the fine-tuning; it starts afresh with each batch"},
    {"lr", CM_KEY_FLOAT, AT(lr), "0.005", 0, 1e6, NULL, NULL, "learning rate, constant"},
    {"momentum", CM_KEY_FLOAT, AT(momentum), "0.9", 0, 0.999999, NULL, NULL, "0: none"},
    {"weight_decay", CM_KEY_FLOAT, AT(weight_decay), "0", 0, 1e6, NULL, NULL, "0: none"},
    {"clip_norm", CM_KEY_FLOAT, AT(clip_norm), "5", 0, 1e9, NULL, NULL,
     "longest gradient; 0: no limit"},
    {"margin", CM_KEY_FLOAT, AT(margin), "0.01", 0, 0.5, NULL, NULL,
     "gate: the candidate must be shown, at one-sided 95 %, to lose less accuracy than this on the "
     "holdout; 0: to be better"},
    {"recall_drop", CM_KEY_FLOAT, AT(recall_drop), "0.1", 0, 1, NULL, NULL,
     "gate: largest fall of any class's recall on the holdout, as far as it is shown"},
    {"recall_floor", CM_KEY_FLOAT, AT(recall_floor), "0", 0, 1, NULL, NULL,
     "gate: lowest recall of any class on the holdout, whatever the champion's is"},
    {"max_update", CM_KEY_FLOAT, AT(max_update), "0.25", 0, 1e9, NULL, NULL,
     "gate: largest |candidate - champion| / |champion| over all parameters"},
    {"min_gain", CM_KEY_FLOAT, AT(min_gain), "0", -1, 1, NULL, NULL,
     "gate: least gain of accuracy on the batch of feedback itself"},
    {"alias", CM_KEY_STRING, AT(alias), "\"champion\"", 0, 0, NULL, NULL,
     "what fine-tuning starts from and what a good candidate becomes"},
    {"drift_delta", CM_KEY_FLOAT, AT(drift_delta), "0.002", 1e-12, 0.5, NULL, NULL,
     "how unlikely by chance a rise of the served error rate must be to be called drift"},
    {"keep_states", CM_KEY_INT, AT(keep_states), "20", 1, 1000000, NULL, "states",
     "newest states that stay"},
    {"keep_logs", CM_KEY_INT, AT(keep_logs), "0", 0, 1000000000, NULL, "batches",
     "newest logged batches that stay, at least one for each state but the oldest; 0: all, so that "
     "any of them can be trained again"},
    {"keep_letters", CM_KEY_INT, AT(keep_letters), "10000", 1, 10000000, NULL, "entries",
     "dead letters that stay in Redis"},
    {"trim", CM_KEY_BOOL, AT(trim), "true", 0, 0, NULL, NULL,
     "remove entries from Redis once the state that accounts for them is durable"},
};

const struct cm_section ol_config_section = {
    .name = "online",
    .keys = keys,
    .nkeys = sizeof keys / sizeof *keys,
    .size = sizeof(struct ol_config),
};

cm_status ol_config_check(const struct ol_config *cfg, int64_t nholdout, int64_t shards)
{
    if (cm_redis_check_address(cfg->redis) != CM_OK)
        return CM_CONTEXT(CM_ECONFIG, "online.redis");
    if (ps_alias_check_name(cfg->alias) != CM_OK)
        return CM_CONTEXT(CM_ECONFIG, "online.alias");
    if (nholdout == 0)
        return CM_FAIL(CM_ECONFIG, "online needs data.holdout: the gate judges candidates by "
                                   "images that nobody was ever trained on");
    if (cfg->keep_logs && cfg->keep_logs < cfg->keep_states - 1)
        return CM_FAIL(CM_ECONFIG,
                       "online.keep_logs: %lld batches for %lld states (online.keep_states): from "
                       "an older state no way would lead forward, its batches are trimmed from "
                       "Redis; keep at least %lld, or 0 for all",
                       (long long)cfg->keep_logs, (long long)cfg->keep_states,
                       (long long)cfg->keep_states - 1);
    if (cfg->min_entries > cfg->entries || (cfg->quota && cfg->min_entries > cfg->quota))
        return CM_FAIL(
            CM_ECONFIG,
            "online.min_entries: %lld, but a batch is full with %lld (online.entries) and "
            "an operator gives it %lld (online.quota; 0: all)",
            (long long)cfg->min_entries, (long long)cfg->entries, (long long)cfg->quota);
    int64_t least = ol_gate_least_holdout(cfg->margin);
    if (nholdout < least)
        return CM_FAIL(CM_ECONFIG,
                       "data.holdout: %lld images cannot show that a candidate loses less than "
                       "online.margin %g, not even one that answers as the champion does: that "
                       "takes %lld, and %lld where 5 %% of the answers change; hold out more, or "
                       "widen the margin",
                       (long long)nholdout, cfg->margin, (long long)least,
                       (long long)ol_gate_fair_holdout(cfg->margin, OL_GATE_CHANGED));
    if (cfg->batch < shards)
        return CM_FAIL(CM_ECONFIG, "online.batch: %lld images for %lld shards (train.shards)",
                       (long long)cfg->batch, (long long)shards);
    return CM_OK;
}

struct tr_train_config ol_config_train(const struct ol_config *cfg,
                                       const struct tr_train_config *train, int64_t number)
{
    struct tr_train_config t = *train;
    t.seed = train->seed + number;
    t.batch = cfg->batch;
    t.epochs = cfg->epochs;
    t.drop_last = false; /* there is no smaller last batch: replay fills it up */
    t.reduction = 0;
    t.optimizer = cfg->optimizer;
    t.lr = cfg->lr;
    t.momentum = cfg->momentum;
    t.nesterov = train->nesterov && cfg->momentum > 0;
    t.weight_decay = cfg->weight_decay;
    t.clip_norm = cfg->clip_norm;
    t.l1 = 0;
    t.groups = NULL;
    t.schedule = TR_CONSTANT;
    t.warmup = 0;
    t.average_decay = 0;
    return t;
}
