/* mpirun's command line on one host, on several, and inside an allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/mpirun.h"

static char *program[] = {(char[]){"/bin/tier"}, (char[]){"train"}, (char[]){"c.json"}};

static struct la_mpirun two_ranks(void)
{
    return (struct la_mpirun){.ranks = 2,
                              .hosts = "",
                              .interface = "",
                              .scratch = "/dev/shm/x",
                              .program = program,
                              .nprogram = 3};
}

/* All arguments, a space after each. */
static void join(char *text, size_t size, const struct la_argv *a)
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < a->n; i++)
        n += (size_t)snprintf(text + n, size - n, "%s ", a->item[i]);
}

static void build(char *text, size_t size, const struct la_mpirun *m)
{
    struct la_argv argv = {0}, env = {0};
    la_mpirun_build(m, &argv, &env);
    assert_int_equal(la_argv_end(&argv), CM_OK);
    assert_int_equal(la_argv_end(&env), CM_OK);
    assert_string_equal(env.item[0], "OMPI_ALLOW_RUN_AS_ROOT=1");
    assert_string_equal(env.item[1], "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
    join(text, size, &argv);
    la_argv_release(&argv);
    la_argv_release(&env);
}

static void test_one_host(void **state)
{
    (void)state;
    char text[2048];
    struct la_mpirun m = two_ranks();
    build(text, sizeof text, &m);
    assert_string_equal(
        text, "mpirun --bind-to none --quiet --mca oob_tcp_keepalive_time 2 "
              "--mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3 "
              "--mca oob_tcp_if_include lo --mca btl_tcp_if_include lo -np 2 --oversubscribe "
              "--mca orte_tmpdir_base /dev/shm/x --mca btl_vader_backing_directory /dev/shm/x "
              "/bin/tier train c.json ");
}

static void test_several_hosts(void **state)
{
    (void)state;
    char text[2048];
    char *names[] = {(char[]){"FLYWHEEL_LOG"}};
    struct la_mpirun m = two_ranks();
    m.hosts = "h1:2,h2:2";
    m.export_names = names;
    m.nexport_names = 1;
    build(text, sizeof text, &m);
    assert_non_null(strstr(text, "--host h1:2,h2:2 "));
    assert_non_null(strstr(text, "-x FLYWHEEL_LOG "));
    assert_null(strstr(text, "oversubscribe"));
    assert_null(strstr(text, "if_include"));
    assert_null(strstr(text, "/dev/shm/x"));
    m.interface = "10.0.0.0/16";
    build(text, sizeof text, &m);
    assert_non_null(strstr(text, "--mca btl_tcp_if_include 10.0.0.0/16 "));
}

static void test_an_allocation_gives_hosts_and_slots(void **state)
{
    (void)state;
    char text[2048];
    struct la_mpirun m = two_ranks();
    m.in_allocation = true;
    build(text, sizeof text, &m);
    assert_null(strstr(text, "oversubscribe"));
    assert_null(strstr(text, "--host"));
    assert_null(strstr(text, " lo "));
}

static char *batch_script(const char *name)
{
    static char zero[] = "0";
    return strncmp(name, "SLURM_", 6) == 0 ? zero : NULL;
}
static char *pmix_task(const char *name)
{
    static char zero[] = "0";
    return strcmp(name, "PMIX_RANK") == 0 ? zero : NULL;
}
static char *mpirun_rank(const char *name)
{
    static char zero[] = "0";
    return strcmp(name, "OMPI_COMM_WORLD_RANK") == 0 ? zero : NULL;
}

static void test_who_is_a_rank(void **state)
{
    (void)state;
    assert_false(la_inside_mpi(batch_script));
    assert_true(la_inside_mpi(pmix_task));
    assert_true(la_inside_mpi(mpirun_rank));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_host),
        cmocka_unit_test(test_several_hosts),
        cmocka_unit_test(test_an_allocation_gives_hosts_and_slots),
        cmocka_unit_test(test_who_is_a_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
