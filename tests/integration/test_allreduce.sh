#!/bin/bash
# The all-reduce between real ranks: right sums, the same bits at every rank count, and ranks that die, freeze, fall behind
# or give up, where the others must name the culprit and leave in time without mpirun's help.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }
. "$(dirname "${BASH_SOURCE[0]}")/job.bash"

fixture=$FLYWHEEL_BIN/fixture_allreduce
program=$FLYWHEEL_BIN/flywheel-allreduce
launcher=

cleanup() {
    [ -z "$launcher" ] || kill -KILL "$launcher" 2>/dev/null || true
    cat "$work"/pid.* 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

ranks() { # W COMMAND...: everything it says goes to the log
    local w=$1
    shift
    rm -f "$work"/pid.* "$work"/ready.*
    mpirun --quiet -np "$w" "$@" >"$work/log" 2>&1
}

alive() { # PID: neither gone nor a zombie
    local state
    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) && [ "$state" != Z ]
}

# The same bits, plain and compressed.
for compress in false true; do
    first=
    for w in 1 2 4 8; do
        ranks $w "$program" check --json --set allreduce.compress=$compress || fail "check -np $w"
        sha=$(sed -n 's/.*"sha256":"\([0-9a-f]*\)".*/\1/p' "$work/log")
        [ ${#sha} = 64 ] || fail "check -np $w: no hash"
        [ "${first:=$sha}" = "$sha" ] || fail "-np $w gives other bits: $sha, not $first"
    done
    echo "ok: 1, 2, 4 and 8 ranks: ${first:0:16} (compress $compress)"
done

ranks 3 "$program" check --json && fail "3 ranks with order fixed"
matches "3 ranks: .*power of two"
ranks 3 "$program" check --json --set allreduce.order=fast || fail "3 ranks with order fast"
ranks 2 "$program" check --set allreduce.order=fast --set allreduce.compress=true && fail "fast, compressed"
matches "needs allreduce.order"
echo "ok: rank counts and orders that do not fit are refused"

ranks 4 "$fixture" agree "$work" || fail "agree"
matches "verdict [012] CM_ENOSPC: saving: rank 3: no room for v7" 3
matches "verdict 3 CM_ENOSPC: rank 3 on .*: no room for v7"
echo "ok: ranks fail together"

ranks 4 "$fixture" same "$work" || fail "same"
matches "verdict [0123] CM_EMISMATCH: fingerprint differs: rank 1 .*'isa: avx512', rank [0-3] .*'isa: avx2': buy twins" 4
echo "ok: what differs between ranks is named"

for w in 1 2 4; do
    ranks $w "$fixture" buckets "$work" || fail "buckets -np $w"
done
ranks 2 "$fixture" buckets "$work" allreduce.order=fast || fail "buckets, order fast"
echo "ok: 1,000 buckets that become ready late"

# Losing a rank: mpirun is told to let the others be.
limits="allreduce.collective_timeout_ms=2000 allreduce.late_ms=500 allreduce.heartbeat_ms=100"
alone="--mca orte_abort_on_non_zero_status 0 --enable-recovery"

start_loop() { # 4 ranks in the background, in mid-loop when this returns
    rm -f "$work"/pid.* "$work"/ready.*
    # shellcheck disable=SC2086
    mpirun --quiet $alone -np 4 "$fixture" loop "$work" $limits >"$work/log" 2>&1 &
    launcher=$!
    for _ in $(seq 600); do
        [ "$(find "$work" -name 'ready.*' | wc -l)" = 4 ] && return
        sleep 0.05
    done
    fail "the ranks did not start"
}

end_loop() {
    cat "$work"/pid.* | xargs -r kill -KILL 2>/dev/null || true
    kill -KILL "$launcher" 2>/dev/null || true
    wait "$launcher" 2>/dev/null || true
    launcher=
}

# lose SIGNAL WHAT: rank 1 of 4 gets it in mid-loop; the others leave. What they say shows whether they knew (gone) or
# waited for their deadline (silent).
lose() {
    start_loop
    local begin now r
    begin=$(date +%s%N)
    kill "-$1" "$(cat "$work/pid.1")"
    for r in 0 2 3; do
        while alive "$(cat "$work/pid.$r")"; do
            now=$(date +%s%N)
            [ $(((now - begin) / 1000000)) -lt 60000 ] || fail "SIG$1: rank $r is still there after a minute"
            sleep 0.02
        done
    done
    now=$(date +%s%N)
    matches "waited .* for rank 1 on .*: $2"
    matches "of 3 other ranks: 0 left, "
    [ "$(grep -c "of 3 other ranks" "$work/log")" -le 3 ] || fail "more than one screen each"
    matches "leaving: " 3
    echo "ok: SIG$1 to rank 1 of 4: the others left after $(((now - begin) / 1000000)) ms"
    end_loop
}
lose KILL "gone \(killed or crashed\), last in '(loop|start)' step"
lose STOP "silent for .*, last in '(loop|start)' step"
matches "late: collective .* waited [0-9.]+ s for rank 1 on"

# A job that its scheduler suspends for longer than the deadline goes on afterwards.
start_loop
xargs kill -STOP < <(cat "$work"/pid.*)
sleep 3
xargs kill -CONT < <(cat "$work"/pid.*)
sleep 1
for r in 0 1 2 3; do
    alive "$(cat "$work/pid.$r")" || fail "rank $r did not survive that the job was suspended"
done
end_loop
echo "ok: a job suspended for 3 s goes on"

# shellcheck disable=SC2086
ranks 2 "$fixture" behind "$work" $limits && fail "a rank that does not come was not missed"
matches "late: .*for rank 1 on .*: behind: for .* in 'long checkpoint' step 7"
matches "leaving: .*for rank 1 on .*: behind: for .* in 'long checkpoint' step 7, collective .* behind"
echo "ok: a rank that is elsewhere is named with what it does"

begin=$(date +%s%N)
# shellcheck disable=SC2086
ranks 4 $alone "$fixture" leaves "$work" || true # what mpirun makes of it is not the point
matches "leaving: rank 1 on .* left: reading data: batch 17 is torn" 3
echo "ok: a rank that gives up is heard by all ($((($(date +%s%N) - begin) / 1000000)) ms with start)"

ranks 2 "$fixture" idle "$work" || fail "idle"
share=$(sed -n 's/^idle 1 \([0-9.]*\) %/\1/p' "$work/log")
awk -v s="$share" 'BEGIN { exit !(s != "" && s < 2) }' || fail "a waiting rank burns $share % of a core"
echo "ok: a rank that waits burns $share % of a core"
