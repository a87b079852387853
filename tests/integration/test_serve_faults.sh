#!/bin/bash
# What dies, hangs or restarts while requests are under way: each is answered exactly once all the same.
. "$(dirname "$0")/serve.bash"

store network lenet 1 2 wrong 3 champion 1 images 4 "$work/images" >"$work/store.log" 2>&1 || fail "store"
repeat=12000 # answers of a client's run, in four images

# ask: a client in the background.
ask() { start client "$bin/flywheel-client" predict "$work"/images/*.png --run "$run" --repeat $((repeat / 4)) --timeout-ms 30000; }
# answered: the client's run has ended, with one answer for each.
answered() {
    code=0
    wait "${pids[client]}" || code=$?
    unset 'pids[client]'
    [ "$code" = 0 ] || fail "$1: the client ended with $code"
    [ "$(grep -c ' v[0-9]*$' "$work/client.log")" = $repeat ] || fail "$1: not $repeat answers"
    [ "$(awk '{ print $4 }' "$work/client.log" | sort -u | wc -l)" = $repeat ] || fail "$1: an answer came twice"
    rm "$work/client.log"
}
# busy: so many requests were answered since.
before=0
mark() { before=$(metric 'flywheel_requests_total{transport="zmq",status="ok"}'); }
busy() { [ "$(metric 'flywheel_requests_total{transport="zmq",status="ok"}')" -gt $((before + 200)) ]; }

captures_are_dropped() { ! metric_is flywheel_captures_dropped_total 0; }
captured() { [ "$(redis-cli -s "$socket" EXISTS "$key")" = 1 ]; }
not_ready() { [ "$(curl -s -o /dev/null -w '%{http_code}' "$(url /v2/health/ready)")" = 503 ]; }

# stopping ID: a worker that stops itself in the middle of its fifth batch.
stopping() { FLYWHEEL_INJECT=serve.compute=stop@5 worker "$1"; }

# An address that nobody else takes while a gateway is away.
address=ipc://$work/clients.sock
gateway --set "serve.listen=$address"
stopping 0
stopping 1
await ready
await workers_are 2

# A worker is killed while it answers, with a batch in its hands, and another hangs and comes back.
ask
await stopped worker0
await stopped worker1
stop worker0 KILL
await workers_are 0
kill -CONT "${pids[worker1]}"
await workers_are 1
worker 0
await workers_are 2
answered "killed and stopped workers"
[ "$(metric flywheel_requeued_requests_total)" -gt 0 ] || fail "the killed worker had nothing to lose"
[ "$(metric flywheel_workers_lost_total)" -ge 2 ] || fail "two workers were lost"

# A worker is told to stop: it finishes and says goodbye.
mark
ask
await busy
stop worker0 TERM
[ "$code" = 0 ] || fail "a worker ended with $code"
await workers_are 1
worker 0
answered "worker told to stop"

# All workers are gone for a moment: requests wait for the next one.
mark
ask
await busy
stop worker0 KILL
stop worker1 KILL
await workers_are 0
http /v2/health/ready
[ "$http" = 503 ] || fail "ready without workers: $http"
worker 0
worker 1
answered "no worker"
await workers_are 2

# The gateway is killed, with batches under way, and started anew at the same address: the client asks again.
stop worker0 TERM
stop worker1 TERM
stopping 0
stopping 1
await ready
await workers_are 2
ask
await stopped worker0
await stopped worker1
stop gateway KILL
gateway --set "serve.listen=$address"
for id in 0 1; do kill -CONT "${pids[worker$id]}"; done
answered "killed gateway"
busy_now=$(metric 'flywheel_requests_total{transport="zmq",status="ok"}')
[ "$busy_now" -gt 0 ] && [ "$busy_now" -lt $repeat ] || fail "the second gateway answered $busy_now of $repeat"
await workers_are 2

# A gateway that is told to stop first says that it is not ready, and still answers.
stop gateway KILL
rm "$run/serve.json"
gateway --set "serve.listen=$address" --set serve.drain_notice_ms=60000
await ready
await workers_are 2
kill -TERM "${pids[gateway]}"
await not_ready
want 0 "$bin/flywheel-client" predict "$work"/images/*.png --run "$run"
stop gateway TERM # told again, it does not wait for the notice
[ "$code" = 0 ] || fail "drained with $code"

# The champion is no good when the gateway starts: what it named before serves.
store champion 2 champion 3
gateway
await ready
await serves 2
grep -q "in quarantine" "$work/gateway.log" || fail "the bad champion is not told"
stop gateway TERM
[ "$code" = 0 ] || fail "the gateway ended with $code"
store champion 2

# An announcement is enough to look at the store.
gateway --set serve.poll_ms=3600000
await serves 2
store champion 1
sleep 1 # twenty looks of the other gateways here: there is no event to await where nothing is to happen
serves 2 || fail "the gateway looks at the store by itself"
store announce "$(field announce)"
await serves 1
stop gateway TERM
store champion 2

# A full queue says so at once, and when to come again; a deadline is kept.
stop worker0 TERM
stop worker1 TERM
gateway --set serve.queue_requests=1
await test -f "$run/serve.json"
http '/predict?timeout_ms=100' --data-binary "@$work/images/0.png"
[ "$http" = 503 ] || fail "no worker by the deadline: $http"
start slow curl -s -o /dev/null --data-binary "@$work/images/0.png" "$(url '/predict?timeout_ms=60000')"
await metric_is flywheel_queued_requests 1
curl -s -D "$work/head.log" -o "$work/out.log" --data-binary "@$work/images/0.png" "$(url /predict)"
grep -q "503" "$work/head.log" || fail "a full queue: $(cat "$work/head.log")"
grep -qi "^retry-after: [1-9]" "$work/head.log" || fail "no Retry-After"
stop slow KILL
stop gateway KILL
rm "$run/serve.json"

# Captures: a hash that expires for each answer; without Redis all goes on.
if command -v redis-server >/dev/null; then
    socket=$work/redis.sock
    start redis redis-server --port 0 --unixsocket "$socket" --save '' --dir "$work"
    await redis-cli -s "$socket" PING
    gateway --set serve.capture=true --set "serve.redis=unix:$socket" --set serve.capture_ttl_s=1000
    worker 0
    await ready
    want 0 "$bin/flywheel-client" predict "$work/images/0.png" --run "$run"
    key=fw:capture:$(awk '{ print $4 }' "$work/out.log")
    await captured
    [ "$(redis-cli -s "$socket" HGET "$key" version)" = 2 ] || fail "the capture's version"
    [ "$(redis-cli -s "$socket" HGET "$key" label)" = "$(awk '{ print $2 }' "$work/out.log")" ] || fail "the capture's label"
    cmp <(redis-cli -s "$socket" --no-raw HGET "$key" kind) <(echo '"file"') || fail "the capture's kind"
    ttl=$(redis-cli -s "$socket" TTL "$key")
    [ "$ttl" -gt 900 ] && [ "$ttl" -le 1000 ] || fail "the capture lives $ttl s"
    stop redis KILL
    want 0 "$bin/flywheel-client" predict "$work"/images/*.png --run "$run" --repeat 50
    await captures_are_dropped
    stop gateway TERM
    [ "$code" = 0 ] || fail "the gateway ended with $code"
else
    echo "skipped: captures (no redis-server)"
fi
echo "ok"
