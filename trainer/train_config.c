#include "trainer/train_config.h"

#include "model/plan.h"

#define MODEL(field) offsetof(struct tr_model_config, field)
#define TRAIN(field) offsetof(struct tr_train_config, field)

static const char *const losses[] = {"cross-entropy", "mse", NULL};
static const char *const reductions[] = {"mean", "sum", NULL};
static const char *const optimizers[] = {"sgd", "adam", "rmsprop", "adagrad", "muon", NULL};
static const char *const decays[] = {"l2", "decoupled", NULL};
static const char *const schedules[] = {"constant", "step",   "time",    "exponential",
                                        "cosine",   "linear", "plateau", NULL};
static const char *const flips[] = {"none", "random", "alternate", NULL};
static const char *const on_spikes[] = {"stop", "rollback", NULL};
static const char *const pad_modes[] = {"zero", "reflect", NULL};

static const struct cm_key model_keys[] = {
    {"network", CM_KEY_STRING, MODEL(network), "\"zoo:speednet\"", 0, 0, NULL, NULL,
     "the network: zoo:NAME, or the path of a model.json"},
    {"device", CM_KEY_STRING, MODEL(device), "\"cpu\"", 0, 0, NULL, NULL,
     "what computes: cpu, cuda (a GPU for each rank of a host, in turn), cuda:N, auto (cuda where "
     "there is one), or ref, the slow oracle"},
    {"precision", CM_KEY_CHOICE, MODEL(precision), "\"auto\"", 0, 0, nn_precision_names, NULL,
     "of activations and products; auto takes bf16 where the CPU has it; weights are kept in fp32"},
    {"graphs", CM_KEY_BOOL, MODEL(graphs), "true", 0, 0, NULL, NULL,
     "on a GPU with one rank: a step is captured once and launched as one graph; false enqueues "
     "its kernels one by one, with the same bits"},
    {"ahead", CM_KEY_INT, MODEL(ahead), "2", 1, TR_AHEAD, NULL, "steps",
     "on a GPU, but with cuda+mpi: steps that are under way at once, so that the next is enqueued "
     "before one ends; 1 waits for each; the same bits"},
    {"engine_search_s", CM_KEY_INT, MODEL(engine_search_s), "20", 0, 3600, NULL, "s",
     "on a GPU with allreduce.order fast: how long a start may time the libraries' ways of each "
     "product for the fastest, which ~/.cache/flywheel keeps for later runs: other ways, other "
     "bits; "
     "0: their first way"},
};
const struct cm_section tr_model_section = {
    "model", model_keys, sizeof model_keys / sizeof *model_keys, sizeof(struct tr_model_config)};

