/* Section "serve": the table is the parser, the check, the default and the help. */
#include "serve/serve_config.h"

#include <stdio.h>
#include <string.h>

#include "model/device.h"
#include "model/plan.h"

#define AT(field) offsetof(struct sv_config, field)

static const struct cm_key keys[] = {
    {"listen", CM_KEY_STRING, AT(listen), "\"" SV_DEFAULT_LISTEN "\"", 0, 0, NULL, NULL,
     "ZeroMQ endpoint for clients; port 0: a free one, see serve.json in the run directory; "
     "encrypted with FLYWHEEL_SERVE_KEY in the environment, as is tcp of the next two"},
    {"workers_listen", CM_KEY_STRING, AT(workers_listen), "\"\"", 0, 0, NULL, NULL,
     "ZeroMQ endpoint for workers; empty: a socket in the run directory"},
    {"announce_listen", CM_KEY_STRING, AT(announce_listen), "\"\"", 0, 0, NULL, NULL,
     "ZeroMQ endpoint for announcements; empty: a socket in the run directory"},
    {"http_host", CM_KEY_STRING, AT(http_host), "\"127.0.0.1\"", 0, 0, NULL, NULL,
     "address that HTTP listens on"},
    {"http_port", CM_KEY_INT, AT(http_port), "8080", -1, 65535, NULL, NULL,
     "port of HTTP; 0: a free one, -1: no HTTP"},
    {"http_threads", CM_KEY_INT, AT(http_threads), "2", 1, 64, NULL, "threads",
     "threads that read requests"},
    {"http_connections", CM_KEY_INT, AT(http_connections), "256", 64, 65536, NULL, "connections",
     "open at the same time; who comes beyond is told 503 at once"},
    {"http_read_ms", CM_KEY_INT, AT(http_read_ms), "30000", 1, 3600000, NULL, "ms",
     "for the body of a request to come, however lively it drips"},
    {"max_body_mib", CM_KEY_FLOAT, AT(max_body_mib), "10", 0.001, 32, NULL, "MiB",
     "largest image that is taken"},
    {"max_image_mpixel", CM_KEY_FLOAT, AT(max_image_mpixel), "16", 0.001, 64, NULL, "Mpixel",
     "largest JPEG or PNG that is decoded: a few bytes can hold a lot of pixels"},
    {"max_wait_ms", CM_KEY_FLOAT, AT(max_wait_ms), "0", 0, 10000, NULL, "ms",
     "how long a batch that is not full waits for more; 0: what is queued leaves at once"},
    {"queue_requests", CM_KEY_INT, AT(queue_requests), "1024", 1, 1048576, NULL, "requests",
     "unanswered ones; more are refused at once"},
    {"queue_mib", CM_KEY_FLOAT, AT(queue_mib), "256", 1, 65536, NULL, "MiB",
     "images of unanswered requests; more are refused at once; as much again for HTTP bodies that "
     "are being read"},
    {"deadline_ms", CM_KEY_INT, AT(deadline_ms), "5000", 1, 3600000, NULL, "ms",
     "deadline of a request that brings none"},
    {"max_deadline_ms", CM_KEY_INT, AT(max_deadline_ms), "60000", 1, 3600000, NULL, "ms",
     "longest deadline that is granted"},
    {"alias", CM_KEY_STRING, AT(alias), "\"champion\"", 0, 0, NULL, NULL,
     "alias that is served; 'latest': the highest version"},
    {"poll_ms", CM_KEY_INT, AT(poll_ms), "500", 10, 3600000, NULL, "ms",
     "how often the store is looked at for news that no announcement brought"},
    {"load_timeout_ms", CM_KEY_INT, AT(load_timeout_ms), "30000", 1, 3600000, NULL, "ms",
     "then half the workers having a new version is enough to switch to it, and a worker that "
     "could not load one is asked again"},
    {"load_retry_ms", CM_KEY_INT, AT(load_retry_ms), "5000", 0, 600000, NULL, "ms",
     "how long a version that cannot be read is tried again before that is told"},
    {"switch_ms", CM_KEY_INT, AT(switch_ms), "250", 0, 60000, NULL, "ms",
     "how long a switch waits for batches of the old version before an idle worker with the new "
     "one "
     "computes them again"},
    {"batch_timeout_ms", CM_KEY_INT, AT(batch_timeout_ms), "30000", 10, 3600000, NULL, "ms",
     "a worker that computes longer is given up"},
    {"drain_notice_ms", CM_KEY_INT, AT(drain_notice_ms), "500", 0, 600000, NULL, "ms",
     "after SIGTERM, how long new requests are still taken while /v2/health/ready says no"},
    {"drain_ms", CM_KEY_INT, AT(drain_ms), "10000", 0, 600000, NULL, "ms",
     "after that, how long requests under way may take"},
    {"max_batch", CM_KEY_INT, AT(max_batch), "64", 1, 1024, NULL, "images",
     "largest batch that a worker computes"},
    {"batch_sizes", CM_KEY_JSON, AT(batch_sizes), "null", 0, 0, NULL, NULL,
     "batch sizes that workers prepare, ascending up to max_batch; null: powers of two"},
    {"heartbeat_ms", CM_KEY_INT, AT(heartbeat_ms), "500", 10, 60000, NULL, "ms",
     "between signs of life of a worker; three missing are its death"},
    {"intra_threads", CM_KEY_INT, AT(intra_threads), "0", 0, 1024, NULL, "threads",
     "inside one op of a worker; 0: cores divided by workers"},
    {"device", CM_KEY_STRING, AT(device), "\"cpu\"", 0, 0, NULL, NULL,
     "where workers compute: cpu; cuda:N; cuda, a host's GPUs in turn by the worker's number; "
     "auto, "
     "cuda where there is a GPU and else cpu; or several of these with commas, a worker each"},
    {"precision", CM_KEY_CHOICE, AT(precision), "\"auto\"", 0, 0, nn_precision_names, NULL,
     "arithmetic of inference"},
    {"capture", CM_KEY_BOOL, AT(capture), "false", 0, 0, NULL, NULL,
     "keep images and answers in Redis for a while, so that a prediction id is enough for "
     "feedback"},
    {"redis", CM_KEY_STRING, AT(redis), "\"127.0.0.1:6379\"", 0, 0, NULL, NULL,
     "address of Redis for captures, host:port or unix:PATH"},
    {"capture_ttl_s", CM_KEY_FLOAT, AT(capture_ttl_s), "86400", 1, 31536000, NULL, "s",
     "how long a capture is kept"},
    {"capture_mib", CM_KEY_FLOAT, AT(capture_mib), "256", 32, 1048576, NULL, "MiB",
     "of captures in Redis, which feedback needs as well; answers beyond are not captured"},
    {"capture_queue", CM_KEY_INT, AT(capture_queue), "1024", 1, 1048576, NULL, "answers",
     "that may wait for Redis; more are not captured"},
};

