/* What a method and a path ask for. Pure; any thread.
 *
 *   POST /predict                       GET /v2/health/live        GET /v2
 *   POST /predictions/NAME[/VERSION]    GET /v2/health/ready       GET /metrics
 *                                       GET /v2/models/NAME[/versions/VERSION][/ready] */
#ifndef SERVE_HTTP_ROUTE_H
#define SERVE_HTTP_ROUTE_H

#include <stdint.h>

#include "model/spec.h"

enum sv_route {
    SV_ROUTE_PREDICT,
    SV_ROUTE_LIVE,
    SV_ROUTE_READY,
    SV_ROUTE_SERVER,
    SV_ROUTE_MODEL,
    SV_ROUTE_MODEL_READY,
    SV_ROUTE_METRICS,
};

struct sv_target {
    enum sv_route route;
    char name[NN_NAME]; /* of the model; "": any */
    int64_t version;    /* 0: any */
};

/* 0, or the HTTP code that refuses it: 404, 405. HEAD is GET. */
int sv_route_find(struct sv_target *out, const char *method, const char *path);

#endif
