/* One curl per try; what is on disk between two tries is the only state. */
#include "trainer/download.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"
#include "trainer/program.h"

#define FIRST_PAUSE_MS 500
#define MAX_PAUSE_MS   8000

#define CURL_NO_RANGE 33  /* curl's exit code: the server has no ranges */
#define HTTP_NO_RANGE 416 /* "range not satisfiable": the part is longer than the file */

struct outcome {
    int code; /* curl's exit code */
    int http; /* the server's last answer; 0: none */
};

static uint64_t size_of(const char *path)
{
    uint64_t n = 0;
    return cm_path_exists(path) && cm_file_size(&n, path) == CM_OK ? n : 0;
}

static cm_status fetch_once(const struct tr_download *d, const char *part, struct outcome *outcome)
{
    char stall[16], http[16] = "";
    snprintf(stall, sizeof stall, "%d", d->stall_s);
    const char *const argv[] = {"curl",
                                "--fail",
                                "--location",
                                d->progress ? "--progress-bar" : "--silent",
                                "--show-error",
                                "--connect-timeout",
                                "20",
                                "--speed-limit",
                                "1024",
                                "--speed-time",
                                stall,
                                "--continue-at",
                                "-",
                                "--output",
                                part,
                                "--url",
                                d->url,
                                "--write-out",
                                "%{http_code}",
                                NULL};
    struct tr_program curl = {.argv = argv, .into = http, .capacity = sizeof http - 1};
    size_t n = 0;

    CM_TRY(tr_program_run(&curl, &n, &outcome->code));
    outcome->http = (int)strtol(http, NULL, 10); /* "000": no answer */
    return CM_OK;
}

/* *good: the part is the whole file, and is now path. */
static cm_status take_if_whole(const struct tr_download *d, const char *part, bool *good, char *md5)
{
    *good = false;
    if (size_of(part) == 0)
        return CM_OK;
    CM_TRY(cm_md5_file(md5, part));
    *good = strcmp(md5, d->md5) == 0;
    if (*good && rename(part, d->path))
        return CM_FAIL_ERRNO("renaming %s to %s", part, d->path);
    return CM_OK;
}

static cm_status remove_part(const char *part)
{
    if (unlink(part))
        return CM_FAIL_ERRNO("removing %s", part);
    return CM_OK;
}

static cm_status fail_wrong(const struct tr_download *d, const char *part, const char *md5)
{
    unsigned long long n = size_of(part);
    CM_TRY(remove_part(part));
    return CM_FAIL(
        CM_ECORRUPT,
        "%s: %llu bytes came from %s with MD5 %s, expected %s; the file was removed, run "
        "the command again",
        part, n, d->url, md5, d->md5);
}

/* A part that the server cannot go on from is begun anew. */
static cm_status drop_unusable(const char *part, const struct outcome *o)
{
    if (size_of(part) == 0 || (o->code != CURL_NO_RANGE && o->http != HTTP_NO_RANGE))
        return CM_OK;
    cm_log_warn("%s: the server cannot resume it, starting again", part);
    return remove_part(part);
}

/* Tries until the part is whole. Only a new longest part counts as headway, so a server that breaks
 * off and knows no ranges is not asked for ever. */
static cm_status fetch(const struct tr_download *d, const char *part, struct outcome *outcome,
                       bool *good)
{
    char md5[CM_MD5_TEXT] = "";
    uint64_t longest = size_of(part);
    int64_t pause_ms = FIRST_PAUSE_MS;

    CM_TRY(take_if_whole(d, part, good, md5));
    for (int failed = 0; !*good && failed < d->attempts;) {
        if (size_of(part))
            cm_log_info("resuming %s at %llu bytes", d->url, (unsigned long long)size_of(part));
        CM_TRY(fetch_once(d, part, outcome));
        if (outcome->code == 0) {
            CM_TRY(take_if_whole(d, part, good, md5));
            return *good ? CM_OK : fail_wrong(d, part, md5);
        }
        if (size_of(part) > longest) {
            longest = size_of(part);
            failed = 0;
            pause_ms = FIRST_PAUSE_MS;
            continue;
        }
        CM_TRY(drop_unusable(part, outcome));
        if (++failed < d->attempts)
            cm_sleep_us(pause_ms * 1000);
        pause_ms = pause_ms * 2 > MAX_PAUSE_MS ? MAX_PAUSE_MS : pause_ms * 2;
    }
    return CM_OK;
}

cm_status tr_download(const struct tr_download *d)
{
    char part[CM_PATH];
    struct outcome outcome = {0};
    bool good = false;

    if ((size_t)snprintf(part, sizeof part, "%s.part", d->path) >= sizeof part)
        return CM_FAIL(CM_EINVAL, "the path is too long: %.60s…", d->path);
    CM_TRY(fetch(d, part, &outcome, &good));
    if (!good)
        return CM_FAIL(CM_ECONNECT,
                       "%s: gave up (curl's exit code %d, HTTP status %d); %llu bytes are kept in "
                       "%s.part: run the command again to resume, or give --from a file or folder",
                       d->url, outcome.code, outcome.http, (unsigned long long)size_of(part),
                       d->path);
    return CM_OK;
}
