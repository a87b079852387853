/* Finding model.json: a path, or "zoo:NAME" among the networks that come with Flywheel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "common/file.h"
#include "model/spec.h"

#define MAX_FILE_NBYTES (4u << 20)

/* Folders of networks, seen from the program's folder or one above it: an installation has the
 * first two, a build tree inside its sources the last. */
static const char *const zoo_dirs[] = {"zoo", "share/flywheel/zoo", "model/zoo"};

/* path becomes DIR/FILE when that exists. */
static bool try_dir(char path[CM_PATH], const char *dir, const char *file)
{
    int n = snprintf(path, CM_PATH, "%s/%s", dir, file);
    return n > 0 && n < CM_PATH && cm_path_exists(path);
}

/* file "": the folder itself. */
static bool find_beside_program(char path[CM_PATH], const char *file)
{
    char dir[CM_PATH], zoo[CM_PATH];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    if (n <= 0)
        return false;
    dir[n] = 0;
    for (char *slash; (slash = strrchr(dir, '/')) != NULL;) {
        *slash = 0;
        for (size_t k = 0; k < sizeof zoo_dirs / sizeof *zoo_dirs; k++) {
            int len = snprintf(zoo, sizeof zoo, "%s/%s", dir, zoo_dirs[k]);
            if (len > 0 && len < CM_PATH && try_dir(path, zoo, file))
                return true;
        }
    }
    return false;
}

static cm_status not_in_zoo(const char *name, const char *own)
{
    char zoo[CM_PATH], hint[96] = "", **names = NULL;
    size_t n = 0;
    if (own ? try_dir(zoo, own, "") : find_beside_program(zoo, ""))
        CM_TRY(cm_dir_list(&names, &n, zoo));
    for (size_t i = 0; i < n; i++)
        names[i][strcspn(names[i], ".")] = 0;
    const char *near = cm_nearest(name, (const char *const *)names, n);
    if (near)
        snprintf(hint, sizeof hint, " (did you mean 'zoo:%s'?)", near);
    cm_dir_list_free(&names, n);
    return CM_FAIL(CM_ENOTFOUND,
                   "'zoo:%s': no %s.json in $FLYWHEEL_ZOO (%s) or beside the program%s", name, name,
                   own ? own : "not set", hint);
}

static cm_status find_in_zoo(char path[CM_PATH], const char *name)
{
    char file[CM_PATH];
    const char *own = getenv("FLYWHEEL_ZOO");
    if (*name == 0 || strchr(name, '/') || snprintf(file, sizeof file, "%s.json", name) >= CM_PATH)
        return CM_FAIL(CM_ENOTFOUND, "'zoo:%s': a name of the zoo is short and has no '/'", name);
    if ((own && try_dir(path, own, file)) || find_beside_program(path, file))
        return CM_OK;
    return not_in_zoo(name, own);
}

cm_status nn_spec_load(struct nn_spec **out, const char *path_or_zoo)
{
    char path[CM_PATH];
    struct cm_json *json = NULL;
    cm_status st;
    *out = NULL;
    if (strncmp(path_or_zoo, "zoo:", 4) == 0) {
        CM_TRY(find_in_zoo(path, path_or_zoo + 4));
        path_or_zoo = path;
    }
    CM_TRY(cm_json_parse_file(&json, path_or_zoo, MAX_FILE_NBYTES));
    st = nn_spec_parse(out, json, path_or_zoo);
    cm_json_close(&json);
    return st;
}
