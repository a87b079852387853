#include "trainer/fingerprint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/mem.h"
#include "common/version.h"
#include "model/backend.h"
#include "model/device_comm.h"

/* "model name" of /proc/cpuinfo, "unknown" where there is none. */
static void cpu_name(char name[128])
{
    snprintf(name, 128, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[512];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %127[^\n]", name) == 1)
            break;
    if (f)
        fclose(f);
}

cm_status tr_fingerprint(char **text, const struct nn_backend *backend, enum nn_dtype dtype)
{
    char cpu[128], library[256];
    cpu_name(cpu);
    nn_cpu_describe(library, sizeof library);
    CM_TRY(cm_alloc(text, 2048, 1, "fingerprint"));
    snprintf(*text, 2048,
             "flywheel %s\n"
             "compiler %s\n"
             "cpu %s\n"
             "caches L1d %ld L2 %ld L3 %ld\n"
             "backend %s\n"
             "library %s\n"
             "precision %s\n",
             cm_version(), __VERSION__, cpu, sysconf(_SC_LEVEL1_DCACHE_SIZE),
             sysconf(_SC_LEVEL2_CACHE_SIZE), sysconf(_SC_LEVEL3_CACHE_SIZE), backend->name, library,
             nn_dtype_name(dtype));
    return CM_OK;
}

static cm_status add_line(char **text, const char *line)
{
    char *longer;
    size_t n = strlen(*text);
    CM_TRY(cm_alloc(&longer, n + strlen(line) + 1, 1, "fingerprint"));
    memcpy(longer, *text, n);
    memcpy(longer + n, line, strlen(line) + 1);
    cm_free(text);
    *text = longer;
    return CM_OK;
}

cm_status tr_fingerprint_device(char **text, const struct nn_device *device)
{
    char line[256];
    snprintf(line, sizeof line, "device %s\n", nn_device_kind(device));
    return add_line(text, line);
}

cm_status tr_fingerprint_sums(char **text, const struct nn_device *device)
{
    char line[96];
    snprintf(line, sizeof line, "sums %s\n", nn_device_comm_library(device));
    return add_line(text, line);
}

cm_status tr_fingerprint_engines(char **text, const struct nn_engines *engines)
{
    char line[96], *all;
    if (engines->n == 0)
        return CM_OK;
    CM_TRY(nn_engines_write(&all, engines));
    snprintf(line, sizeof line, "engines %zu %016llx\n", engines->n,
             (unsigned long long)cm_xxh64(all, strlen(all)));
    cm_free(&all);
    return add_line(text, line);
}

static void cut_line(char line[TR_FINGERPRINT_LINE], const char *text, size_t n)
{
    snprintf(line, TR_FINGERPRINT_LINE, "%.*s", (int)n, text);
}

bool tr_fingerprint_differs(const char *a, const char *b, char of_a[TR_FINGERPRINT_LINE],
                            char of_b[TR_FINGERPRINT_LINE])
{
    while (*a || *b) {
        size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");
        if (na != nb || memcmp(a, b, na) != 0 || a[na] != b[nb]) {
            cut_line(of_a, a, na);
            cut_line(of_b, b, nb);
            return true;
        }
        a += na + (a[na] == '\n');
        b += nb + (b[nb] == '\n');
    }
    return false;
}
