/* fixture_store RUN_DIR [SCALE...]: takes the lease and writes a version per SCALE, whose weights
 * are {1, -2, 3, 0.5} times it and whose metric "accuracy" is it. Ends with the exit code of its
 * last status. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "parameter/store.h"

static cm_status write_version(struct ps_store *s, double scale)
{
    static const int64_t shape[2] = {2, 2};
    const float w[4] = {(float)scale, (float)(-2 * scale), (float)(3 * scale),
                        (float)(0.5 * scale)};
    struct ps_tensors set = {0};
    struct ps_draft *d = NULL;
    struct ps_manifest m = {.step = 100, .epoch = 2, .parent = 0};
    cm_status st;
    snprintf(m.producer, sizeof m.producer, "train");
    CM_GOTO(st, ps_manifest_set_metric(&m, "accuracy", scale), out);
    CM_GOTO(st, ps_tensors_add(&set, "fc.weight", PS_F32, 2, shape, w), out);
    CM_GOTO(st, ps_draft_open(&d, s), out);
    CM_GOTO(st, ps_draft_put_tensors(d, "model.safetensors", &set), out);
    CM_GOTO(st, ps_draft_put_file(d, "model.json", "{}\n", 3), out);
    CM_GOTO(st, ps_draft_commit(&d, &m), out);
    printf("%lld\n", (long long)m.version);
out:
    ps_draft_close(&d);
    ps_tensors_release(&set);
    ps_manifest_release(&m);
    return st;
}

int main(int argc, char **argv)
{
    struct ps_lease *lease = NULL;
    struct ps_store *s = NULL;
    char dir[CM_PATH];
    cm_status st;
    cm_log_init("fixture");
    if (argc < 2)
        return 2;
    CM_GOTO(st, ps_lease_acquire(&lease, argv[1], "", false), out);
    CM_GOTO(st, cm_path_join(dir, argv[1], "checkpoints"), out);
    CM_GOTO(st, ps_store_open_writer(&s, dir, 'v', lease), out);
    for (int i = 2; i < argc && st == CM_OK; i++)
        st = write_version(s, strtod(argv[i], NULL));
out:
    ps_store_close(&s);
    ps_lease_release(&lease);
    return cm_main_end(st);
}
