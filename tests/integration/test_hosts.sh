#!/bin/bash
# Two hosts: cluster-configs/two-nodes.json as its head says, with a small network and data set; then a link is cut in the
# middle, and the supervisor goes on with half the ranks on the host that answers. The weights are those of one rank.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/tests/integration/namespaces.bash"
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }
hosts_contain fwh
. "$root/tests/integration/fail.bash"

cd "$root" # the config names its hostfile from here
config=cluster-configs/two-nodes.json
small=(-q --set model.network=zoo:lenet --set data.dataset=synthetic:10:1203:32x32x3 --set data.holdout=50
    --set data.test_limit=100 --set train.groups=[] --set train.epochs=1 --set train.batch=31 --set train.lr=0.0005
    --set train.threads=1 --set store.every_steps=10 --set store.keep_last=100)
fw=$FLYWHEEL_BIN/flywheel
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm_rsh_agent=$agent OMPI_MCA_plm=rsh

want 0 "$FLYWHEEL_BIN/flywheel-train" train "$config" "${small[@]}" --run "$work/alone"
wanted=$(sha_of "$work/alone")

hosts_up 2
want 0 on 1 "$fw" train "$config" --ranks 4 "${small[@]}" --run "$work/two"
[ "$(sha_of "$work/two")" = "$wanted" ] || fail "two hosts give other bits than one rank"
echo "ok: four ranks on two hosts give the bits of one"
want 78 on 1 "$fw" train "$config" --ranks 4 --restarts 9 "${small[@]}" --set model.network=zoo:simplenet --run "$work/two"
says "choose another --run"
says "ended with code 78, which no restart mends"
! grep -q "restart 1" "$log" || fail "tried again"
echo "ok: what does not fit the run directory is not tried again"

want 0 on 1 "$fw" doctor "$config" --ranks 4 "${small[@]:1}" --run "$work/two"
matches "^ok +rank +0: node-1, process [0-9]+, [0-9]+ cores"
matches "^ok +rank +3: node-2, process"
[ "$(grep -c "shared memory" "$log")" = 2 ] || fail "shared memory is not told of once a host"
matches "^ok +fingerprint +the same on all ranks"
matches "^ok +clocks +at most 0\.[0-9]+ s apart"
matches "^ok +run directory +$work/two: shared; of 4 renames to one name 1 succeeded"
matches "^ok +all-reduce +every bit is right; 16 MiB between 4 ranks: [0-9.]+ GB/s"
[ -z "$(find "$work/two" -name '.doctor*')" ] || fail "doctor leaves a folder behind"
want 1 on 1 "$fw" doctor "$config" --ranks 4 "${small[@]:1}" --run /proc/self/net/none
says "/proc/self/net/none"
# A host whose clock is wrong and whose /dev/shm is a container's.
cat >"$work/cramped" <<CRAMPED
#!/bin/sh
export FLYWHEEL_INJECT=train.doctor.clock=eio
exec unshare -m sh -c 'mount -t tmpfs -o size=30m tmpfs /dev/shm; exec "\$@"' sh "$agent" "\$@"
CRAMPED
chmod +x "$work/cramped"
OMPI_MCA_plm_rsh_agent=$work/cramped want 1 on 1 "$fw" doctor "$config" --ranks 4 "${small[@]:1}" --run "$work/two"
matches "^ok +shared memory +rank 0 on node-1"
matches "^BAD +shared memory +rank 2 on node-2: [0-9]+ of 30 MiB free in /dev/shm; MPI needs room there"
matches "^BAD +clocks +rank [23] on node-2 is 3600\.[0-9] s ahead of rank 0 on node-1; set them by NTP"
matches "^ok +all-reduce +every bit is right"
says "2 of the checks failed"
echo "ok: doctor shows both hosts, and says of a bad one what is wrong and what to do"

# ---- a link is cut ----
# mpirun may wait for ever for the daemon that was cut off: then the supervisor ends it after stop_timeout_ms.
watch=(--set allreduce.collective_timeout_ms=2000 --set allreduce.late_ms=800 --set allreduce.heartbeat_ms=150
    --set cluster.probe_ms=2500 --set cluster.restart_ms=100 --set cluster.stop_timeout_ms=2000)
# All ranks wait before a step in the middle for the cut.
hold
FLYWHEEL_INJECT=train.step=hold@25 on 1 "$fw" train "$config" --ranks 4 --restarts 3 "${small[@]}" "${watch[@]}" \
    --run "$work/cut" >"$log" 2>&1 &
supervisor=$!
until [ -d "$work/cut/checkpoints/v000002" ]; do
    kill -0 "$supervisor" 2>/dev/null || fail "the run ended before its step 20"
    sleep 0.02
done
link 2 down
let_go
began=$SECONDS code=0
wait "$supervisor" || code=$?
[ "$code" = 0 ] || fail "the supervisor ended with $code"
matches "rank [23] on node-2: silent for .*, last in '(step|checkpoint)' step [0-9]+, .* behind"
says "host node-2 does not answer"
says "going on with 2 ranks instead of 4"
matches "resuming from version [23], step [23]0"
[ "$(sha_of "$work/cut")" = "$wanted" ] || fail "the run that lost a host has other bits"
grep -q '"event":"restart"' "$work/cut/events.jsonl" || fail "no restart in events.jsonl"
echo "ok: a host that is cut off is left behind after $((SECONDS - began)) s; the same bits with half the ranks"
