#!/bin/bash
# A real Slurm (munge, slurmctld, four slurmd) over network namespaces: `flywheel submit` runs, is preempted, queued again
# and resumed to the same bits; mpirun inside an allocation does too; too small an allocation is refused; a node that is cut
# off keeps computing, but what it computes is fenced off by the job's next life; a job that loses a node before Slurm
# knows it is queued again, and so is one that is told to stop before its ranks run; one that is cancelled is not, nor one
# that dies in the same step three times, nor one that another try cannot help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/namespaces.bash"
. "$here/slurm.bash"
why=$(slurm_possible) || { echo "skip: $why"; exit 77; }
hosts_contain fws

. "$here/fail.bash"
logs() { on 1 scontrol show job >"$work/jobs"; ls "$work/jobs" "$log" "$work"/*/logs/slurm-*.log; }

state_of() { on 1 scontrol show job "$1" -o | sed 's/.*JobState=\([A-Z_]*\).*/\1/'; }
is_over() { case "$(state_of "$1")" in COMPLETED | FAILED | CANCELLED | TIMEOUT) ;; *) false ;; esac; }
ends_as() # JOB STATE
{
    await is_over "$1"
    [ "$(state_of "$1")" = "$2" ] || fail "job $1 ended as $(state_of "$1"), not as $2"
}
log_of() { echo "$work/$1/logs/slurm-${!1}.log"; } # RUN, whose job's number is in the variable of its name
told() # RUN: USR1 has come to a rank of it
{
    local rank
    for rank in $(pgrep -f "flywheel-train .*$work/$1"); do
        ! is_told "$rank" || return 0
    done
    return 1
}
has_version() { [ -d "$work/$1/checkpoints/v$(printf %06d "$2")" ]; }

cat >"$work/config.json" <<'JSON'
{"schema": 1,
 "model": {"network": "zoo:lenet"},
 "data": {"dataset": "synthetic:10:1203:32x32x3", "test_limit": 100},
 "train": {"epochs": 1, "batch": 31, "lr": 0.02, "threads": 1},
 "allreduce": {"collective_timeout_ms": 5000},
 "store": {"every_steps": 5, "keep_last": 100},
 "cluster": {"nodes": 2, "ranks_per_node": 1, "gateway": false, "workers": 0}}
JSON
config=$work/config.json
fw=$FLYWHEEL_BIN/flywheel
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
want 0 "$FLYWHEEL_BIN/flywheel-train" train "$config" --run "$work/alone" -q
wanted=$(sha_of "$work/alone")

slurm_up
submit() # RUN CONFIG: prints the job's number
{
    on 1 "$fw" submit "$2" --run "$work/$1" >"$log" 2>&1 || fail "submit"
    sed -n 's/Submitted batch job //p' "$log"
}

