#!/bin/bash
# What a gateway does not take, and says so: connections, slow bodies, pixels, keys.
. "$(dirname "$0")/serve.bash"

store network lenet 1 champion 1 images 2 "$work/images" >"$work/store.log" 2>&1 || fail "store"
image=$work/images/0.png
size=$(stat -c %s "$image")
refused() { metric flywheel_http_refused_total; }

# Every connection waits for an answer that nobody computes: the next request is refused at once, health is still told.
gateway --set serve.http_connections=64
await test -f "$run/serve.json"
port=$(field http_port)
for _ in $(seq 64); do
    exec {fd}<>"/dev/tcp/127.0.0.1/$port"
    printf 'POST /predict?timeout_ms=60000 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' "$size" >&"$fd"
    cat "$image" >&"$fd"
    all+=("$fd")
done
await metric_is flywheel_queued_requests 64
http /predict --data-binary "@$image" --max-time 60
[ "$http" = 503 ] || fail "the 65th: $http"
says "too many requests"
http /v2/health/live --max-time 60
[ "$http" = 200 ] || fail "health beside 64 connections: $http"
metric_is flywheel_http_refused_total 1 || fail "the refusal is not counted"
for fd in "${all[@]}"; do exec {fd}>&-; done
stop gateway KILL
rm "$run/serve.json"

# A body that drips is cut, however lively.
gateway --set serve.http_read_ms=500
await test -f "$run/serve.json"
port=$(field http_port)
exec {fd}<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n' >&"$fd"
drip() { ! printf x >&"$fd"; }
trap '' PIPE
await drip 2>/dev/null
trap - PIPE
exec {fd}>&-

# What is refused on the way in is counted too.
before=$(metric 'flywheel_requests_total{transport="http",status="bad_input"}')
http /predict --data-binary 'no image'
[ "$http" = 400 ] || fail "no image: $http"
metric_is 'flywheel_requests_total{transport="http",status="bad_input"}' $((before + 1)) || fail "a bad image is not counted"
stop gateway KILL
rm "$run/serve.json"

# An image of few bytes and many pixels: 1,024 are more than a thousandth of a million.
gateway
start worker0 "$bin/flywheel-worker" "$config" --id 0 --set serve.max_image_mpixel=0.001
await ready
http /predict --data-binary "@$image"
[ "$http" = 400 ] || fail "too many pixels: $http"
says "pixels"
want 2 "$bin/flywheel-worker" "$config" --set serve.max_image_mpixel=65
says "max_image_mpixel"
stop gateway TERM
[ "$code" = 0 ] || fail "the gateway ended with $code"

# Images that take long to decode: after a tenth of batch_timeout_ms the rest of their batch goes on one by one, and the
# worker lives. One that gets no core for a while is not taken for dead, or its batch would go back, too.
stop worker0 TERM
gateway --set serve.batch_timeout_ms=20000
hold
FLYWHEEL_INJECT=serve.compute=hold,serve.decode=delay:2500@2 \
    start worker1 "$bin/flywheel-worker" "$config" --id 1 --set serve.batch_timeout_ms=20000 --set serve.heartbeat_ms=10000
await ready
start first "$bin/flywheel-client" predict "$image" --run "$run" --timeout-ms 60000
await metric_is flywheel_inflight_requests 1
start others "$bin/flywheel-client" predict "$image" --repeat 4 --run "$run" --timeout-ms 60000
await metric_is flywheel_queued_requests 4
let_go
wait "${pids[first]}" "${pids[others]}" || fail "not all were answered"
unset 'pids[first]' 'pids[others]'
[ "$(grep -c ' v1$' "$work/others.log")" = 4 ] || fail "not 4 answers"
metric_is flywheel_requeued_requests_total 3 || fail "$(metric flywheel_requeued_requests_total) went back, not 3"
stop worker1 TERM
[ "$code" = 0 ] || fail "the worker ended with $code"
stop gateway TERM

# Links that say nothing, as many as there are descriptors for: they are cut in time, and a worker comes and is heard;
# without a descriptor for it, its coming would be the gateway's end. Clients come back.
limited=(bash -c 'ulimit -n "$0" && exec "$@"')
start gateway "${limited[@]}" 600 "$bin/flywheel-gateway" "$config" --set serve.http_connections=64
await test -f "$run/serve.json"
port=$(field clients)
port=${port##*:}
links=()
for _ in $(seq 400); do
    exec {fd}<>"/dev/tcp/127.0.0.1/$port" || break
    links+=("$fd")
done 2>/dev/null
await grep -q "links at tcp://.* are cut" "$work/gateway.log"
worker 2
await ready
want 0 "$bin/flywheel-client" predict "$image" --run "$run" --timeout-ms 60000
for fd in "${links[@]}"; do exec {fd}>&-; done
stop gateway TERM
[ "$code" = 0 ] || fail "the gateway ended with $code"
want 2 "${limited[@]}" 200 "$bin/flywheel-gateway" "$config"
says "ulimit"
echo "ok"
