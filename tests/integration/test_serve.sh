#!/bin/bash
# A real gateway and two workers: every path of HTTP, versions that change under load, versions that are no good,
# garbage on every socket, ports that are in use.
. "$(dirname "$0")/serve.bash"

store network lenet 1 2 wrong 3 nan 4 good 5 champion 1 images 8 "$work/images" >"$work/store.log" 2>&1 || fail "store"
image=$work/images/0.png
head -c 3072 /dev/urandom >"$work/pixels"

# Usage.
want 2 "$bin/flywheel-gateway"
want 2 "$bin/flywheel-gateway" "$config" --set serve.max_bach=3
says "max_batch"
want 0 "$bin/flywheel-gateway" "$config" --check
says '"max_batch": 64'
want 0 "$bin/flywheel-worker" --help
want 2 "$bin/flywheel-client" predikt
says "did you mean 'predict'"
want 0 "$bin/flywheel-client" predict --help
says "(tcp://127.0.0.1:5570)"
want 1 "$bin/flywheel-client" predict "$image" --endpoint "ipc://$work/nobody" --timeout-ms 100
says "no answer from ipc://$work/nobody within 100 ms"
want 2 "$bin/flywheel-client" predict "$image" --endpoint "tcp://$(printf '%0300d' 1):5570"
says "--endpoint: 311 bytes, at most"
want 1 "$bin/flywheel-client" predict "$image" --run "$run"
says "flywheel serve"

# Alive before it is ready; ready with the first worker.
gateway
await test -f "$run/serve.json"
http /v2/health/live
[ "$http" = 200 ] || fail "live: $http"
http /v2/health/ready
[ "$http" = 503 ] || fail "ready without workers: $http"
http /v2/models/lenet
[ "$http" = 404 ] || fail "metadata without a model: $http"
worker 0
await ready
worker 1
await workers_are 2

