#!/bin/bash
# Trainers that lose a rank, a disk or their minds: each fault is named with rank, host and place within the deadline,
# without mpirun's help, and stands first in summary.json; a preemption of any rank, at any time, is saved and resumed to
# the same bits; bad surroundings are refused at the start.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }
. "$(dirname "${BASH_SOURCE[0]}")/train_lib.bash"
apart=

finish()
{
    [ -z "$apart" ] || kill -KILL "$apart" 2>/dev/null || true
    [ -z "$pid" ] || pkill -KILL -P "$pid" || true
    cleanup
}
trap finish EXIT
trap 'exit 130' INT TERM

cat >"$work/config.json" <<'JSON'
{"schema": 1,
 "model": {"network": "zoo:lenet"},
 "data": {"dataset": "synthetic:10:1203:32x32x3", "test_limit": 300},
 "train": {"epochs": 2, "batch": 93, "lr": 0.02, "threads": 1},
 "allreduce": {"late_ms": 400, "heartbeat_ms": 100},
 "store": {"every_steps": 6, "keep_last": 100}}
JSON
config=$work/config.json
alone=(--mca orte_abort_on_non_zero_status 0 --enable-recovery)
want 0 "$train" train "$config" --run "$work/one" -q
want_sha=$(sha_of "$work/one")

# Two ranks with a run directory each: they look for 5 s whether it shows up, so this runs beside the rest.
patient=(-q --set allreduce.collective_timeout_ms=20000)
mpirun --quiet -np 1 "$train" train "$config" --run "$work/here" "${patient[@]}" : \
    -np 1 "$train" train "$config" --run "$work/there" "${patient[@]}" >"$work/apart.log" 2>&1 &
apart=$!

rank_pid() # RANK: of the mpirun $pid
{
    local child
    for child in $(pgrep -P "$pid"); do
        tr '\0' '\n' <"/proc/$child/environ" 2>/dev/null | grep -qxF "OMPI_COMM_WORLD_RANK=$1" && echo "$child"
    done
    true
}
state_of() { sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null || echo X; }
begin() # RUN W RANK:INJECT ARGUMENT...: W ranks in the background, one of them with the injection
{
    mpirun --quiet "${alone[@]}" -np "$2" "$train" train "$config" --run "$1" -q --inject "$3" "${@:4}" >"$work/log" 2>&1 &
    pid=$!
}
await_rank() # RANK: it has stopped itself; its pid is in $rank
{
    rank=
    until [ -n "$rank" ] && [ "$(state_of "$rank")" = T ]; do
        kill -0 "$pid" 2>/dev/null || fail "the job ended before rank $1 stopped"
        sleep 0.02
        [ -n "$rank" ] || rank=$(rank_pid "$1")
    done
}
leaves() # RUN: all but the stopped rank end by themselves; then the rest is removed
{
    local began now r left=
    began=$(date +%s%N)
    while :; do
        left=
        for r in $(pgrep -P "$pid" || true); do
            case "$(state_of "$r")" in T | Z | X) ;; *) left=$r ;; esac
        done
        [ -n "$left" ] || break
        now=$(date +%s%N)
        [ $(((now - began) / 1000000)) -lt 60000 ] || fail "a rank is still there after a minute"
        sleep 0.02
    done
    now=$(date +%s%N)
    took=$(((now - began) / 1000000))
    pkill -KILL -P "$pid" || true
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
}
blames() # RUN RANK FAULT STEP
{
    sed -n 2p "$1/summary.json" | grep -q '"failure": {' || fail "summary.json does not begin with the failure"
    [ "$(jq -r '.failure | "\(.rank) \(.fault) \(.step)"' "$1/summary.json")" = "$2 $3 $4" ] ||
        fail "summary.json blames $(jq -c .failure "$1/summary.json")"
    [ "$(jq -r .failure.host "$1/summary.json")" = "$(hostname)" ] || fail "summary.json has another host"
    grep -q '"event":"failed"' "$1/events.jsonl" || fail "no event"
}

# ---- ranks that are lost; the log names each, and the run goes on elsewhere to the same bits ----
begin "$work/killed" 4 3:train.step=stop@9
await_rank 3
kill -KILL "$rank"
leaves "$work/killed"
matches "leaving: .* for rank 3 on .*: gone \(killed or crashed\), last in '(step|checkpoint)' step [0-8],"
blames "$work/killed" 3 gone 8
echo "ok: SIGKILL is named after $took ms"

