#include "trainer/session.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/backend.h"
#include "parameter/agree.h"
#include "trainer/device_sum.h"
#include "trainer/fingerprint.h"
#include "trainer/rank_device.h"
#include "trainer/sum_cost.h"

const struct cm_section *const tr_session_sections[] = {&tr_model_section,  &tr_data_section,
                                                        &tr_train_section,  &ar_config_section,
                                                        &ps_config_section, NULL};
#define NSECTIONS (sizeof tr_session_sections / sizeof *tr_session_sections - 1)

#define EVAL_STREAMS 4 /* on a device: a chunk alone fills no large GPU */

/* ---- the config ---- */

static cm_status read_sections(struct tr_session *s, const struct tr_session_options *options)
{
    if (options->more)
        CM_TRY(cm_config_read(s->config, options->more, options->more_values));
    CM_TRY(cm_config_read(s->config, &tr_model_section, &s->model));
    CM_TRY(cm_config_read(s->config, &tr_data_section, &s->data_config));
    CM_TRY(cm_config_read(s->config, &tr_train_section, &s->train));
    CM_TRY(cm_config_read(s->config, &ar_config_section, &s->allreduce));
    return cm_config_read(s->config, &ps_config_section, &s->store);
}

/* What needs two keys to be judged. */
static cm_status check_together(const struct tr_session *s)
{
    const struct tr_train_config *train = &s->train;
    const char *name = cm_config_name(s->config);
    CM_TRY(tr_rank_device_check(s->model.device));
    if (train->early_stop > 0 && s->data_config.holdout == 0)
        return CM_FAIL(CM_ECONFIG,
                       "%s: train.early_stop needs data.holdout: the test set is only reported, "
                       "never used to decide",
                       name);
    if (train->schedule == TR_PLATEAU && s->data_config.holdout == 0)
        return CM_FAIL(CM_ECONFIG, "%s: train.schedule \"plateau\" needs data.holdout", name);
    if (train->nesterov && train->momentum <= 0)
        return CM_FAIL(CM_ECONFIG, "%s: train.nesterov needs train.momentum above 0", name);
    return CM_OK;
}

static cm_status write_config_text(struct tr_session *s, const struct tr_session_options *options)
{
    struct cm_jw w = {.indent = 2};
    cm_jw_begin(&w, NULL, '{');
    cm_jw_i64(&w, "schema", 1);
    cm_config_write(&w, &tr_model_section, &s->model);
    cm_config_write(&w, &tr_data_section, &s->data_config);
    cm_config_write(&w, &tr_train_section, &s->train);
    cm_config_write(&w, &ar_config_section, &s->allreduce);
    cm_config_write(&w, &ps_config_section, &s->store);
    if (options->more)
        cm_config_write(&w, options->more, options->more_values);
    cm_jw_end(&w);
    size_t n;
    return cm_jw_take(&w, &s->config_text, &n);
}

static cm_status read_config(struct tr_session *s, const struct tr_session_options *options)
{
    CM_TRY(cm_config_open(&s->config, options->config_path, options->sets, options->nsets));
    CM_TRY(read_sections(s, options));
    CM_TRY(check_together(s));
    CM_TRY(cm_config_run_dir(s->config, options->run_dir, s->run_dir));
    CM_TRY(cm_path_join(s->store_dir, s->run_dir, s->store.dir));
    return write_config_text(s, options);
}

cm_status tr_session_check(const struct tr_session_options *options)
{
    struct tr_session s = {0};
    const struct cm_section *sections[NSECTIONS + 1];
    size_t n = 0;
    for (; n < NSECTIONS; n++)
        sections[n] = tr_session_sections[n];
    if (options->more)
        sections[n++] = options->more;
    cm_status st = read_config(&s, options);
    if (st == CM_OK)
        st = cm_config_print(s.config, sections, n);
    tr_session_release(&s);
    return st;
}

/* ---- life ---- */

/* Ranks that differ in build, config, machine or data will do so at the next start. */
static cm_status unfit_if_differing(cm_status st)
{
    return st == CM_EMISMATCH ? CM_EUNFIT : st;
}