# ZeroMQ, by the command.
want 0 "$bin/flywheel-client" predict "$work"/images/*.png --config "$config" --repeat 5
[ "$(wc -l <"$work/out.log")" = 40 ] || fail "40 answers"
[ "$(awk '{ print $4 }' "$work/out.log" | sort -u | wc -l)" = 40 ] || fail "40 prediction ids"
says " v1"
want 1 "$bin/flywheel-client" predict "$image" "$config" --run "$run"
says "error:"
class=$("$bin/flywheel-client" predict "$image" --run "$run" | awk '{ print $2 }')
printf '%s,%s\n%s,none\n' "$image" "$class" "$work/images/1.png" >"$work/labels.csv"
want 0 "$bin/flywheel-client" predict --labels "$work/labels.csv" --run "$run"
says "accuracy 0.5000 (1 of 2)"
want 0 "$bin/flywheel-client" predict "$image" --run "$run" --json
says '"version":1'

# HTTP.
http /predict --data-binary "@$image"
[ "$http" = 200 ] || fail "raw PNG: $http"
for key in '"class":"' '"index":' '"probability":' '"top":' '"prediction_id":"' '"version":1' '"manifest_hash":"'; do
    says "$key"
done
http /predict -F "file=@$image"
[ "$http" = 200 ] || fail "form: $http"
http "/predictions/lenet/1?top_k=2" --data-binary "@$work/pixels" -H 'Content-Type: application/octet-stream'
[ "$http" = 200 ] || fail "pixels: $http"
[ "$(grep -o '"index"' "$work/out.log" | wc -l)" = 3 ] || fail "the class and two of the list"
http /predict --data-binary "@$image" -H 'Accept: text/plain'
[ "$(cat "$work/out.log")" = "$class" ] || fail "the bare class"
http /predictions/lenet --data-binary "@$work/pixels" -H 'Content-Type: text/plain'
[ "$http" = 400 ] || fail "undeclared pixels: $http"
head -c 3071 "$work/pixels" >"$work/short"
http /predict --data-binary "@$work/short" -H 'Content-Type: application/octet-stream'
[ "$http" = 400 ] || fail "too few pixels: $http"
says 3072
http /predict --data-binary "@$config"
[ "$http" = 400 ] || fail "a text: $http"
says '"error"'
head -c 100 "$image" >"$work/torn.png"
http /predict --data-binary "@$work/torn.png"
[ "$http" = 400 ] || fail "half an image: $http"
http /predict -F "other=@$image"
[ "$http" = 400 ] || fail "a form without file: $http"
http "/predict?top_k=x" --data-binary "@$image"
[ "$http" = 400 ] || fail "top_k=x: $http"
http /predict --data-binary ''
[ "$http" = 400 ] || fail "nothing: $http"
http /predict -X POST -H 'Content-Length: 1073741824' -H 'Expect:' --max-time 60
[ "$http" = 413 ] || fail "a gigabyte: $http"
http /predict
[ "$http" = 405 ] || fail "GET /predict: $http"
http /nothing
[ "$http" = 404 ] || fail "/nothing: $http"
http /predictions/other --data-binary "@$image"
[ "$http" = 404 ] || fail "another model: $http"
http /predictions/lenet/2 --data-binary "@$image"
[ "$http" = 404 ] || fail "another version: $http"
http /v2/models/lenet
says '"versions":["1"]'
says '"shape":[-1,32,32,3]'
http /v2
says '"name":"flywheel"'
http /metrics
if command -v promtool >/dev/null; then
    promtool check metrics <"$work/out.log" || fail "promtool"
fi
! grep -vE '^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+0-9.eInfNa]+)$' "$work/out.log" ||
    fail "a line that is no metric"

# A bad image fails alone: 30 good ones beside it are answered.
bad=$work/torn.png
want 1 "$bin/flywheel-client" predict "$work"/images/*.png "$bad" "$work"/images/*.png --repeat 2 --run "$run"
[ "$(grep -c 'error:' "$work/out.log")" = 2 ] || fail "two errors"
[ "$(grep -c ' v1$' "$work/out.log")" = 32 ] || fail "32 answers"

# The champion changes 21 times under a load that suits this machine, and is in the end the one it was. An answer of the
# old version after one of the new would show as a change too many.
stop gateway TERM
gateway --set serve.queue_requests=65536
await workers_are 2
await ready
champion=$("$bin/flywheel-store" alias "$run" get champion | grep -oE '[0-9]+' | head -1)
want 0 "$bin/flywheel-client" bench "$config" --seconds 0.5 --reloads 21
for key in failed unanswered twice; do
    [ "$(count reload $key)" = 0 ] || fail "reload: $key $(count reload $key)"
done
[ "$(count reload swaps)" = 21 ] || fail "21 swaps"
[ "$("$bin/flywheel-store" alias "$run" get champion | grep -oE '[0-9]+' | head -1)" = "$champion" ] || fail "bench left another champion"
[ "$(count reload changes_seen)" = 21 ] || fail "versions went back and forth by themselves"

# Versions that are no good are refused, by name and reason; the old one goes on.
store champion 2
await serves 2
flipped=$run/checkpoints/v000005/model.safetensors
printf 'x' | dd of="$flipped" bs=1 seek=20000 conv=notrunc status=none
refusals=$(metric flywheel_version_refusals_total)
for v in 3 4 5 99; do
    store champion $v
    refusals=$((refusals + 1))
    await metric_is flywheel_version_refusals_total $refusals
    want 0 "$bin/flywheel-client" predict "$image" --run "$run"
    says " v2"
done
grep -q 'golden image' "$work/gateway.log" || fail "wrong logits: the log does not say so"
grep -q 'nan' "$work/gateway.log" || fail "a NaN: the log does not say so"
grep -q 'v000005/model.safetensors' "$work/gateway.log" || fail "a flipped bit: the log does not say so"
[ "$(grep -c version_refused "$run/events.jsonl")" = 4 ] || fail "four refusals in events.jsonl"
[ "$(metric flywheel_quarantined_versions)" = 3 ] || fail "three in quarantine"
store champion 1
await serves 1

# Garbage on every socket.
want 0 "$bin/fixture_garbage" "$(field clients)" "$(field workers)"
port=$(field clients)
for _ in 1 2 3; do
    head -c 100000 /dev/urandom >"/dev/tcp/127.0.0.1/${port##*:}" 2>/dev/null || true
    head -c 100000 /dev/urandom >"/dev/tcp/127.0.0.1/$(field http_port)" 2>/dev/null || true
done
printf 'POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n' >"/dev/tcp/127.0.0.1/$(field http_port)"
want 0 "$bin/flywheel-client" predict "$work"/images/*.png --run "$run"
[ "$(metric flywheel_malformed_messages_total)" -gt 500 ] || fail "garbage is not counted"

# One gateway in a run directory, one program at a port.
want 1 "$bin/flywheel-gateway" "$config"
says "process ${pids[gateway]}"
other=$work/other
want 1 "$bin/flywheel-gateway" "$config" --run "$other" --set "serve.listen=$(field clients)"
says "serve.listen: $(field clients)"
want 1 "$bin/flywheel-gateway" "$config" --run "$other" --set "serve.http_port=$(field http_port)"
says "serve.http_port: "
says "$(field http_port)"

for name in gateway worker0 worker1; do
    stop $name TERM
    [ "$code" = 0 ] || fail "$name ended with $code"
done
[ ! -e "$run/serve.json" ] || fail "serve.json is left behind"

# With a key: who has it from serve.json, or names it, is answered; others are told at their deadline.
FLYWHEEL_SERVE_KEY=none want 2 "$bin/flywheel-gateway" "$config"
says "FLYWHEEL_SERVE_KEY wants 64 hex digits"
FLYWHEEL_SERVE_KEY=$(printf '%064d' 1) gateway
worker 0
await ready
there=$(field clients)
want 0 "$bin/flywheel-client" predict "$image" --run "$run"
want 0 "$bin/flywheel-client" predict "$image" --endpoint "$there"
want 2 "$bin/flywheel-client" predict "$image" --endpoint localhost:5570
says "localhost:5570: wants tcp://host:port"
want 1 "$bin/flywheel-client" predict "$image" --endpoint "${there%#*}" --timeout-ms 300
says "does it want a key (ENDPOINT#KEY)?"
want 1 "$bin/flywheel-client" predict "$image" --endpoint "${there%#*}#$(printf '%064d' 2)" --timeout-ms 300
says "is the key its own?"
grep -qF "clients at ${there%#*}, encrypted" "$work/gateway.log" || fail "the log does not say so"
! grep -qF "${there#*#}" "$work/gateway.log" || fail "the log tells the key"
stop gateway TERM
stop worker0 TERM

# A worker over tcp needs the workers' key, and the clients' one makes nobody a worker.
FLYWHEEL_SERVE_KEY=$(printf '%064d' 1) gateway --set serve.workers_listen=tcp://127.0.0.1:0 --set serve.announce_listen=tcp://127.0.0.1:0
await test -f "$run/serve.json"
there=$(field workers)
keyless=${there%#*}
[ "${there#*#}" = "$(field announce | sed 's/.*#//')" ] || fail "publishers have another key than workers"
[ "${there#*#}" != "$(field clients | sed 's/.*#//')" ] || fail "the clients' key makes workers"
start worker1 "$bin/flywheel-worker" "$config" --id 1 --endpoint "$keyless"
start worker2 "$bin/flywheel-worker" "$config" --id 2 --endpoint "$keyless#$(field clients | sed 's/.*#//')"
worker 0
await ready
workers_are 1 || fail "workers without the key"
want 0 "$bin/flywheel-client" predict "$image" --run "$run"
grep -qF "workers at $keyless, encrypted" "$work/gateway.log" || fail "the log does not say so"
! grep -qF "${there#*#}" "$work/gateway.log" || fail "the log tells the key"
for name in gateway worker0 worker1 worker2; do stop $name TERM; done
echo "ok"