# Rank 0, which writes all else, is told of by the next.
begin "$work/first" 4 0:train.step=stop@9
await_rank 0
kill -KILL "$rank"
leaves "$work/first"
matches "leaving: .* for rank 0 on .*: gone \(killed or crashed\), last in '(step|checkpoint)' step [0-8],"
blames "$work/first" 0 gone 8
[ "$(jq .told_by "$work/first/summary.json")" = 1 ] || fail "told by rank $(jq .told_by "$work/first/summary.json")"
echo "ok: so is rank 0, by another, after $took ms"

begin "$work/stopped" 4 3:train.step=stop@9 --set allreduce.collective_timeout_ms=2000
await_rank 3
leaves "$work/stopped"
matches "(late|leaving): .* for rank 3 on .*: silent for .*, last in '(step|checkpoint)' step [0-8],"
blames "$work/stopped" 3 silent 8
echo "ok: SIGSTOP is named and left after $took ms, deadline 2000 ms"

begin "$work/failed" 4 3:train.step=eio@9
wait "$pid" || true # what mpirun makes of it, told to let the others be, is not the point
pid=
matches "left: training: injected at train.step"
blames "$work/failed" 3 failed 7
echo "ok: a rank that fails tells why"

want 0 mpirun --quiet -np 2 "$train" train "$config" --run "$work/killed" -q
same "$work/killed"
for run in first stopped failed; do
    want 0 "$train" train "$config" --run "$work/$run" -q
    same "$work/$run"
done
[ "$(jq -r .failure "$work/killed/summary.json")" = null ] || fail "summary.json still speaks of the failure"

# ---- a rank alone that a signal ends says nothing: the next start does, and goes on ----
run=$work/single
want 137 env FLYWHEEL_INJECT=train.step=kill@9 "$train" train "$config" --run "$run" -q
want 137 env FLYWHEEL_INJECT=train.step=kill@2 "$train" train "$config" --run "$run" -q
matches "the run before this one: process [0-9]+ on $(hostname) ended without a word .*: last heard of at 20"
blames "$run" 0 killed -1
[ "$(jq '.failure.t <= .t' "$run/summary.json")" = true ] || fail "summary.json does not say when"
want 0 "$train" train "$config" --run "$run" -q
matches "the run before this one: .* ended without a word" # the second one: each end is told of
same "$run"
want 0 "$train" train "$config" --run "$run" -q
! grep -q "the run before" "$work/log" || fail "a run that ended well is told of"
echo "ok: a rank alone that was killed is told of by the next start"

# ---- disks: one that is slow is late, one that is full is an error; neither is a hang ----
want 0 mpirun --quiet -np 1 -x FLYWHEEL_INJECT=file.fsync=delay:300 "$train" train "$config" --run "$work/slow" -q \
    --set store.every_steps=0 : -np 1 "$train" train "$config" --run "$work/slow" -q --set store.every_steps=0
same "$work/slow"
slow=store.tensors=delay:1500,train.step=delay:50@*
want 0 mpirun --quiet -np 1 -x FLYWHEEL_INJECT=$slow "$train" train "$config" --run "$work/slower" -q --set store.wait_seconds=0 : \
    -np 1 "$train" train "$config" --run "$work/slower" -q --set store.wait_seconds=0
matches "slow disk\? the version of step 6 is not in $work/slower/checkpoints after [0-9.]+ s .*; training goes on, now after step ([7-9]|[12][0-9])"
grep -q '"event":"checkpoint_slow".*"step":6' "$work/slower/events.jsonl" || fail "no event of the slow disk"
same "$work/slower"
slow=(-q --set store.every_steps=0 --set store.every_epochs=0) # the last version, which is waited for
want 0 mpirun --quiet -np 1 -x FLYWHEEL_INJECT=store.tensors=delay:700 "$train" train "$config" --run "$work/slow-end" "${slow[@]}" : \
    -np 1 "$train" train "$config" --run "$work/slow-end" "${slow[@]}"
