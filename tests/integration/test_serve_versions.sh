#!/bin/bash
# Workers that are slow, hang, die or cannot read while versions change: what is waited for, what is computed again, and
# which version serves in the end. FLYWHEEL_INJECT makes them so.
. "$(dirname "$0")/serve.bash"

store network lenet 1 2 3 4 champion 1 images 8 "$work/images" >"$work/store.log" 2>&1 || fail "store"

# begin NAME=VALUE...: a new gateway, these keys of section serve set.
begin() { gateway "${@/#/--set=serve.}" && await test -f "$run/serve.json"; }
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
# all_have VERSION N: so many workers have loaded it.
all_have() { [ "$(cat "$work"/worker?.log | grep -c "version $1 is loaded")" = "$2" ]; }
says_log() { grep -qF -- "$1" "$work/gateway.log"; }
event() { grep -qF -- "\"event\":\"$1\"" "$run/events.jsonl"; }

# All workers are busy at a switch: they are waited for, however long switch_ms is over.
begin switch_ms=20
hold
faulty serve.compute=hold 0
await ready
ask
await metric_is flywheel_inflight_requests 1
store champion 2
await grep -q 'version 2 is loaded' "$work/worker0.log"
serves 1 || fail "nobody could answer with version 2 yet"
let_go
await serves 2
answered 1 ' v1$'
metric_is flywheel_requeued_requests_total 0 || fail "a busy worker's batch was given back to nobody"
end

# One is busy, another idle with the new version: it computes again, and the late answer is dropped.
begin switch_ms=20
hold
faulty serve.compute=hold 0
await ready
worker 1
await grep -q 'version 1 is loaded' "$work/worker1.log"
ask
await metric_is flywheel_inflight_requests 1
store champion 2
answered 1 ' v2$'
let_go
await metric_is flywheel_late_answers_total 1
metric_is flywheel_requeued_requests_total 1 || fail "not given to the idle worker"
end

# So is the answer for who asked for the old version by its number: that one is gone, and nothing else was asked for.
begin switch_ms=20
hold
faulty serve.compute=hold 0
await ready
worker 1
await grep -q 'version 1 is loaded' "$work/worker1.log"
start client curl -s -o "$work/answer" -w '%{http_code}' --data-binary "@$work/images/0.png" "$(url '/predictions/lenet/1?timeout_ms=30000')"
await metric_is flywheel_inflight_requests 1
store champion 2
wait "${pids[client]}"
unset 'pids[client]'
[ "$(cat "$work/client.log")" = 404 ] || fail "a version that was replaced: $(cat "$work/client.log")"
grep -q 'just been replaced' "$work/answer" || fail "it is told: $(cat "$work/answer")"
rm "$work/client.log"
metric_is 'flywheel_requests_total{transport="http",status="unsupported"}' 1 || fail "counted as something else"
metric_is 'flywheel_requests_total{transport="http",status="ok"}' 0 || fail "counted as answered"
let_go
end

# A request that three workers died of is no good; the next one is.
begin
for id in 0 1 2; do faulty serve.compute=kill $id; done
await ready
await workers_are 3
all_loaded() { [ "$(grep -c 'is loaded' <(cat "$work"/worker[0-9].log))" -ge 3 ]; }
await all_loaded
want 1 "$bin/flywheel-client" predict "$work/images/0.png" --run "$run" --timeout-ms 30000
says "every worker that computed it died"
await at_least flywheel_workers_lost_total 3
worker 3
await ready
want 0 "$bin/flywheel-client" predict "$work/images/0.png" --run "$run"
end

# A request that comes again gets its answer again, but none of a version that is gone.
begin
worker 0
await ready
again() { "$bin/fixture_again" "$(field clients)" "$work/images/0.png" 7; }
first=$(again)
[ "$(again)" = "$first" ] || fail "computed twice"
store champion 2
await serves 2
second=$(again)
[ "${second##* }" = v2 ] || fail "an old answer: $second"
[ "$(again)" = "$second" ] || fail "computed twice"
[ "${first##* }" = v1 ] || fail "the first answer: $first"
end

# A lane that hangs: the worker ends by itself, so that it cannot come back and take another batch to its grave.
begin batch_timeout_ms=2000
FLYWHEEL_INJECT=serve.compute=delay:600000 start worker0 "$bin/flywheel-worker" "$config" --id 0 --set serve.batch_timeout_ms=2000
await ready
worker 1
await workers_are 2
await grep -q 'is loaded' "$work/worker1.log"
ask
answered 1 ' v1$'
await workers_are 1
code=0
wait "${pids[worker0]}" || code=$?
unset 'pids[worker0]'
[ "$code" = 1 ] || fail "a worker that hangs ended with $code"
grep -q 'takes longer than 2000 ms' "$work/worker0.log" || fail "it does not say why"
end

