#include "model/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/version.h"
#include "model/cuda/gpu.h"
#include "model/device.h"

static cm_status beside_program(char *path, size_t n, const char *folder)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        return CM_FAIL_ERRNO("where this program is");
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    if ((size_t)snprintf(path, n, "%s/%s%s", program, folder, NN_PLUGIN_FILE) >= n)
        return CM_FAIL(CM_EINVAL, "%s: path too long", program);
    return CM_OK;
}

static cm_status find(char *path, size_t n)
{
    static const char *const folders[] = {"", "../lib/"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        CM_TRY(beside_program(path, n, folders[i]));
        if (access(path, F_OK) == 0)
            return CM_OK;
    }
    return CM_FAIL(CM_EUNSUPPORTED,
                   "no %s beside this program or in ../lib: this build has no CUDA (cmake --preset "
                   "cuda says what it misses)",
                   NN_PLUGIN_FILE);
}

static cm_status check(const struct nn_plugin *plugin, const char *path)
{
    if (strcmp(plugin->build, cm_version()) != 0)
        return CM_FAIL(CM_EVERSION, "%s is of build %s, this program of %s: build both again", path,
                       plugin->build, cm_version());
    if (plugin->shapes != NN_PLUGIN_SHAPES)
        return CM_FAIL(CM_EVERSION,
                       "%s was compiled from other sources than this program (both say %s): build "
                       "both again",
                       path, plugin->build);
    return CM_OK;
}

cm_status nn_plugin_open(const struct nn_plugin **out, const char *path)
{
    char found[PATH_MAX + 64];
    *out = NULL;
    if (!path) {
        CM_TRY(find(found, sizeof found));
        path = found;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) /* dlerror names the library that is missing */
        return CM_FAIL(CM_EUNSUPPORTED, "the GPU plug-in cannot be opened: %s", dlerror());
    const struct nn_plugin *plugin = dlsym(library, NN_PLUGIN_SYMBOL);
    cm_status st = plugin ? check(plugin, path)
                          : CM_FAIL(CM_EVERSION, "%s: no '%s' in it", path, NN_PLUGIN_SYMBOL);
    if (st == CM_OK)
        *out = plugin;
    else
        dlclose(library);
    return st;
}

bool nn_device_is_name(const char *which)
{
    const char *digits = strncmp(which, "cuda:", 5) == 0 ? which + 5 : NULL;
    bool number = digits && *digits && strlen(digits) <= 4 &&
                  strspn(digits, "0123456789") == strlen(digits) && strtol(digits, NULL, 10) < 1024;
    return number || strcmp(which, "auto") == 0 || strcmp(which, "cuda") == 0;
}

void nn_device_name_nth(char text[NN_DEVICE_NAME], const char *which, int nth, int gpus)
{
    text[0] = '\0';
    if (strncmp(which, "cuda:", 5) == 0)
        snprintf(text, NN_DEVICE_NAME, "%.15s", which);
    else if (nn_device_is_name(which)) /* without a GPU: the number whose fault says why */
        snprintf(text, NN_DEVICE_NAME, "cuda:%d", gpus > 0 ? nth % gpus : 0);
}

/* The number behind "cuda:"; 0 for "cuda". */
static cm_status parse_device(const char *which, int *ordinal)
{
    if (!nn_device_is_name(which) || strcmp(which, "auto") == 0)
        return CM_FAIL(CM_ECONFIG, "device '%s' is not \"cuda\" or \"cuda:N\"", which);
    *ordinal = which[4] ? (int)strtol(which + 5, NULL, 10) : 0;
    return CM_OK;
}

int nn_device_count(void)
{
    int n = 0;
    const struct nn_plugin *plugin;
    if (nn_plugin_open(&plugin, NULL) != CM_OK || plugin->driver->count(&n) != 0)
        return 0;
    return n;
}

cm_status nn_device_open(struct nn_device **out, const char *which)
{
    int ordinal = 0;
    const struct nn_plugin *plugin;
    *out = NULL;
    CM_TRY(parse_device(which, &ordinal));
    cm_status st = nn_plugin_open(&plugin, NULL);
    if (st == CM_OK)
        st = nn_gpu_open(out, plugin->driver, ordinal);
    return st == CM_OK ? st : CM_CONTEXT(st, "device '%s'", which);
}