cm_status tr_session_open(struct tr_session *s, const struct tr_session_options *options)
{
    *s = (struct tr_session){0};
    cm_status st = read_config(s, options);
    st = st == CM_OK ? ar_group_open(&s->group, &s->allreduce) : ar_group_decline(st);
    st = unfit_if_differing(st);
    if (st != CM_OK) {
        tr_session_release(s);
        return st;
    }
    if (ar_group_size(s->group) > 1) {
        cm_log_set_rank(ar_group_rank(s->group));
        if (ar_group_rank(s->group) > 0 && cm_log_get_level() == CM_LOG_INFO)
            cm_log_set_level(CM_LOG_WARN);
    }
    return CM_OK;
}

static cm_status load_network(struct tr_session *s, struct nn_spec *spec)
{
    s->spec = spec;
    cm_status st = s->spec ? CM_OK : nn_spec_load(&s->spec, s->model.network);
    if (st == CM_ENOTFOUND || st == CM_EFORMAT)
        return CM_CONTEXT(CM_ECONFIG, "model.network");
    CM_TRY(st);
    return nn_layout_open(&s->layout, s->spec);
}

static cm_status load_data(struct tr_session *s)
{
    cm_status st = tr_data_open(&s->data, &s->data_config, s->spec);
    if (st == CM_ENOTFOUND || st == CM_EMISMATCH) /* not there; of other classes */
        return CM_CONTEXT(CM_ECONFIG, "data.dataset");
    CM_TRY(st);
    const char **names;
    int n = s->data.set.nclasses;
    CM_TRY(cm_alloc(&names, (size_t)n, sizeof *names, "class names"));
    for (int c = 0; c < n; c++)
        names[c] = tr_dataset_class(&s->data.set, c);
    st = nn_spec_set_classes(s->spec, names, n);
    cm_free(&names);
    return st;
}

/* Rank 0 first: what it unpacks, the others find. */
static cm_status load_in_turn(struct tr_session *s, struct nn_spec *spec)
{
    bool root = ar_group_rank(s->group) == 0;
    cm_status st = load_network(s, spec);
    if (st == CM_OK && root)
        st = load_data(s);
    CM_TRY(ar_group_agree(s->group, st, "loading network and data"));
    return ar_group_agree(s->group, root ? CM_OK : load_data(s), "loading data");
}

/* Names, shapes and order of the parameters, as one text. */
static cm_status shapes_text(char **text, const struct nn_layout *layout)
{
    struct ps_tensors set = {0};
    cm_status st = CM_OK;
    for (size_t t = 0; t < layout->ntensors && st == CM_OK; t++)
        st = ps_tensors_append(&set, layout->tensors[t].name, PS_F32, layout->tensors[t].ndim,
                               layout->tensors[t].dim, NULL);
    size_t n;
    if (st == CM_OK)
        st = ps_agree_text(text, &n, &set);
    ps_tensors_release(&set);
    return st;
}

static cm_status agree_on_all(struct tr_session *s)
{
    char *shapes = NULL;
    CM_TRY(ar_group_agree(s->group, shapes_text(&shapes, s->layout), "listing parameters"));
    cm_status st = ar_group_same(s->group, "config", s->config_text,
                                 "give all ranks the same file and the same --set");
    if (st == CM_OK)
        st = ar_group_same(s->group, "fingerprint", s->fingerprint,
                           "their bits would differ: use one build, on hosts of one kind");
    if (st == CM_OK)
        st = ar_group_same(s->group, "data", s->data.set.fingerprint,
                           "give all hosts the same files ('flywheel data verify' checks them)");
    if (st == CM_OK)
        st = ar_group_same(s->group, "parameters", shapes, "give all hosts the same model.network");
    cm_free(&shapes);
    return st;
}

cm_status tr_session_load(struct tr_session *s, struct nn_spec *spec)
{
    CM_TRY(load_in_turn(s, spec));
    CM_TRY(tr_rank_device_open(&s->device, &s->model, &s->allreduce, s->group));
    const struct nn_backend *backend = tr_session_backend(s);
    enum nn_dtype dtype = nn_precision_dtype((enum nn_precision)s->model.precision, backend);
    if (dtype == NN_F32 && s->model.precision != NN_PRECISION_FP32)
        cm_log_info("no native %s on this machine: computing in fp32",
                    s->model.precision == NN_PRECISION_FP16 ? "fp16" : "bf16");
    cm_status st = tr_fingerprint(&s->fingerprint, backend, dtype);
    if (st == CM_OK && s->device)
        st = tr_fingerprint_device(&s->fingerprint, s->device);
    if (st == CM_OK && s->allreduce.transport == AR_TRANSPORT_NCCL &&
        s->allreduce.order == AR_ORDER_FAST)
        st = tr_fingerprint_sums(&s->fingerprint, s->device);
    CM_TRY(ar_group_agree(s->group, st, "taking the fingerprint"));
    return unfit_if_differing(agree_on_all(s));
}