const struct cm_section sv_config_section = {
    .name = "serve",
    .keys = keys,
    .nkeys = sizeof keys / sizeof keys[0],
    .size = sizeof(struct sv_config),
};

static cm_status read_sizes(const struct sv_config *cfg, int sizes[SV_BATCH_SIZES], int *n)
{
    int64_t last = 0;
    if (cm_json_type(cfg->batch_sizes) != CM_JSON_ARRAY)
        return CM_FAIL(CM_ECONFIG, "serve.batch_sizes: expected a list of numbers, found %s",
                       cm_json_type_name(cfg->batch_sizes));
    CM_JSON_EACH (m, cfg->batch_sizes) {
        int64_t size;
        if (*n == SV_BATCH_SIZES)
            return CM_FAIL(CM_ECONFIG, "serve.batch_sizes: more than %d", SV_BATCH_SIZES);
        if (cm_json_as_i64(m, "serve.batch_sizes", 1, cfg->max_batch, &size) != CM_OK)
            return CM_CONTEXT(CM_ECONFIG, "max_batch is %lld", (long long)cfg->max_batch);
        if (size <= last)
            return CM_FAIL(CM_ECONFIG, "serve.batch_sizes: %lld after %lld is not ascending",
                           (long long)size, (long long)last);
        last = size;
        sizes[(*n)++] = (int)size;
    }
    if (last != cfg->max_batch)
        return CM_FAIL(CM_ECONFIG, "serve.batch_sizes: the last must be max_batch, %lld",
                       (long long)cfg->max_batch);
    return CM_OK;
}

cm_status sv_config_batches(const struct sv_config *cfg, int sizes[SV_BATCH_SIZES], int *n)
{
    *n = 0;
    if (cfg->batch_sizes)
        return read_sizes(cfg, sizes, n);
    for (int size = 1; size < cfg->max_batch; size *= 2)
        sizes[(*n)++] = size;
    sizes[(*n)++] = (int)cfg->max_batch;
    return CM_OK;
}

/* The index-th name of the list, counted round; *n: how many there are. */
static void pick(const char *list, int64_t index, char which[CM_CONFIG_STRING], int64_t *n)
{
    *n = 1;
    for (const char *p = list; *p; p++)
        *n += *p == ',';
    for (index %= *n; index > 0; index--)
        list = strchr(list, ',') + 1;
    snprintf(which, CM_CONFIG_STRING, "%.*s", (int)strcspn(list, ","), list);
}

cm_status sv_config_device(const struct sv_config *cfg, int64_t number,
                           char which[CM_CONFIG_STRING], int64_t *turn)
{
    int64_t n = 1, in_a_round = 0, in_this = 0;
    for (int64_t i = 0; i < n; i++) {
        pick(cfg->device, i, which, &n);
        if (strcmp(which, "cpu") != 0 && !nn_device_is_name(which))
            return CM_FAIL(
                CM_ECONFIG,
                "serve.device: '%s' is not one of cpu, auto, cuda, cuda:N (N below 1024)", which);
        bool is_dealt = strcmp(which, "cuda") == 0 || strcmp(which, "auto") == 0;
        in_a_round += is_dealt;
        in_this += is_dealt && i < number % n;
    }
    *turn = number / n * in_a_round + in_this;
    pick(cfg->device, number, which, &n);
    return CM_OK;
}
