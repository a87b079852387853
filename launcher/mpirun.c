/* Open MPI 4.1's flags; each line of the table below was found by measuring (docs:
 * launcher/README.md). */
#include "launcher/mpirun.h"

#include <string.h>

static void add_mca(struct la_argv *argv, const char *name, const char *value)
{
    la_argv_add(argv, "--mca");
    la_argv_add(argv, name);
    la_argv_add(argv, value);
}

void la_mpirun_common(struct la_argv *argv, const char *interface)
{
    la_argv_add(argv, "mpirun");
    /* Every mpirun binds its first rank to core 0: two jobs there run 270 times slower. Lanes place
     * themselves. */
    la_argv_add(argv, "--bind-to");
    la_argv_add(argv, "none");
    la_argv_add(argv, "--quiet"); /* no banner after a failed rank: the rank has said why */
    /* Without these a cut link hangs mpirun for ever; with them it ends after 6 s. */
    add_mca(argv, "oob_tcp_keepalive_time", "2");
    add_mca(argv, "oob_tcp_keepalive_intvl", "1");
    add_mca(argv, "oob_tcp_keepalive_probes", "3");
    if (*interface) {
        add_mca(argv, "oob_tcp_if_include", interface);
        add_mca(argv, "btl_tcp_if_include", interface);
    }
}

void la_mpirun_build(const struct la_mpirun *m, struct la_argv *argv, struct la_argv *env)
{
    bool one_host = !*m->hosts && !m->in_allocation;
    la_mpirun_common(argv, *m->interface || !one_host ? m->interface : "lo");
    la_argv_add(argv, "-np");
    la_argv_addf(argv, "%lld", (long long)m->ranks);
    if (*m->hosts) {
        la_argv_add(argv, "--host");
        la_argv_add(argv, m->hosts);
    }
    if (one_host) {
        la_argv_add(argv, "--oversubscribe"); /* a permission only, for more ranks than cores */
        /* On other hosts nobody would remove these. */
        add_mca(argv, "orte_tmpdir_base", m->scratch);
        add_mca(argv, "btl_vader_backing_directory", m->scratch);
    }
    for (size_t i = 0; i < m->nexport_names && !one_host; i++) {
        la_argv_add(argv, "-x");
        la_argv_add(argv, m->export_names[i]);
    }
    la_argv_add_all(argv, m->program, m->nprogram);

    la_argv_add(env, "OMPI_ALLOW_RUN_AS_ROOT=1");
    la_argv_add(env, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
}

bool la_inside_mpi(char *(*get)(const char *))
{
    return get("OMPI_COMM_WORLD_RANK") || get("PMIX_RANK");
}
