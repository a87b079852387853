#!/bin/bash
# Workers that are slow, hang, die or cannot read while versions change: what is waited for, what is computed again, and
# which version serves in the end. FLYWHEEL_INJECT makes them so.
. "$(dirname "$0")/serve.bash"

store network lenet 1 2 3 4 champion 1 images 8 "$work/images" >"$work/store.log" 2>&1 || fail "store"

# begin NAME=VALUE...: a new gateway, these keys of section serve set.
begin() { gateway "${@/#/--set=serve.}" && await 10 test -f "$run/serve.json"; }
# end: all processes, and the champion is v1 again.
end() {
    local name
    for name in "${!pids[@]}"; do
        kill -KILL "${pids[$name]}" 2>/dev/null || true
        wait "${pids[$name]}" 2>/dev/null || true
        unset "pids[$name]"
    done
    rm -f "$run/serve.json" "$work"/gateway.log "$work"/worker?.log
    store champion 1
}
# faulty POINT=ACTION ID: a worker.
faulty() { FLYWHEEL_INJECT=$1 worker "$2"; }
ask() { start client "$bin/flywheel-client" predict "$work/images/0.png" --run "$run" --timeout-ms 30000; }
# answered N TEXT: the client's run has ended, with N answers that say so.
answered() {
    code=0
    wait "${pids[client]}" || code=$?
    unset 'pids[client]'
    [ "$code" = 0 ] || fail "the client ended with $code"
    [ "$(grep -c -- "$2" "$work/client.log")" = "$1" ] || fail "not $1 times '$2'"
    rm "$work/client.log"
}
says_log() { grep -qF -- "$1" "$work/gateway.log"; }
event() { grep -qF -- "\"event\":\"$1\"" "$run/events.jsonl"; }

# All workers are busy at a switch: they are waited for, however long switch_ms is over.
begin switch_ms=20
faulty serve.compute=delay:1500 0
await 20 ready
ask
await 10 metric_is flywheel_inflight_requests 1
store champion 2
await 20 serves 2
answered 1 ' v1$'
metric_is flywheel_requeued_requests_total 0 || fail "a busy worker's batch was given back to nobody"
end

# One is busy, another idle with the new version: it computes again, and the late answer is dropped.
begin switch_ms=20
faulty serve.compute=delay:1500 0
await 20 ready
worker 1
await 20 workers_are 2
ask
await 10 metric_is flywheel_inflight_requests 1
store champion 2
answered 1 ' v2$'
await 10 metric_is flywheel_late_answers_total 1
metric_is flywheel_requeued_requests_total 1 || fail "not given to the idle worker"
end

# A request that three workers died of is no good; the next one is.
begin
for id in 0 1 2; do faulty serve.compute=kill $id; done
await 20 ready
await 20 workers_are 3
all_loaded() { [ "$(grep -c 'is loaded' <(cat "$work"/worker[0-9].log))" -ge 3 ]; }
await 20 all_loaded
want 1 "$bin/flywheel-client" predict "$work/images/0.png" --run "$run" --timeout-ms 30000
says "every worker that computed it died"
await 10 metric_is flywheel_workers_lost_total 3
worker 3
await 20 ready
want 0 "$bin/flywheel-client" predict "$work/images/0.png" --run "$run"
end
echo "ok"
