#!/bin/bash
# scripts/quickstart in small: a network and a data set that need seconds. Interrupted while it trains; the whole loop
# once with --keep, its summary, the cluster that stays and goes; then a second run that starts from the same model and
# is interrupted, and a third whose script is killed. FLYWHEEL_BIN: where the programs are.
set -euo pipefail

export FLYWHEEL_BIN=${FLYWHEEL_BIN:?}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
fw=$FLYWHEEL_BIN/flywheel
work=$(mktemp -d "${TMPDIR:-/tmp}/fwq.XXXXXX")
run=$work/run
export FW_QUICKSTART_TEST=$work TMPDIR=$work
. "$root/tests/integration/check.bash"

# The programs of a cluster that were started here: not the shells and greps of this test itself.
cluster() { for pid in $(marked "FW_QUICKSTART_TEST=$work"); do grep -slE '^(flywheel|redis-server|mpirun|quickstart)' "/proc/$pid/comm"; done; true; }
finish()
{
    local left
    left=$(cluster | cut -d/ -f3)
    [ -z "$left" ] || kill -9 $left 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

none_left() { [ -z "$(cluster)" ]; }
holds() { jq -e "$1" "$run/summary.json" >/dev/null; }
# Not a function: in the background $! would be a subshell around it, which ignores SIGINT besides.
quickstart=(env --default-signal=INT,QUIT "$root/scripts/quickstart" --config "$work/small.json" --minutes 0.3 --dir "$run")

jq '.data = {dataset: "synthetic:10:2000:32x32x3", holdout: 500, dir: "data"} | .model.network = "zoo:lenet" |
    .train = {epochs: 6, batch: 64, lr: 0.05, momentum: 0.9, schedule: "linear", warmup: 0.3} |
    .online += {entries: 128, max_wait_s: 5, epochs: 4, batch: 64, lr: 0.02, margin: 0.03}' \
    "$root/cluster-configs/quickstart.json" >"$work/small.json"

cd /
check "an unknown option is a usage error" same "$(code=0; "$root/scripts/quickstart" --kep >/dev/null 2>&1 || code=$?; echo $code)" 2
check "so is a config that is not there" same "$(code=0; "${quickstart[@]}" --config none.json >"$work/log0" 2>&1 || code=$?; echo $code)" 2
check "which is named" grep -q "none.json: no such file" "$work/log0"
check "a folder that nobody can make is an error" same "$(code=0; "${quickstart[@]}" --dir /proc/none >"$work/log0" 2>&1 || code=$?; echo $code)" 1
check "that names it" grep -q "cannot write into /proc/none" "$work/log0"

echo "== interrupted while it trains"
# Ctrl-C on a terminal is for the whole process group. The trainer saves all the same, and the next run goes on from there.
# Where Debian's Fashion-MNIST is, it stands in for a CIFAR-10 that cannot be had.
cut=(setsid "${quickstart[@]}" --config "$work/cut.json" --dir "$work/cut" --minutes 5)
fashion=$([ -e /usr/share/datasets/fashion-mnist ] && echo true || echo false)
jq --argjson fashion $fashion --arg data "$work/data" '.train.epochs = 1000 | .data.test_limit = 100 | .data.dir = $data |
    if $fashion then .data.dataset = "cifar10" else . end' "$work/small.json" >"$work/cut.json"
# Minutes of training are planned, so it still trains when it is seen to.
trains() { [ "$(grep -cs '"event":"start"' "$work/cut/trained/events.jsonl")" = "$go" ]; }
for go in 1 2; do
    env CIFAR10_DIR="$work/none" "${cut[@]}" >"$work/cut$go" 2>&1 &
    pid=$!
    check "it comes to training, the $go. time" await trains
    kill -INT -- "-$pid"
    code=0
    wait "$pid" || code=$?
    check "Ctrl-C is its exit code" same "$code" 130
    check "and leaves nothing" none_left
    check "it says that all is saved" grep -q "all is saved" "$work/cut$go"
    check "and what the next call does" grep -q "called again, it goes on" "$work/cut$go"
done
check "the second one went on from the first" grep -q "resum" "$work/cut2"
if $fashion; then
    check "it says that it takes other images" grep -q "runs on Fashion-MNIST instead" "$work/cut1"
    check "and does" grep -q "^== Training lenet on fashion-mnist" "$work/cut1"
fi

echo "== the loop, kept"
code=0
"${quickstart[@]}" --keep >"$work/log" 2>&1 || code=$?
[ "$code" -eq 0 ] || cat "$work/log" "$run/quickstart.log" "$run"/logs/*.log || true
check "it succeeds" same "$code" 0
check "the summary has its shape" holds '[.images_per_s, .accuracy, .requests.sent, .requests.answered, .requests.failed,
    .versions, .shift.before, .shift.after, .unshifted.before, .unshifted.after, .seconds, .phases[]] |
    all(type == "number")'
check "no request was lost" holds '.requests.sent > 0 and .requests.failed == 0'
check "two versions answered" holds '.versions == 2'
check "the shift hurts" holds '.shift.before < .unshifted.before - 0.1'
check "learning helps" holds '.shift.after > .shift.before + 0.1'
check "what was known stays" holds '.unshifted.after > .unshifted.before - 0.1'
check "seconds are those of the phases" holds '(.seconds - (.phases | add) | fabs) < 0.001'
check "it says how to stop it" grep -qF "$fw down $run/quickstart.json" "$work/log"
check "the cluster runs" "$fw" status "$run/quickstart.json"
refused=$("${quickstart[@]}" 2>&1) && code=0 || code=$?
check "a second one beside it is refused" same "$code" 1
check "and told what to do" grep -q "flywheel down" <<<"$refused"
"$fw" down "$run/quickstart.json"
check "down leaves nothing" none_left

echo "== again, interrupted"
"${quickstart[@]}" >"$work/log2" 2>&1 &
pid=$!
check "it comes to the learning" await grep -q "^== Operators" "$work/log2"
check "from the model that was there" grep -q "trained before" "$work/log2"
kill -INT "$pid"
code=0
wait "$pid" || code=$?
check "Ctrl-C is its exit code" same "$code" 130
check "and leaves nothing" none_left

echo "== again, killed"
"${quickstart[@]}" >"$work/log3" 2>&1 &
pid=$!
await grep -q "^== Asking" "$work/log3"
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
check "a killed script leaves nothing" await none_left

verdict