matches "slow disk\? the version of step 26 is not in .*; training waits for it after step 26"
echo "ok: a disk that is slow is told of, and training goes on"
want 1 mpirun --quiet -np 1 -x FLYWHEEL_INJECT=file.fsync=delay:9000@12 "$train" train "$config" --run "$work/hung" -q \
    --set store.every_steps=0 --set store.finish_seconds=1 : \
    -np 1 "$train" train "$config" --run "$work/hung" -q --set store.every_steps=0 --set store.finish_seconds=1
matches "error train\[0\]: rank 0 on .*: a version is still being written after 1 s"
blames "$work/hung" 0 failed 26
echo "ok: a disk that hangs is named as rank 0's checkpoint"

# Mounted in a namespace that ends with the job: nothing of it is left, however this test ends.
mkdir "$work/disk"
on_disk() # OPTIONS COMMAND...
{
    unshare --mount sh -c 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"' "$1" "$work/disk" "${@:2}"
}
if on_disk size=400k true 2>/dev/null; then
    want 1 on_disk size=400k mpirun --quiet -np 2 "$train" train "$config" --run "$work/disk/run" -q
    matches "$work/disk/run.*[Nn]o space left"
    want 1 on_disk ro mpirun --quiet -np 2 "$train" train "$config" --run "$work/disk/other" -q
    matches "$work/disk/other.*Read-only file system"
    echo "ok: full and read-only disks are named"
else
    echo "skipped: no right to mount a small disk"
fi