# ---- two jobs: one stops itself on the way, the other is preempted and queued again ----
sed 's/"nodes": 2/"nodes": 1, "partition": "spare"/' "$config" >"$work/single.json"
stopped() { stranded=$(grep -ls "^State:.*stopped" /proc/[0-9]*/status) && stranded=${stranded//[^0-9]/}; }
# More steps than are left for its next life, which therefore passes.
cut=$(FLYWHEEL_INJECT=train.step=stop@30 submit cut "$work/single.json")
await stopped
hold
job=$(FLYWHEEL_INJECT=train.step=hold@15 submit job "$config")
await has_version job 2
on 1 scancel --batch --signal=USR1 "$job"
await told job
let_go

# ---- the node of the first is cut off, and Slurm starts its job elsewhere ----
node=$(on 1 scontrol show job "$cut" -o | sed 's/.* BatchHost=\(node-[0-9]\).*/\1/')
link "${node#node-}" down
on 1 scontrol update NodeName="$node" State=DOWN Reason=cut # what slurmctld does itself after SlurmdTimeout

# ---- and meanwhile: mpirun inside an allocation, and allocations that do not fit ----
on 1 sbatch --wait -N 1 -n 2 --output="$work/mpirun.log" --wrap \
    "$fw train $config --ranks 2 --run $work/mpirun -q && $fw train $config --ranks 4 --run $work/small" \
    >"$log" 2>&1 && fail "an allocation for 2 runs 4 ranks"
matches "--ranks 4, but Slurm job [0-9]+ has room for 2 tasks on 1 nodes" 1 "$work/mpirun.log"
[ "$(sha_of "$work/mpirun")" = "$wanted" ] || fail "mpirun in an allocation: other bits"
on 1 srun --mpi=pmix -N 1 -n 2 "$fw" train "$config" --run "$work/small" >"$log" 2>&1 && fail "1 node of 2 is enough"
matches "asks for 2 nodes with 1 ranks each, but Slurm job [0-9]+ runs 2 ranks on 1 nodes"
on 1 srun -N 2 -n 2 "$fw" train "$config" --run "$work/small" >"$log" 2>&1 && fail "srun without PMIx trains"
says "use srun --mpi=pmix"
echo "ok: mpirun in an allocation gives the same bits; what does not fit is refused"

ends_as "$job" COMPLETED
says "preempted after step" "$(log_of job)"
says "resuming from version" "$(log_of job)"
[ "$(sha_of "$work/job")" = "$wanted" ] || fail "the preempted job has other bits"
echo "ok: submitted, preempted, queued again, resumed: the same bits"

# ---- the rank on the node that is cut off goes on: it cannot publish ----
generations() { [ -d "$work/cut/gen-000002" ]; }
await generations
kill -CONT "$stranded"
await grep -qs "has taken over" "$(log_of cut)"
ends_as "$cut" COMPLETED
matches "generation 2 .* has taken over from this process, generation 1" 1 "$(log_of cut)"
[ "$(sha_of "$work/cut")" = "$wanted" ] || fail "the job that lost its node has other bits"
[ "$(jq -r .failure "$work/cut/summary.json")" = null ] || fail "the stranded rank wrote the summary"
echo "ok: a rank on a node that is cut off cannot publish; the job goes on elsewhere to the same bits"

# ---- a job of two nodes loses one, and its ranks know before Slurm does: queued again, and done on others ----
sed 's/"collective_timeout_ms": 5000/"collective_timeout_ms": 2000, "late_ms": 1000, "heartbeat_ms": 200/
    s/"nodes": 2/"nodes": 2, "partition": "all"/' "$config" >"$work/quick.json"
hold
lost=$(FLYWHEEL_INJECT=train.step=hold@15 submit lost "$work/quick.json")
await has_version lost 2
batch=$(on 1 scontrol show job "$lost" -o | sed 's/.* BatchHost=\(node-[0-9]\).*/\1/')
node=$(on 1 squeue -h -j "$lost" -o %N | xargs -n1 scontrol show hostnames | grep -v "$batch")
link "${node#node-}" down
let_go

# ---- told to stop as soon as its script can hear it, most likely before its ranks run: queued again, not failed ----
traps() # JOB: its script has come to its trap; before, a signal is the end of any script
{
    local pid
    for pid in $(pgrep -f "/job0*$1/slurm_script"); do
        ! grep -qsE '^SigCgt:.*[2367abef]..$' "/proc/$pid/status" || return 0
    done
    return 1
}
in_first_life() { on 1 scontrol show job "$1" -o | grep -q " JobState=RUNNING .* Restarts=0 "; }
early=$(FLYWHEEL_INJECT=train.step=delay:100@* submit early "$work/single.json")
await traps "$early"
while in_first_life "$early"; do on 1 scancel --batch --signal=USR1 "$early" 2>/dev/null || true; done
ends_as "$early" COMPLETED
[ "$(sha_of "$work/early")" = "$wanted" ] || fail "the job that was told to stop early has other bits"
on 1 scontrol show job "$early" -o | grep -q " Restarts=[1-9]" || fail "the job that was told to stop early was not queued again"
echo "ok: a signal before the first rank is kept"

# ---- cancelled: its ranks save, as at any signal, but the job is not queued again ----
gone=$(FLYWHEEL_INJECT=train.step=delay:300@* submit gone "$work/single.json")
await has_version gone 1
on 1 scancel "$gone"
ends_as "$gone" CANCELLED
says "the job was cancelled: it is not queued again" "$(log_of gone)"
echo "ok: a job that is cancelled stays so"

ends_as "$lost" COMPLETED
matches "leaving: .* for rank 1 on $node: silent" 1 "$(log_of lost)"
says "resuming from version" "$(log_of lost)"
[ "$(sha_of "$work/lost")" = "$wanted" ] || fail "the job that lost a node early has other bits"
echo "ok: a job that loses a node before Slurm knows is queued again: the same bits"

# ---- another network's versions in the run directory: nobody tries that again ----
sed 's/zoo:lenet/zoo:simplenet/' "$work/single.json" >"$work/other.json"
other=$(submit early "$work/other.json")
ends_as "$other" FAILED
on 1 scontrol show job "$other" -o | grep -q " Restarts=0 .* ExitCode=78:0 " || fail "not ended at once with 78"
says "choose another --run" "$work/early/logs/slurm-$other.log"

# ---- rank 1 dies in the same step, each time: queued again twice, not a third time ----
mkdir "$work/bin"
cp "$fw" "$work/bin"
cat >"$work/bin/flywheel-train" <<TRAIN
#!/bin/sh
[ "\${PMIX_RANK:-1}" = 1 ] || unset FLYWHEEL_INJECT
exec "$FLYWHEEL_BIN/flywheel-train" "\$@"
TRAIN
chmod +x "$work/bin/flywheel-train"
sed 's/"every_steps": 5/"every_steps": 1000/; s/"ranks_per_node": 1/&, "cpus_per_rank": 2/' "$work/quick.json" \
    >"$work/crash.json" # each life begins at step 0
crash=$(fw=$work/bin/flywheel FLYWHEEL_INJECT=train.step=kill@12 submit crash "$work/crash.json")
ends_as "$crash" FAILED
on 1 scontrol show job "$crash" -o | grep -q " Restarts=2 .* ExitCode=137:0 " || fail "not given up after three lives with rank 1's code"
on 1 scontrol show job "$crash" -o | grep -q " NumCPUs=4 .* CPUs/Task=2 " || fail "not given two CPUs a rank"
says "giving up: step 11 failed 3 times in a row, the last time because of rank 1 on node-" "$(log_of crash)"
[ "$(jq -r 'select(.event == "gave_up") | "\(.step) \(.times)"' "$work/crash/events.jsonl")" = "11 3" ] || fail "events.jsonl"
echo "ok: what no restart mends is not queued again, nor what dies in the same step for the third time"