cm_status tr_session_meet(struct tr_session *s)
{
    size_t n = s->layout->ntotal;
    if (!s->device || ar_group_size(s->group) == 1)
        return CM_OK;
    if (s->allreduce.transport == AR_TRANSPORT_NCCL) {
        CM_TRY(tr_device_sum_open(&s->sum, s->device, s->group, &s->allreduce, n));
        s->bucket = tr_device_sum_bucket(s->sum);
        return CM_OK;
    }
    return tr_sum_cost_staged(&s->bucket, n, s->device, s->group, &s->allreduce);
}

void tr_session_release(struct tr_session *s)
{
    tr_device_sum_close(&s->sum);
    tr_data_release(&s->data);
    nn_device_close(&s->device);
    nn_layout_close(&s->layout);
    nn_spec_close(&s->spec);
    ar_group_close(&s->group);
    cm_free(&s->config_text);
    cm_free(&s->fingerprint);
    cm_config_close(&s->config);
}

void tr_session_fail(const struct tr_session *s, cm_status st, const char *doing)
{
    if (s->device && st == CM_ETIMEDOUT)
        ar_group_abort(s->group, st, doing);
    if (st != CM_OK && st != CM_EPREEMPTED)
        cm_error_report(CM_LOG_ERROR, st, NULL);
}

/* ---- what it offers ---- */

struct tr_samples tr_session_samples(const struct tr_session *s)
{
    return (struct tr_samples){.n = (uint32_t)s->data.split.n_train,
                               .nrows = (uint32_t)s->data.set.n_train,
                               .images = s->data.set.images,
                               .labels = s->data.set.labels,
                               .id = s->data.split.train};
}

const uint8_t *tr_session_test_images(const struct tr_session *s)
{
    return tr_dataset_image(&s->data.set, s->data.set.n_train);
}

const int32_t *tr_session_test_labels(const struct tr_session *s)
{
    return s->data.set.labels + s->data.set.n_train;
}

const struct nn_backend *tr_session_backend(const struct tr_session *s)
{
    if (s->device)
        return nn_device_backend(s->device);
    return strcmp(s->model.device, "ref") == 0 ? nn_backend_ref() : nn_backend_cpu();
}

int tr_session_nlanes(const struct tr_session *s)
{
    if (s->train.threads > 0)
        return (int)s->train.threads;
    long cores = sysconf(_SC_NPROCESSORS_ONLN) / ar_group_local_size(s->group);
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) < cores)
        cores = CPU_COUNT(&allowed);
    return cores > 1 ? (int)cores : 1;
}

struct tr_engine_config tr_session_engine(const struct tr_session *s)
{
    return (struct tr_engine_config){.spec = s->spec,
                                     .layout = s->layout,
                                     .model = &s->model,
                                     .train = &s->train,
                                     .allreduce = &s->allreduce,
                                     .group = s->group,
                                     .nlanes = tr_session_nlanes(s),
                                     .samples = tr_session_samples(s),
                                     .device = s->device,
                                     .sum = s->sum,
                                     .bucket = s->bucket,
                                     .no_graphs = !s->model.graphs};
}

struct tr_evaluator_config tr_session_evaluator(const struct tr_session *s)
{
    return (struct tr_evaluator_config){.spec = s->spec,
                                        .layout = s->layout,
                                        .backend = tr_session_backend(s),
                                        .precision = (enum nn_precision)s->model.precision,
                                        .group = s->group,
                                        .nlanes = s->device ? EVAL_STREAMS : tr_session_nlanes(s),
                                        .device = s->device,
                                        .resident = tr_session_test_images(s),
                                        .nresident = (size_t)s->data.n_test};
}
