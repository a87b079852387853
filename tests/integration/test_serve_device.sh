#!/bin/bash
# Workers on a GPU, with the host as the GPU (tests/parity/driver_faulty.c as the plug-in): they answer as on the CPU, also
# what a CPU trained, change versions under load, serve on when a second version has no room, and leave when the GPU fails.
. "$(dirname "$0")/serve.bash"
. "$(dirname "$0")/device.bash"

with_gpu flywheel-worker plugin_faulty
sed -i 's/"intra_threads": 1/"intra_threads": 1, "max_batch": 8, "precision": "fp32", "load_timeout_ms": 1000/' "$config"

# on FOLDER DEVICE ID OPTIONS...: a worker.
on() { start "worker$3" "$work/$1/flywheel-worker" "$config" --id "$3" --set "serve.device=$2" "${@:4}"; }
gpu() { on bin cuda "$@"; }
ask() { "$bin/flywheel-client" predict "$work"/images/*.png --run "$run"; }
# same FILE: as many answers, of the same classes, with probabilities that differ by 0.001 at most.
same() {
    paste -d ' ' "$work/answers" "$1" | awk '{ d = $3 - $8; if ($2 != $7 || d > 0.001 || d < -0.001) bad++ } END { exit bad || NR != 8 }' ||
        fail "other answers than the CPU's"
}
logged() { grep -qF -- "$2" "$work/worker$1.log"; }
fresh() { rm -f "$work/worker$1.log"; } # for who waits for a line
gone() { ! kill -0 "$1" || grep -q '^State:.Z' "/proc/$1/status"; }
# ended NAME CODE: by itself.
ended() {
    await gone "${pids[$1]}"
    code=0
    wait "${pids[$1]}" || code=$?
    unset "pids[$1]"
    [ "$code" = "$2" ] || fail "$1 ended with $code"
}

store network lenet 1 2 3 champion 1 images 8 "$work/images" >"$work/store.log" 2>&1 || fail "store"
gateway
await test -f "$run/serve.json"

# ---- where ----
for bad in cuda:x gpu ref cuda:0, ''; do
    want 2 "$work/bin/flywheel-worker" "$config" --check "--set=serve.device=\"$bad\""
    says "serve.device: '"
done
want 78 "$work/bin/flywheel-worker" "$config" --set serve.device=cuda:1
says "no cuda:1: this process sees 1 GPU"
want 78 "$work/bare/flywheel-worker" "$config" --set serve.device=cuda
says "no libflywheel_cuda.so beside this program"
FLYWHEEL_FAULTY_GPU=none want 78 "$work/bin/flywheel-worker" "$config" --set serve.device=cuda
says "no NVIDIA driver here"
on bare auto 0
await logged 0 "computing on the CPU: device 'cuda:0': no libflywheel_cuda.so"
FLYWHEEL_FAULTY_GPU=none on bin cpu,auto 1
await logged 1 "computing on the CPU: device 'cuda:0': no NVIDIA driver here"
await ready
await metric_is 'flywheel_device_workers{device="cpu"}' 2
ask >"$work/answers" || fail "no answers on the CPU"
stop worker0 TERM
stop worker1 TERM
fresh 0
fresh 1
echo "devices are chosen and refused"

# ---- the same answers ----
gpu 0
await ready
logged 0 "computing on cuda:0 the host sm_80" || fail "it does not say where it computes"
logged 0 "version 1 is loaded (fp32 on cuda:0)" || fail "nor what"
grep -q '"event":"worker_joined".*"device":"cuda:0"' "$run/events.jsonl" || fail "no event says where"
await metric_is 'flywheel_device_workers{device="cuda"}' 1
ask >"$work/on_gpu" || fail "no answers on the GPU"
same "$work/on_gpu"
stop worker0 TERM
[ "$code" = 0 ] || fail "told to stop, the worker ended with $code"
fresh 0

# What a CPU trained, in every precision.
tiny_network 8
cat >"$work/train.json" <<JSON
{"schema": 1, "run": "$work/trained", "model": {"network": "$work/network.json"},
 "data": {"dataset": "synthetic:10:200:8x8x3", "test_limit": 40}, "train": {"epochs": 2, "batch": 50, "lr": 0.05}}
JSON
want 0 "$bin/flywheel-train" train "$work/train.json" -q
start gateway2 "$bin/flywheel-gateway" "$config" --run "$work/trained"
for precision in fp32 bf16 fp16; do
    gpu 0 --run "$work/trained" --set "serve.precision=$precision"
    await logged 0 "is loaded ($precision on cuda:0)"
    stop worker0 TERM
    fresh 0
done
stop gateway2 TERM
echo "a GPU answers as the CPU, and what the CPU trained"

# ---- versions under load ----
gpu 0
gpu 1
await ready
await workers_are 2
want 0 "$bin/flywheel-client" bench "$config" --seconds 1 --rate "${SERVE_TEST_RATE:-60}" --reloads 9
for key in failed unanswered twice; do
    [ "$(count reload $key)" = 0 ] || fail "reload: $key $(count reload $key)"
done
[ "$(count reload swaps)" = 9 ] || fail "$(count reload swaps) swaps instead of 9"
await serves 1 # as it was before
ask >"$work/on_gpu" || fail "no answers after the reloads"
same "$work/on_gpu"
stop worker0 TERM
stop worker1 TERM
fresh 0
fresh 1
echo "9 versions under load, no request lost"

# ---- no room for a second version ----
# A GPU on which one fits, and not two.
verdict() { grep -qE 'version [0-9]+ is (loaded|refused)' "$work/worker0.log"; }
for ((room = 50000; ; room = room * 4 / 3)); do
    FLYWHEEL_FAULTY_GPU=$room gpu 0
    await verdict
    stop worker0 TERM
    ! logged 0 "is loaded" || break
    logged 0 "cuda:0 (the host): no " || fail "refused for another reason"
    fresh 0
    [ "$room" -lt 100000000 ] || fail "it never fits"
done
anew() { # a gateway and a worker that know of nothing but the champion
    stop gateway TERM
    rm -f "$work/worker0.log" "$run/serve.json"
    gateway
    await test -f "$run/serve.json"
    FLYWHEEL_FAULTY_GPU=$room gpu 0
}
anew
await serves 1
store champion 2
await grep -q 'version 2 is refused for now: .*cuda:0 (the host): no ' "$work/worker0.log"
logged 0 "MiB are free" || fail "it does not say how much is free"
await grep -q '"event":"rollout_stalled".*"version":2' "$run/events.jsonl"
serves 1 || fail "the old version does not serve"
ask >"$work/on_gpu" || fail "the old version does not answer"
same "$work/on_gpu"
metric_is flywheel_quarantined_versions 0 || fail "quarantined, though nothing is wrong with it"
stop worker0 TERM
anew # alone, it has room
await serves 2
stop worker0 TERM
fresh 0
echo "no room: refused by name, the old version goes on"

# ---- a GPU that fails or hangs ----
# The 9 first calls are those of a load: every size twice, and the golden images.
for fault in eio@10 delay:600000@10; do
    FLYWHEEL_INJECT=serve.device=$fault gpu 0 --set serve.batch_timeout_ms=3000
    await logged 0 "is loaded"
    await ready
    start client "$bin/flywheel-client" predict "$work/images/0.png" --run "$run" --timeout-ms 30000
    ended worker0 1
    gpu 1
    wait "${pids[client]}" || fail "$fault: the request was lost with the GPU"
    unset 'pids[client]'
    case $fault in
    eio*) logged 0 "cuda:0 is lost: injected at serve.device" || fail "it does not name the GPU" ;;
    *) logged 0 "takes longer than 3000 ms on cuda:0" || fail "it does not name the GPU" ;;
    esac
    stop worker1 TERM
    fresh 0
    fresh 1
done
FLYWHEEL_INJECT=serve.device=eio@12 gpu 0
await ready
store champion 3
ended worker0 1
logged 0 "cuda:0 is lost: injected at serve.device" || fail "lost while loading: it does not name the GPU"
gpu 1
await serves 3
metric_is flywheel_quarantined_versions 0 || fail "a version is blamed for the GPU"
ask >/dev/null || fail "no answers from the worker that came"
echo "ok"
