#include "trainer/publish.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "model/golden.h"
#include "parameter/alias.h"
#include "parameter/lease.h"
#include "trainer/lost_run.h"

struct tr_publisher {
    const struct tr_session *session;
    struct ps_lease *lease;
    struct ps_store *store;
    char run[CM_UUID_TEXT];
    uint8_t *golden_images; /* (NN_GOLDEN_IMAGES, H, W, C) */
    float *golden_logits;   /* (NN_GOLDEN_IMAGES, classes) */
};

/* The first test images: raw, as a server would get them after its preprocessing. */
static cm_status take_golden_images(struct tr_publisher *self)
{
    const struct tr_session *s = self->session;
    size_t image = nn_shape_count(s->spec->input);
    CM_TRY(cm_alloc(&self->golden_images, NN_GOLDEN_IMAGES, image, "golden images"));
    CM_TRY(cm_alloc(&self->golden_logits, NN_GOLDEN_IMAGES,
                    (size_t)s->spec->nclasses * sizeof(float), "golden logits"));
    const uint8_t *images = tr_session_test_images(s);
    size_t n = (size_t)s->data.n_test;
    for (size_t i = 0; i < NN_GOLDEN_IMAGES && n > 0; i++)
        memcpy(self->golden_images + i * image, images + (i % n) * image, image);
    return CM_OK;
}

static cm_status write_config(const struct tr_session *s)
{
    char path[CM_PATH];
    CM_TRY(cm_path_join(path, s->run_dir, "config.json"));
    return cm_file_replace(path, s->config_text, strlen(s->config_text));
}

/* Who is robbed may be alive, so nothing is said of its end. */
static cm_status take_lease(struct tr_publisher *self, const char *summary, bool steal)
{
    const char *run_dir = self->session->run_dir;
    struct ps_lease_owner before;
    bool is_first = ps_lease_show(&before, run_dir) != CM_OK;
    CM_TRY(ps_lease_acquire(&self->lease, run_dir, self->run, steal));
    if (!is_first && !steal)
        tr_loss_write_before(run_dir, summary, &before);
    return CM_OK;
}

cm_status tr_publisher_open(struct tr_publisher **out, const struct tr_session *s,
                            const char *summary, bool steal)
{
    *out = NULL;
    struct tr_publisher *self;
    CM_TRY(cm_alloc(&self, 1, sizeof *self, "publisher"));
    self->session = s;
    cm_uuid_format(self->run, cm_uuid_make());
    cm_status st;
    CM_GOTO(st, cm_dir_make(s->run_dir), out);
    CM_GOTO(st, take_lease(self, summary, steal), out);
    CM_GOTO(st, ps_store_open_writer(&self->store, s->store_dir, 'v', self->lease), out);
    CM_GOTO(st, write_config(s), out);
    CM_GOTO(st, take_golden_images(self), out);
    *out = self;
    self = NULL;
out:
    tr_publisher_close(&self);
    return st;
}

void tr_publisher_close(struct tr_publisher **p)
{
    if (!*p)
        return;
    ps_store_close(&(*p)->store);
    ps_lease_release(&(*p)->lease);
    cm_free(&(*p)->golden_images);
    cm_free(&(*p)->golden_logits);
    cm_free(p);
}

struct ps_store *tr_publisher_store(struct tr_publisher *p)
{
    return p->store;
}

const struct ps_lease *tr_publisher_lease(const struct tr_publisher *p)
{
    return p->lease;
}

const char *tr_publisher_run(const struct tr_publisher *p)
{
    return p->run;
}

void tr_publisher_set_run(struct tr_publisher *p, const char *uuid)
{
    snprintf(p->run, sizeof p->run, "%s", uuid);
}

/* ---- a version ---- */

static cm_status fill_manifest(const struct tr_publisher *self, const struct tr_publish *what,
                               struct ps_manifest *m)
{
    const struct tr_session *s = self->session;
    m->parent = what->parent;
    m->epoch = what->epoch;
    m->sample = what->sample;
    snprintf(m->producer, sizeof m->producer, "%s", what->producer);
    snprintf(m->run, sizeof m->run, "%s", self->run);
    if (what->origin)
        CM_TRY(cm_strdup(&m->origin, what->origin));
    CM_TRY(cm_strdup(&m->config, s->config_text));
    CM_TRY(cm_strdup(&m->fingerprint, s->fingerprint));
    CM_TRY(cm_strdup(&m->data_fingerprint, s->data.set.fingerprint));
    for (size_t i = 0; i < what->nmetrics; i++)
        CM_TRY(ps_manifest_set_metric(m, what->metrics[i].name, what->metrics[i].value));
    return CM_OK;
}

static cm_status hash_of(const struct tr_publisher *self, int64_t version, char sha256[65])
{
    char name[PS_VERSION_TEXT], dir[CM_PATH], path[CM_PATH];
    ps_store_name(self->store, name, version);
    CM_TRY(cm_path_join(dir, ps_store_dir(self->store), name));
    CM_TRY(cm_path_join(path, dir, "model.safetensors"));
    return cm_sha256_file(sha256, path);
}

static void collect(struct tr_publisher *self)
{
    const struct ps_config *cfg = &self->session->store;
    struct ps_retention rule = ps_config_retention(cfg);
    struct ps_removed removed = {0};
    cm_status st =
        ps_store_gc(self->store, &rule, cfg->best_metric, cfg->trash_minutes * 60, false, &removed);
    if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "removing old versions");
    cm_free(&removed.version);
}

cm_status tr_publisher_commit(struct tr_publisher *p, const struct tr_publish *what,
                              struct tr_publication *out)
{
    const struct tr_session *s = p->session;
    int64_t began = cm_now_ns();
    CM_TRY(tr_golden_logits(s->spec, s->layout, what->state->weights, p->golden_images,
                            p->golden_logits));
    struct tr_golden golden = {.images = p->golden_images, .logits = p->golden_logits};
    struct ps_manifest m = {0};
    struct ps_draft *draft = NULL;
    cm_status st;
    CM_GOTO(st, fill_manifest(p, what, &m), out);
    CM_GOTO(st, ps_draft_open(&draft, p->store), out);
    CM_GOTO(st, tr_checkpoint_put(draft, what->state, &golden, &m), out);
    CM_GOTO(st, ps_draft_commit(&draft, &m), out);
    out->version = m.version;
    out->seconds = (double)(cm_now_ns() - began) * 1e-9;
    CM_GOTO(st, hash_of(p, m.version, out->sha256), out);
    collect(p);
out:
    ps_draft_close(&draft);
    ps_manifest_release(&m);
    return st;
}

cm_status tr_publisher_first_champion(struct tr_publisher *p, int64_t version)
{
    const char *dir = ps_store_dir(p->store);
    struct ps_alias now;
    cm_status st = ps_alias_get(&now, dir, PS_CHAMPION);
    if (st == CM_OK && now.version != version)
        cm_log_info("'" PS_CHAMPION "', which is served, stays version %lld: 'flywheel checkpoint "
                    "alias %s set " PS_CHAMPION " %lld' moves it",
                    (long long)now.version, dir, (long long)version);
    if (st != CM_ENOTFOUND)
        return st;
    st = ps_alias_set(NULL, dir, PS_CHAMPION, 0, version, "train", "first finished training");
    return st == CM_EMISMATCH ? CM_OK : st; /* somebody else named one meanwhile */
}