# A gateway that was stopped itself: its workers come back on new links, and none is taken for dead.
begin
for id in 0 1; do start worker$id "$bin/flywheel-worker" "$config" --id $id --set serve.heartbeat_ms=1000; done
await ready
await workers_are 2
given_up() { [ "$(cat "$work"/worker[01].log | grep -c 'waiting for a gateway')" -ge 4 ]; } # at the start and now, by both
kill -STOP "${pids[gateway]}"
await given_up
kill -CONT "${pids[gateway]}"
ask
answered 1 ' v1$'
await workers_are 2
metric_is flywheel_workers_lost_total 0 || fail "workers are blamed for the gateway's pause"
end

# A version that workers die of: after the second death nobody is asked for it any more.
begin
faulty serve.load=kill@2 0
await ready
store champion 2
await at_least flywheel_workers_lost_total 1
faulty serve.load=kill@2 0
await at_least flywheel_workers_lost_total 2
await metric_is flywheel_quarantined_versions 1
says_log "workers die of loading it" || fail "the log does not say so"
event version_refused || fail "no event"
worker 0
await ready
serves 1 || fail "the old version does not go on"
end

# Two workers die of it and a third one has it, or will: the version is good, and takes over.
begin
worker 0
for id in 1 2; do faulty serve.load=kill@2 $id; done
await ready
await all_have 1 3
store champion 2
await at_least flywheel_workers_lost_total 2
await serves 2
metric_is flywheel_quarantined_versions 0 || fail "a version is blamed that a worker has"
end

# Two that beat slower than the gateway are taken for dead while they load it, and come back within three beats of theirs.
begin heartbeat_ms=50
hold
for id in 0 1; do
    FLYWHEEL_INJECT=serve.load=hold@2 \
        start worker$id "$bin/flywheel-worker" "$config" --id $id --set serve.heartbeat_ms=1000
done
await workers_are 2
await all_have 1 2
store champion 2
await says_log "version 2 is next"
for id in 0 1; do kill -STOP "${pids[worker$id]}"; done
await at_least flywheel_workers_lost_total 2
sleep 0.5 # three beats of the gateway, and not of theirs
for id in 0 1; do kill -CONT "${pids[worker$id]}"; done
await workers_are 2
let_go
await serves 2
metric_is flywheel_quarantined_versions 0 || fail "a version is blamed for workers that live"
end

# What cannot be read for a moment is tried again: no refusal, and at the start no step back to an older version.
store champion 2
begin
faulty serve.load=eio@1,serve.load=eio@2 0
await ready
serves 2 || fail "a passing fault was taken for a verdict"
metric_is flywheel_version_refusals_total 0 || fail "refused"
end

# Neither worker can read the champion, and nothing serves yet: what the alias named before stands in, for a reason that is
# told, and the champion takes over once it can be read, though not at the first try.
store champion 1 champion 2
begin load_timeout_ms=1000
for id in 0 1; do
    FLYWHEEL_INJECT=serve.load=eio@1,serve.load=eio@3 \
        start worker$id "$bin/flywheel-worker" "$config" --id $id --set serve.load_retry_ms=0
done
await serves 1
ready || fail "nothing answers"
event version_put_off || fail "no event for the champion"
grep -q '"event":"version_fell_back".*"version":1.*"why":"version 2: injected' "$run/events.jsonl" ||
    fail "no event says what stands in, and why"
await serves 2
metric_is flywheel_version_refusals_total 0 || fail "a passing fault was taken for a verdict"
ask
answered 1 ' v2$'
end

# The same, but of what stands in: one worker hangs in loading it, the other one cannot read it either. The champion is tried
# again all the same, by the one that can.
store champion 1 champion 2
rm "$run/events.jsonl"
begin load_timeout_ms=1000
FLYWHEEL_INJECT=serve.load=eio@1,serve.load=delay:600000@2 \
    start worker0 "$bin/flywheel-worker" "$config" --id 0 --set serve.load_retry_ms=0
await event version_fell_back
FLYWHEEL_INJECT=serve.load=eio@1 start worker1 "$bin/flywheel-worker" "$config" --id 1 --set serve.load_retry_ms=0
await serves 2
grep -q '"event":"version_put_off".*"version":1,' "$run/events.jsonl" || fail "the champion waited for what hangs"
metric_is flywheel_quarantined_versions 0 || fail "quarantined"
end

# No version can be read for a while: all are put off, and tried again until one is. There is a pause before each time.
store champion 2
begin load_timeout_ms=1000
printf -v faults ',serve.load=eio@%d' {1..8}
FLYWHEEL_INJECT=${faults:1} start worker0 "$bin/flywheel-worker" "$config" --id 0 --set serve.load_retry_ms=0
await serves 2
metric_is flywheel_version_put_off_total 8 || fail "tried $(metric flywheel_version_put_off_total) times"
metric_is flywheel_quarantined_versions 0 || fail "quarantined"
end

