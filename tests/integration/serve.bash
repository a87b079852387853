# What the serving tests share: a store of versions, a gateway and workers that are ended at the end. Sourced.
set -euo pipefail

bin=$FLYWHEEL_BIN
. "$(dirname "${BASH_SOURCE[0]}")/fail.bash"
log=$work/out.log
logs() { ls "$work"/*.log; }
run=$work/run
config=$work/serve.json
declare -A pids=()

cleanup() {
    for pid in "${pids[@]}"; do
        kill -CONT "$pid" 2>/dev/null || true
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# start NAME COMMAND...: in the background, with a log of its own.
start() {
    local name=$1
    shift
    "$@" >>"$work/$name.log" 2>&1 &
    pids[$name]=$!
}

# stop NAME SIGNAL: and its exit code in $code.
stop() {
    code=0
    kill "-$2" "${pids[$1]}"
    { wait "${pids[$1]}" || code=$?; } 2>/dev/null # bash tells of killed children
    unset "pids[$1]"
}

stopped() { is_stopped "${pids[$1]}"; } # NAME

store() { "$bin/fixture_serve" "$run" "$@"; }
gateway() { start gateway "$bin/flywheel-gateway" "$config" "$@"; }
worker() { start "worker$1" "$bin/flywheel-worker" "$config" --id "$1"; }
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" "$run/serve.json"; }
url() { echo "http://127.0.0.1:$(field http_port)$1"; }
# http PATH CURL-OPTIONS...: body into out.log, code into $http.
http() {
    local path=$1
    shift
    http=$(curl -s -o "$work/out.log" -w '%{http_code}' "$@" "$(url "$path")") || true
}
metric() { curl -s "$(url /metrics)" | awk -v name="$1" '$1 == name { print $2 }'; }
ready() { [ -f "$run/serve.json" ] && curl -sf "$(url /v2/health/ready)"; }
metric_is() { [ "$(metric "$1")" = "$2" ]; }
# A worker that gets no core for a while is lost, too, until it comes back.
at_least() { [ "$(metric "$1")" -ge "$2" ]; }
# serves VERSION
serves() { metric_is flywheel_model_version "$1"; }
workers_are() { metric_is flywheel_workers "$1"; }
# The number in the bench's JSON: count OBJECT KEY
count() { sed -n "s/.*\"$1\":{[^}]*\"$2\":\([0-9.]*\).*/\1/p" "$work/out.log"; }

mkdir -p "$run" "$work/images"
cat >"$config" <<JSON
{"schema": 1, "run": "$run",
 "serve": {"listen": "tcp://127.0.0.1:0", "http_port": 0, "heartbeat_ms": 400, "poll_ms": 50, "load_retry_ms": 300, "intra_threads": 1}}
JSON
