# A private Slurm over the hosts of namespaces.bash: munge and slurmctld on node-1, a slurmd on each of node-2..node-N, all
# with files under $work, no systemd, no cgroups. Source it after namespaces.bash; SLURM_CONF is exported.
#   slurm_up N | slurm_down; clients run by "on 1 sbatch ..."

export SLURM_CONF=$work/slurm.conf

slurm_possible()
{
    local tool
    for tool in munged slurmctld slurmd sbatch srun; do
        PATH=$PATH:/usr/sbin command -v $tool >/dev/null || { echo "no $tool (Debian: slurm-wlm, munge)"; return 1; }
    done
    [ -d /sys/fs/cgroup ] || { echo "no /sys/fs/cgroup, which slurmd wants to see"; return 1; }
}

write_slurm_conf() # N
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
PartitionName=main Nodes=node-[2-$1] Default=YES MaxTime=INFINITE State=UP
CONF
    for k in $(seq 2 "$1"); do
        echo "NodeName=node-$k NodeAddr=10.77.0.$k CPUs=2 State=UNKNOWN" >>"$SLURM_CONF"
        mkdir -p "$work/spool/node-$k" "$work/tmp/node-$k"
    done
}

slurm_up() # N
{
    local k
    export PATH=$PATH:/usr/sbin
    mkdir -p "$work/state"
    chmod 755 "$work"
    write_slurm_conf "$1"
    (umask 077; head -c 128 /dev/urandom >"$work/munge.key")
    munged --force --key-file="$work/munge.key" --socket="$work/munge.sock" --pid-file="$work/munged.pid" \
        --log-file="$work/munged.log" --seed-file="$work/munged.seed" --num-threads=2
    until [ -S "$work/munge.sock" ]; do sleep 0.05; done
    on 1 slurmctld -i
    for k in $(seq 2 "$1"); do on "$k" slurmd -N "node-$k"; done
    until [ "$(on 1 sinfo -h -t idle -o %D 2>/dev/null)" = $(($1 - 1)) ]; do sleep 0.1; done
}

# The daemons in the namespaces go with hosts_down; munged is outside.
slurm_down()
{
    local file
    on 1 scancel --user=root 2>/dev/null || true
    for file in "$work"/slurmd.*.pid "$work/slurmctld.pid" "$work/munged.pid"; do
        [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
}