static const struct cm_key train_keys[] = {
    {"seed", CM_KEY_INT, TRAIN(seed), "1", 0, 9007199254740991.0, NULL, NULL,
     "of weights, order, augmentation and dropout"},
    {"epochs", CM_KEY_FLOAT, TRAIN(epochs), "10", 0, 1e6, NULL, "epochs",
     "how long to train; may have a fraction"},
    {"batch", CM_KEY_INT, TRAIN(batch), "512", 1, 1 << 20, NULL, "images",
     "images of a step, over all ranks"},
    {"shards", CM_KEY_INT, TRAIN(shards), "8", 1, 1024, NULL, NULL,
     "virtual shards of a batch, a power of two: each has its own batch statistics, and ranks and "
     "threads are places where they run"},
    {"threads", CM_KEY_INT, TRAIN(threads), "0", 0, 1024, NULL, "threads",
     "lanes of a rank; 0: the cores of the host divided by its ranks, on a GPU 4 streams"},
    {"drop_last", CM_KEY_BOOL, TRAIN(drop_last), "false", 0, 0, NULL, NULL,
     "leave out an epoch's last, smaller batch"},
    {"loss", CM_KEY_CHOICE, TRAIN(loss), "\"cross-entropy\"", 0, 0, losses, NULL,
     "what is minimised"},
    {"reduction", CM_KEY_CHOICE, TRAIN(reduction), "\"mean\"", 0, 0, reductions, NULL,
     "of the loss over the batch: it scales the gradient"},
    {"label_smoothing", CM_KEY_FLOAT, TRAIN(label_smoothing), "0", 0, 0.999, NULL, NULL,
     "share of a label's weight spread over all classes"},
    {"optimizer", CM_KEY_CHOICE, TRAIN(optimizer), "\"sgd\"", 0, 0, optimizers, NULL,
     "how a gradient becomes a step; muon: by Muon for the convolutions that groups give to it, by "
     "sgd for all else"},
    {"lr", CM_KEY_FLOAT, TRAIN(lr), "0.1", 0, 1e6, NULL, NULL, "learning rate"},
    {"momentum", CM_KEY_FLOAT, TRAIN(momentum), "0.9", 0, 0.999999, NULL, NULL,
     "of sgd, rmsprop and muon; 0: none"},
    {"nesterov", CM_KEY_BOOL, TRAIN(nesterov), "false", 0, 0, NULL, NULL, "Nesterov's momentum"},
    {"beta1", CM_KEY_FLOAT, TRAIN(beta1), "0.9", 0, 0.999999, NULL, NULL, "adam"},
    {"beta2", CM_KEY_FLOAT, TRAIN(beta2), "0.999", 0, 0.99999999, NULL, NULL, "adam"},
    {"alpha", CM_KEY_FLOAT, TRAIN(alpha), "0.99", 0, 0.999999, NULL, NULL,
     "rmsprop: memory of the mean square"},
    {"eps", CM_KEY_FLOAT, TRAIN(eps), "1e-8", 0, 1, NULL, NULL, "adam, rmsprop, adagrad"},
    {"weight_decay", CM_KEY_FLOAT, TRAIN(weight_decay), "0", 0, 1e6, NULL, NULL,
     "pull of weights towards zero, as decay says"},
    {"l1", CM_KEY_FLOAT, TRAIN(l1), "0", 0, 1e6, NULL, NULL,
     "added to the gradient with the weight's sign"},
    {"decay", CM_KEY_CHOICE, TRAIN(decay), "\"l2\"", 0, 0, decays, NULL,
     "l2: weight_decay * weight joins the gradient; decoupled: lr * weight_decay * weight is "
     "subtracted"},
    {"clip_norm", CM_KEY_FLOAT, TRAIN(clip_norm), "0", 0, 1e9, NULL, NULL,
     "largest norm of the whole gradient; 0: any"},
    {"groups", CM_KEY_JSON, TRAIN(groups), "null", 0, 0, NULL, NULL,
     "settings for tensors by name: [{\"match\": \"norm*.bias\", \"lr_scale\": 64, "
     "\"weight_decay\": 0, \"momentum\": 0.8, \"until\": 3, \"fade\": true}, {\"match\": "
     "\"*.conv*.weight\", \"muon\": true}], first match wins"},
    {"schedule", CM_KEY_CHOICE, TRAIN(schedule), "\"constant\"", 0, 0, schedules, NULL,
     "how the learning rate goes"},
    {"warmup", CM_KEY_FLOAT, TRAIN(warmup), "0", 0, 1e6, NULL, "epochs",
     "linear rise at the start, before any schedule"},
    {"warmup_from", CM_KEY_FLOAT, TRAIN(warmup_from), "0", 0, 1, NULL, NULL,
     "factor at the first step of the warm-up"},
    {"final_factor", CM_KEY_FLOAT, TRAIN(final_factor), "0", 0, 1, NULL, NULL,
     "cosine and linear: factor at the end"},
    {"gamma", CM_KEY_FLOAT, TRAIN(gamma), "0.1", 0, 1, NULL, NULL,
     "step and plateau: factor of a fall; exponential: factor of an epoch"},
    {"step_epochs", CM_KEY_FLOAT, TRAIN(step_epochs), "30", 1e-6, 1e6, NULL, "epochs",
     "step: between falls"},
    {"time_decay", CM_KEY_FLOAT, TRAIN(time_decay), "0", 0, 1e6, NULL, "per epoch",
     "time: k in lr / (1 + k t)"},
    {"patience", CM_KEY_INT, TRAIN(patience), "3", 1, 1000, NULL, "evaluations",
     "plateau: without a better holdout loss before the rate falls"},
    {"average_decay", CM_KEY_FLOAT, TRAIN(average_decay), "0", 0, 0.999999, NULL, NULL,
     "look-ahead averaging per step (airbench: 0.95); 0: none"},
    {"average_every", CM_KEY_INT, TRAIN(average_every), "5", 1, 100000, NULL, "steps",
     "between two look-ahead averages"},
    {"flip", CM_KEY_CHOICE, TRAIN(flip), "\"none\"", 0, 0, flips, NULL,
     "mirror images: random each epoch, or alternating between epochs from a random start"},
    {"crop_pad", CM_KEY_INT, TRAIN(crop_pad), "0", 0, 127, NULL, "pixels",
     "random shift by up to this much"},
    {"pad_mode", CM_KEY_CHOICE, TRAIN(pad_mode), "\"zero\"", 0, 0, pad_modes, NULL,
     "what a shift brings in: black, or the mirrored border"},
    {"cutout", CM_KEY_INT, TRAIN(cutout), "0", 0, 255, NULL, "pixels",
     "side of a random square set to the mean; 0: none"},
    {"eval_epochs", CM_KEY_FLOAT, TRAIN(eval_epochs), "1", 0, 1e6, NULL, "epochs",
     "between evaluations; 0: only at the end"},
    {"eval_views", CM_KEY_BOOL, TRAIN(eval_views), "false", 0, 0, NULL, NULL,
     "at the end, also score the test images by the average over six views of each (mirrored, "
     "shifted by one pixel)"},
    {"early_stop", CM_KEY_INT, TRAIN(early_stop), "0", 0, 1000000, NULL, "evaluations",
     "without a better holdout accuracy before the run stops; 0: never"},
    {"on_spike", CM_KEY_CHOICE, TRAIN(on_spike), "\"stop\"", 0, 0, on_spikes, NULL,
     "after a loss or gradient that is not finite, or a spike: stop the run, or return to the last "
     "version of store.every_steps or every_epochs and leave out the steps since"},
    {"spike_mads", CM_KEY_FLOAT, TRAIN(spike_mads), "0", 0, 1e6, NULL, NULL,
     "a loss this many median deviations above the median of the last 64 steps is a spike (10 is "
     "far out); 0: only what is not finite"},
    {"audit_every", CM_KEY_INT, TRAIN(audit_every), "100", 0, 1e12, NULL, "steps",
     "between two comparisons of all ranks' weights, statistics and optimiser; also before every "
     "version; 0: never"},
};
const struct cm_section tr_train_section = {
    "train", train_keys, sizeof train_keys / sizeof *train_keys, sizeof(struct tr_train_config)};
