#include "trainer/engine_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

#define MOST_KIND   224
#define MOST_NBYTES ((size_t)8 << 20) /* of the file: some 30,000 products */

/* CM_ENOTFOUND: the environment names no place. */
static cm_status find_folder(char folder[CM_PATH])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') /* a relative one is to be ignored, says its specification */
        return cm_path_join(folder, cache, "flywheel");
    if (home && home[0] == '/')
        return cm_path_join(folder, home, ".cache/flywheel");
    return CM_FAIL(CM_ENOTFOUND, "neither XDG_CACHE_HOME nor HOME names a folder");
}

static void name_kind(char kind[MOST_KIND], const struct nn_device *device)
{
    snprintf(kind, MOST_KIND, "%s, driver %d", nn_device_kind(device),
             nn_device_driver_version(device));
}

/* ---- reading ---- */

/* *root: NULL where there is no file. */
static cm_status read_file(struct cm_json **root, const struct cm_json **devices, const char *path)
{
    *root = NULL;
    *devices = NULL;
    if (!cm_path_exists(path))
        return CM_OK;
    CM_TRY(cm_json_parse_file(root, path, MOST_NBYTES));
    CM_TRY(cm_json_need_format(*root, path, 1, NULL));
    return cm_json_need(*root, path, "devices", CM_JSON_OBJECT, devices);
}

/* All of a device's ways, or none. */
static cm_status read_device(struct nn_engines *found, const struct cm_json *device,
                             const char *path)
{
    const char *text, *hash;
    char want[CM_XXH_TEXT];
    struct nn_engines read = {0};
    CM_TRY(cm_json_need_string(device, path, "engines", &text));
    CM_TRY(cm_json_need_string(device, path, "xxh64", &hash));
    cm_xxh_format(want, cm_xxh64(text, strlen(text)));
    if (strcmp(hash, want) != 0)
        return CM_FAIL(CM_ECORRUPT, "%s: '%s': engines of hash %s, not %s", path,
                       cm_json_key(device), want, hash);
    cm_status st = nn_engines_read(&read, text);
    for (size_t i = 0; i < read.n && st == CM_OK; i++)
        st = nn_engines_add(found, &read.engine[i]);
    nn_engines_release(&read);
    return st;
}

static cm_status read_cache(struct nn_engines *found, const char *kind)
{
    char folder[CM_PATH], path[CM_PATH];
    struct cm_json *root = NULL;
    const struct cm_json *devices;
    CM_TRY(find_folder(folder));
    CM_TRY(cm_path_join(path, folder, "engines.json"));
    cm_status st = read_file(&root, &devices, path);
    const struct cm_json *device = st == CM_OK && devices ? cm_json_get(devices, kind) : NULL;
    if (device)
        st = read_device(found, device, path);
    cm_json_close(&root);
    return st;
}

void tr_engine_cache_read(struct nn_engines *found, const struct nn_device *device)
{
    char kind[MOST_KIND];
    name_kind(kind, device);
    cm_status st = read_cache(found, kind);
    if (st != CM_OK && st != CM_ENOTFOUND) /* writing tells of that */
        cm_error_report(CM_LOG_WARN, st, "the cache of engines (they are timed anew)");
}

/* ---- writing ---- */

static cm_status put_device(struct cm_jw *w, const char *kind, const struct nn_engines *engines)
{
    char *text, hash[CM_XXH_TEXT];
    CM_TRY(nn_engines_write(&text, engines));
    cm_xxh_format(hash, cm_xxh64(text, strlen(text)));
    cm_jw_begin(w, kind, '{');
    cm_jw_string(w, "engines", text);
    cm_jw_string(w, "xxh64", hash);
    cm_jw_end(w);
    cm_free(&text);
    return CM_OK;
}

/* What another job has found since, and this one did not, stays. */
static cm_status merge(struct nn_engines *all, const struct nn_engines *found,
                       const struct cm_json *device, const char *path)
{
    if (device && read_device(all, device, path) != CM_OK)
        cm_log_debug("replaced: %s", cm_error_text()); /* reading has warned of it */
    for (size_t i = 0; i < found->n; i++)
        CM_TRY(nn_engines_add(all, &found->engine[i]));
    return CM_OK;
}

/* devices: of the file by now; NULL: none. */
static cm_status write_text(struct cm_jw *w, const struct cm_json *devices, const char *kind,
                            const struct nn_engines *all)
{
    w->indent = 1;
    cm_jw_begin(w, NULL, '{');
    cm_jw_string(w, "format", "1.0");
    cm_jw_begin(w, "devices", '{');
    CM_JSON_EACH (other, devices)
        if (strcmp(cm_json_key(other), kind) != 0)
            cm_jw_value(w, cm_json_key(other), other);
    CM_TRY(put_device(w, kind, all));
    cm_jw_end(w);
    cm_jw_end(w);
    return CM_OK;
}

static cm_status write_cache(const struct nn_engines *found, const char *kind)
{
    char folder[CM_PATH], path[CM_PATH], *text = NULL;
    struct cm_json *root = NULL;
    const struct cm_json *devices;
    struct nn_engines all = {0};
    struct cm_jw w = {0};
    size_t nbytes;
    cm_status st;
    CM_TRY(find_folder(folder));
    CM_TRY(cm_path_join(path, folder, "engines.json"));
    CM_TRY(cm_dir_make(folder));
    if (read_file(&root, &devices, path) != CM_OK) { /* it is replaced */
        cm_json_close(&root);
        devices = NULL;
    }
    CM_GOTO(st, merge(&all, found, devices ? cm_json_get(devices, kind) : NULL, path), out);
    CM_GOTO(st, write_text(&w, devices, kind, &all), out);
    CM_GOTO(st, cm_jw_take(&w, &text, &nbytes), out);
    st = nbytes > MOST_NBYTES
             ? CM_FAIL(CM_ENOSPC, "%s: it would be too long to read; remove it", path)
             : cm_file_replace(path, text, nbytes);
out:
    cm_jw_release(&w);
    cm_free(&text);
    nn_engines_release(&all);
    cm_json_close(&root);
    return st;
}

void tr_engine_cache_write(const struct nn_engines *found, const struct nn_device *device)
{
    char kind[MOST_KIND];
    name_kind(kind, device);
    cm_status st = write_cache(found, kind);
    if (st == CM_ENOTFOUND)
        cm_log_info("engines are not kept for other runs: %s", cm_error_text());
    else if (st != CM_OK)
        cm_error_report(CM_LOG_WARN, st, "engines are not kept for other runs");
}
