# A private Slurm over the hosts of namespaces.bash: munge and slurmctld on node-1, a slurmd on each of node-2..node-N, all
# with files under $work, no systemd, no cgroups. Source it after namespaces.bash.
#   slurm_up: five hosts, partition "main" on nodes 2 and 3, "spare" on 4 and 5, "all" on all of them; clients run by "on 1 sbatch ..."

slurm_possible()
{
    local tool
    for tool in munged slurmctld slurmd sbatch srun; do
        PATH=$PATH:/usr/sbin command -v $tool >/dev/null || { echo "no $tool (Debian: slurm-wlm, munge)"; return 1; }
    done
    [ -d /sys/fs/cgroup ] || { echo "no /sys/fs/cgroup, which slurmd wants to see"; return 1; }
}

write_slurm_conf()
{
    local k
    # TmpFS is each node's own, or PMIx's folders of two nodes meet; credentials that last 5 s instead of 120 let a job
    # that is queued again start as soon.
    cat >"$SLURM_CONF" <<CONF
ClusterName=flywheel
SlurmctldHost=node-1(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$work/munge.sock,cred_expire=5
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.%n.log
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool/%n
TmpFS=$work/tmp/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=3
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=5
BatchStartTimeout=10
MailProg=/bin/true
PartitionName=main Nodes=node-[2-3] Default=YES MaxTime=INFINITE State=UP
PartitionName=spare Nodes=node-[4-5] MaxTime=INFINITE State=UP
PartitionName=all Nodes=node-[2-5] MaxTime=INFINITE State=UP
CONF
    for k in 2 3 4 5; do
        echo "NodeName=node-$k NodeAddr=10.77.0.$k CPUs=2 State=UNKNOWN" >>"$SLURM_CONF"
        mkdir -p "$work/spool/node-$k" "$work/tmp/node-$k"
    done
}

slurm_up()
{
    local k tries=600
    export PATH=$PATH:/usr/sbin SLURM_CONF=$work/slurm.conf
    hosts_up 5
    mkdir -p "$work/state"
    chmod 755 "$work"
    write_slurm_conf
    (umask 077; head -c 128 /dev/urandom >"$work/munge.key")
    munged --force --key-file="$work/munge.key" --socket="$work/munge.sock" --pid-file="$work/munged.pid" \
        --log-file="$work/munged.log" --seed-file="$work/munged.seed" --num-threads=2
    on 1 slurmctld -i
    for k in 2 3 4 5; do on "$k" slurmd -N "node-$k"; done
    until [ "$(on 1 sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = 4 ]; do
        [ $((tries -= 1)) -gt 0 ] || { echo "FAILED: Slurm has no 4 idle nodes"; on 1 sinfo -N; exit 1; }
        sleep 0.1
    done
}
