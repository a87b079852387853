/* `ranks`: what `--ranks` starts when the ranks run on several hosts. It looks which hosts answer,
 * fits the ranks to them, and becomes mpirun. A command of its own, so that the supervisor goes on
 * while hosts are waited for, and stops it as it stops mpirun. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/args.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "launcher/hosts.h"
#include "launcher/mpirun.h"
#include "launcher/own_commands.h"

#define HOSTFILE_MAX_NBYTES (1 << 20)

struct options {
    int64_t ranks, probe_ms;
    const char *hostfile, *interface;
    struct cm_opt_list exports;
};
#define AT(field) offsetof(struct options, field)
static const struct cm_opt opts[] = {
    {"np", 0, CM_OPT_INT, AT(ranks), "W", "ranks wanted"},
    {"hostfile", 0, CM_OPT_STRING, AT(hostfile), "FILE", "hosts, as mpirun reads them"},
    {"interface", 0, CM_OPT_STRING, AT(interface), "NAME", "network for TCP, as a name or CIDR"},
    {"probe-ms", 0, CM_OPT_INT, AT(probe_ms), "MS", "how long a host has to answer"},
    {"export", 0, CM_OPT_LIST, AT(exports), "NAME", "a variable to carry to the other hosts"},
};
static const struct cm_command command = {
    .name = "flywheel ranks",
    .operands = "PROGRAM…",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "Runs a program as ranks on the hosts of a hostfile that answer.",
    .details = "When hosts are gone and the others have too few slots, the next lower power of two "
               "of ranks\nruns on those. 'flywheel train --ranks W' does this by itself.\n"
               "\n  flywheel ranks --np 4 --hostfile hosts -- flywheel-train train CONFIG",
    .opts = opts,
    .nopts = sizeof opts / sizeof *opts,
};

static cm_status choose_hosts(struct la_hosts *hosts, int64_t *ranks, const struct options *opt)
{
    struct la_argv mpirun = {0};
    la_mpirun_common(&mpirun, opt->interface);
    cm_status st = la_argv_end(&mpirun);
    /* One host needs no asking: without it there is nothing to run on. */
    if (st == CM_OK && hosts->n > 1)
        st = la_hosts_probe(hosts, &mpirun, opt->probe_ms);
    la_argv_release(&mpirun);
    CM_TRY(st);
    CM_TRY(la_hosts_ranks(ranks, hosts, opt->ranks, opt->hostfile));
    if (*ranks < opt->ranks)
        cm_log_warn("going on with %lld ranks instead of %lld, on the hosts that answer",
                    (long long)*ranks, (long long)opt->ranks);
    return CM_OK;
}

/* Returns only when that failed. */
static cm_status become_mpirun(const struct options *opt, char **program, int nprogram)
{
    char *text = NULL, *list = NULL;
    size_t n = 0;
    struct la_hosts hosts = {0};
    struct la_argv argv = {0}, env = {0}, names = {0};
    struct la_mpirun mpirun = {
        .interface = opt->interface, .program = program, .nprogram = (size_t)nprogram};
    cm_status st;
    for (size_t i = 0; i < opt->exports.n; i++)
        la_argv_add(&names, opt->exports.item[i]);
    CM_GOTO(st, la_argv_end(&names), out);
    st = cm_file_read(&text, &n, opt->hostfile, HOSTFILE_MAX_NBYTES);
    if (st == CM_ENOTFOUND) /* no life would find it: exit code 2 */
        st = CM_CONTEXT(CM_ECONFIG, "hostfile (cluster.hostfile)");
    CM_GOTO(st, st, out);
    CM_GOTO(st, la_hosts_parse(&hosts, text, opt->hostfile), out);
    CM_GOTO(st, choose_hosts(&hosts, &mpirun.ranks, opt), out);
    CM_GOTO(st, la_hosts_list(&list, &hosts), out);
    mpirun.hosts = list;
    mpirun.export_names = names.item;
    mpirun.nexport_names = names.n;
    la_mpirun_build(&mpirun, &argv, &env);
    CM_GOTO(st, la_argv_end(&argv), out);
    CM_GOTO(st, la_argv_end(&env), out);
    for (size_t i = 0; i < env.n; i++)
        (void)putenv(env.item[i]);
    execvp(argv.item[0], argv.item);
    st = CM_FAIL_ERRNO("%s", argv.item[0]);
out:
    la_argv_release(&argv);
    la_argv_release(&names);
    la_hosts_release(&hosts);
    cm_free(&list);
    cm_free(&text);
    return st;
}

int la_command_ranks(int argc, char **argv)
{
    struct options opt = {.ranks = 1, .probe_ms = 10000, .interface = ""};
    char **operands = NULL;
    int n = 0;
    bool helped = false;
    cm_status st = cm_args_parse(&command, argc, argv, &opt, &operands, &n, &helped);
    if (st == CM_OK && !helped && !opt.hostfile)
        st = CM_FAIL(CM_EUSAGE, "--hostfile is missing");
    if (st == CM_OK && !helped)
        st = become_mpirun(&opt, operands, n);
    return cm_main_end(st);
}