# The gateway cannot read it yet, and looks again soon even when it hardly ever polls.
mv "$run/checkpoints/v000002" "$work/hidden"
store champion 2
begin poll_ms=3600000 load_retry_ms=30000
worker 0
await says_log "version 2 cannot be read yet"
mv "$work/hidden" "$run/checkpoints/v000002"
await serves 2
metric_is flywheel_version_refusals_total 0 || fail "refused"
end

# Nor for longer than that, and another stands in: that it is not there when it is tried again is no verdict either.
mv "$run/checkpoints/v000002" "$work/hidden"
store champion 1 champion 2
begin load_retry_ms=0
worker 0
await serves 1
tried_again() { [ "$(grep -c 'version 2 cannot be read yet' "$work/gateway.log")" -ge 2 ]; }
await tried_again
mv "$work/hidden" "$run/checkpoints/v000002"
await serves 2
metric_is flywheel_version_refusals_total 0 || fail "refused"
end

# Two of three workers cannot read the new version for longer than that. The old one goes on, and this is told; half is
# enough, and nobody is in quarantine.
begin load_timeout_ms=800
worker 0
await ready
faulty 'serve.load=eio@*' 1
faulty 'serve.load=eio@*' 2
await workers_are 3
store champion 2
await metric_is flywheel_rollout_stalls_total 1
event rollout_stalled || fail "no event"
serves 1 || fail "one of three was enough"
stop worker2 TERM
await serves 2
metric_is flywheel_quarantined_versions 0 || fail "quarantined"
end

# What serves becomes unreadable for ever, and all workers are new: what the alias named before takes over.
store champion 3 champion 1
begin
worker 0
await ready
weights=$run/checkpoints/v000001/model.safetensors
cp "$weights" "$work/weights"
printf 'x' | dd of="$weights" bs=1 seek=20000 conv=notrunc status=none
stop worker0 KILL
worker 1
await serves 3
await ready
cp "$work/weights" "$weights"
end

# 'latest' walks back as an alias does.
weights=$run/checkpoints/v000004/model.safetensors
cp "$weights" "$work/weights"
printf 'x' | dd of="$weights" bs=1 seek=20000 conv=notrunc status=none
begin alias=latest
worker 0
await serves 3
cp "$work/weights" "$weights"
end

# Workers over TCP, as from other hosts.
begin workers_listen=tcp://127.0.0.1:0
case $(field workers) in tcp://127.0.0.1:[1-9]*) ;; *) fail "workers at $(field workers)" ;; esac
start worker0 "$bin/flywheel-worker" "$config" --id 0 --endpoint "$(field workers)"
worker 1
await workers_are 2
await ready
ask
answered 1 ' v1$'
stop worker0 KILL
await workers_are 1
ask
answered 1 ' v1$'
end

# ends NAME CODE: after TERM, though what it waits for would take ten minutes.
ends() {
    kill -TERM "${pids[$1]}"
    await gone "${pids[$1]}"
    code=0
    wait "${pids[$1]}" || code=$?
    unset "pids[$1]"
    [ "$code" = "$2" ] || fail "$1 ended with $code"
}
gone() { ! kill -0 "$1" || grep -q '^State:.Z' "/proc/$1/status"; }

# The end waits for nobody for ever: a store that hangs under the gateway, a load under a worker, a request without a
# worker. Who asked is told so first.
FLYWHEEL_INJECT=serve.look=delay:600000@5 begin drain_notice_ms=0 drain_ms=300
FLYWHEEL_INJECT=serve.load=delay:600000@2 start worker0 "$bin/flywheel-worker" "$config" --id 0 --set serve.drain_ms=300
await ready
store champion 2
ends worker0 0
await workers_are 0
start client curl -s -o "$work/answer" -w '%{http_code}' --data-binary "@$work/images/0.png" "$(url /predict)"
await metric_is flywheel_queued_requests 1
ends gateway 0
wait "${pids[client]}"
[ "$(cat "$work/client.log")" = 503 ] || fail "the last request: $(cat "$work/client.log")"
grep -q "has stopped" "$work/answer" || fail "the last request is told: $(cat "$work/answer")"
unset 'pids[client]'
rm "$work/client.log"
end

# The store is made anew under a running gateway: the same numbers, other bytes.
made() { curl -s "$(url /v2/models/lenet)" | sed -n 's/.*"manifest_hash":"\([0-9a-f]*\)".*/\1/p'; }
remade() { [ "$(made)" != "$before" ]; }
begin
worker 0
await ready
before=$(made)
mv "$run/checkpoints" "$work/old"
store network lenet 7 champion 1 >>"$work/store.log"
await remade
serves 1 || fail "the new version 1"
ask
answered 1 ' v1$'
end
echo "ok"