# ---- bad surroundings ----
want 1 wait "$apart"
apart=
cp "$work/apart.log" "$work/log"
matches "rank 1 on .*: $work/there, seen from here, is not what rank 0 on .* writes to: .*storage that all hosts share"
want 78 mpirun --quiet -np 1 "$train" train "$config" --run "$work/x" -q : -np 1 "$train" train "$config" --run "$work/x" -q --set train.lr=1
matches "config differs: rank 1 .*\"lr\": 1.*rank 0 .*\"lr\": 0.02.*: give all ranks the same file"
# Another build: this one, but for a digit of its version.
version=$("$train" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+[^ ]*' | head -1)
mkdir "$work/bin"
LC_ALL=C sed "s/${version//./\\.}/9${version:1}/g" "$train" >"$work/bin/flywheel-train"
chmod +x "$work/bin/flywheel-train"
want 78 mpirun --quiet -np 1 "$train" train "$config" --run "$work/x" -q : \
    -np 1 "$work/bin/flywheel-train" train "$config" --run "$work/x" -q
matches "rank 1 on .* runs flywheel 9.*, rank 0 on .* runs ${version//./\\.}.*: install the same build"
! grep -qE "MPI_|PMI|late: |leaving: " "$work/log" || fail "ranks that differ do not part quietly"
# Another machine: fewer instructions.
want 78 mpirun --quiet -np 1 "$train" train "$config" --run "$work/x" -q : \
    -np 1 -x ONEDNN_MAX_CPU_ISA=SSE41 -x DNNL_MAX_CPU_ISA=SSE41 "$train" train "$config" --run "$work/x" -q
matches "fingerprint differs: rank 1 .*has '.*', rank 0 .*has '"
want 1 mpirun --quiet -np 1 "$train" doctor "$config" --run "$work/here" : -np 1 "$train" doctor "$config" --run "$work/there"
matches "^BAD +run directory +.*rank 1 on .* does not see .*; give all ranks the same --run"
core=$(sed -nE 's/^Cpus_allowed_list:[^0-9]*([0-9]+).*/\1/p' /proc/self/status)
bound=(env SLURM_JOB_ID=7 SLURM_STEP_ID=2 SLURMD_NODENAME=c1 SLURM_CPUS_ON_NODE=8 taskset -c "$core"
    "$train" doctor "$config" --run "$work/here")
want 1 mpirun --quiet -np 1 "${bound[@]}" : -np 1 -x ONEDNN_MAX_CPU_ISA=SSE41 -x DNNL_MAX_CPU_ISA=SSE41 "${bound[@]}"
matches "^BAD +rank +[01]: .*, 1 cores \($core; another rank has them too\) for 1 threads, .*, Slurm job 7, step 2, node c1; start them by" 2
matches "^BAD +fingerprint +rank 1 on .* has 'library .*sse41.*', rank 0 'library .*: other bits; use one build"
want 1 "$train" doctor "$config" --run "$work/here" --set train.threads=1000
matches "^BAD +rank +0: .*, $(nproc) cores \($core.*\) for 1000 threads, .* \(or set train.threads\)"
want 0 "$train" doctor "$config" --run "$work/here" --set train.threads=0
matches "^ok +rank +0: .*, $(nproc) cores \($core.*\) for $(nproc) threads, "
matches "^ok +fingerprint +the same on all ranks: [0-9a-f]{16}, oneDNN .* isa "
[ ! -e "$work/x/checkpoints" ] || fail "ranks that differ wrote a version"
want 2 env -u OMPI_COMM_WORLD_SIZE SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 "$train" train "$config" --run "$work/x"
matches "srun --mpi=pmix"
# Slurm's variables, and other launchers', where they manage no ranks: of an allocation, or a shell of it.
strange=(SLURM_JOB_ID=7 SLURM_NTASKS=8 SLURM_NPROCS=8 SLURM_PROCID=3 SLURM_LOCALID=3 RANK=5 WORLD_SIZE=8 LOCAL_RANK=5
    MASTER_ADDR=nowhere MASTER_PORT=1)
want 0 env "${strange[@]}" "$train" train "$config" --run "$work/strange" -q
same "$work/strange"
want 0 env "${strange[@]}" mpirun --quiet -np 2 "$train" train "$config" --run "$work/stranger" -q
same "$work/stranger"
[ "$(jq .ranks "$work/stranger/summary.json")" = 2 ] || fail "$(jq .ranks "$work/stranger/summary.json") ranks instead of 2"
echo "ok: bad surroundings are refused, strange ones do not matter"

# ---- a rank that is slow: the run says that the others wait for sums, and how long ----
want 0 mpirun --quiet -np 1 "$train" train "$config" --run "$work/waits" -q : \
    -np 1 -x FLYWHEEL_INJECT='train.input=delay:20@*' "$train" train "$config" --run "$work/waits" -q
same "$work/waits"
matches "[0-9]+ % of the training waited for sums between ranks: more ranks"
[ "$(jq '.sums_share > 0.25 and .sums_share < 1' "$work/waits/summary.json")" = true ] || fail "sums_share: $(jq .sums_share "$work/waits/summary.json")"
[ "$(jq .sums_share "$work/one/summary.json")" = null ] || fail "one rank waits for sums"
echo "ok: a run says what keeps it from being faster"

# ---- all that was there is killed at once, the launcher too: nothing of it is in the next start's way ----
begin "$work/razed" 4 3:train.step=stop@9
await_rank 3
await test -d "$work/razed/checkpoints/v000001"
razed=$(pgrep -P "$pid")
kill -KILL "$pid"
# shellcheck disable=SC2086 # words
kill -KILL $razed
wait "$pid" 2>/dev/null || true
pid=
want 0 mpirun --quiet -np 4 "$train" train "$config" --run "$work/razed" -q
matches "resuming from version 1"
same "$work/razed"
echo "ok: leftovers of a killed job disturb nobody"

# ---- preemption: of the last rank alone, wherever it is ----
alone=()
for point in train.step=stop@1 train.step=stop@11 train.evaluate=stop@1; do
    run=$work/preempted-${point//[=@]/-}
    begin "$run" 2 "1:$point"
    await_rank 1
    kill -USR1 "$rank"
    kill -CONT "$rank"
    code=0; wait "$pid" || code=$?
    pid=
    [ "$code" = 75 ] || fail "$point: preempted with $code"
    want 0 "$train" train "$config" --run "$run" -q
    matches "resuming from version"
    same "$run"
done
# While rank 0 writes a version, slowly, and before there is anything to save.
for inject in file.fsync=delay:40@*,store.rename=stop@1 store.lease.seen=stop; do
    run=$work/preempted-${inject//[^a-z]/-}
    mpirun --quiet -np 1 -x FLYWHEEL_INJECT="$inject" "$train" train "$config" --run "$run" -q : \
        -np 1 "$train" train "$config" --run "$run" -q >"$work/log" 2>&1 &
    pid=$!
    await_rank 0
    kill -USR1 "$(rank_pid 1)"
    kill -CONT "$rank"
    code=0; wait "$pid" || code=$?
    pid=
    [ "$code" = 75 ] || fail "$inject: preempted with $code"
    want 0 "$train" train "$config" --run "$run" -q
    same "$run"
done
echo "ok: one preempted rank stops all, before its first step, in one, an evaluation, a version and at the start; same bits"
