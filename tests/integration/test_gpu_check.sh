#!/bin/bash
# scripts/gpu-check without a GPU: what it skips, what it keeps, and what its exit code says. Scripts that pretend to be
# nvidia-smi, the trainer and the test programs show that rows pass, fail, run out of time and go on; what they prove, a GPU
# must show.
set -euo pipefail
command -v jq >/dev/null && command -v mpirun >/dev/null || { echo "skip: no jq or no mpirun"; exit 77; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; sed 's/^/    /' "$work/log"; exit 1; }

# A tree of its own, which is no git checkout.
tree=$work/tree out=$work/out
mkdir -p "$tree/scripts" "$tree/cluster-configs" "$work/path"
cp "$root/scripts/gpu-check" "$tree/scripts/"
cp "$root/cluster-configs/local-cpu.json" "$tree/cluster-configs/"
export PATH=$work/path:$PATH GIT_CEILING_DIRECTORIES=$work
unset CIFAR10_DIR

script() { # FILE, its body on stdin
    mkdir -p "$(dirname "$1")"
    { echo '#!/bin/bash'; cat; } >"$1"
    chmod +x "$1"
}
check() { # CODE OPTION...
    local want=$1 got=0
    shift
    "$tree/scripts/gpu-check" --work "$work/own" --out "$out" "$@" >"$work/log" 2>&1 || got=$?
    [ "$got" = "$want" ] || fail "exit code $got instead of $want: $*"
}
is() { # JQ-CONDITION, of gpu-check.json
    jq -e "$1" "$out/gpu-check.json" >/dev/null || { cp "$out/gpu-check.json" "$work/log"; fail "not so: $1"; }
}
other_sources() { echo "$RANDOM $SECONDS" >"$tree/README.md"; }

# ---- bad input ----
check 2 --part no-such-part
check 2 --part
check 2 --seconds soon
check 2 --bundle "$work/no-such-bundle"
echo "not a bundle" >"$work/broken.tar.xz"
check 2 --bundle "$work/broken.tar.xz"
grep -q "cannot be unpacked" "$work/log" || fail "does not say that the bundle is broken"

# ---- no GPU: every part but the build is skipped, with a reason ----
gpu_parts=(device parity bits bench serve gradients sanitizer train94)
some=()
for part in "${gpu_parts[@]}"; do some+=(--part "$part"); done
script "$work/path/nvidia-smi" <<<'echo "NVIDIA-SMI has failed: no driver"; exit 9'
check 77 "${some[@]}"
is '(.parts | length) == 8 and (.parts | all(.result == "skipped" and .reason == "no GPU: NVIDIA-SMI has failed: no driver"))
    and .gpu == null and .driver == null and .commit == "unknown"'
echo 1234abc >"$tree/COMMIT"
check 77 --part bench
is '.commit == "1234abc" and (.parts | length) == 8'
check 77 --part bench --commit 5678def
is '.commit == "5678def"'
[ "$(ls -A "$out" | sort | xargs)" = "gpu-check.json gpu-check.log" ] || fail "--out holds: $(ls -A "$out")"

# ---- a GPU that is only said to be there: nothing is passed that has no program ----
script "$work/path/nvidia-smi" <<<'case "$*" in *memory.total*) echo "Some GPU, 1.2, 1024, 9.0, 1000" ;; *) echo "Some GPU, 1.2" ;; esac'
script "$work/path/compute-sanitizer" <<<'exit 0'
check 77 "${some[@]}"
is '.gpu == "Some GPU" and .driver == "1.2" and (.parts | all(.result == "skipped"))
    and .parts.device.rows.gpus.gpus == [{name: "Some GPU", driver: "1.2", memory_mib: 1024, compute: "9.0", sm_mhz: 1000}]
    and .parts.serve.rows["flywheel-worker"].reason == "not built" and .parts.parity.rows.test_ops_cuda.reason == "not built" and .parts.bits.reason == "no program flywheel-train: its build failed"'

# ---- rows: passed once, not run again; run again for other sources or another GPU ----
bin=$work/own/build/bin
runs() { local n; n=$(wc -l <"$work/runs"); [ "$n" = "$1" ] || fail "$n runs instead of $1: $2"; }
for test in test_{ops,engine,nccl}_cuda test_{device_step,evaluate_device}; do
    script "$bin/$test" <<<"echo $test >>$work/runs; echo seed: \$FLYWHEEL_TEST_SEED; echo fp32: largest error 0.25 of it; echo fp16: largest error 0.5 of it"
done
check 0 --part parity
is '.parts.parity.rows | length == 5 and all(.result == "passed" and .error_of_tolerance == 0.5 and (.seed | type) == "number")'
check 0 --part parity
runs 5 "a part that had passed was run again"
other_sources
script "$bin/test_device_step" <<<"cp $out/gpu-check.json $work/as_it_came; echo 'not on a GPU: none'"
check 1 --part parity
is '.parts.parity.result == "failed" and .parts.parity.reason == "test_device_step" and .parts.parity.rows.test_engine_cuda.result == "passed"'
runs 9 "results of other sources were kept"
jq -e '.parts.parity.rows | keys == ["test_ops_cuda"] and .test_ops_cuda.result == "passed"' "$work/as_it_came" >/dev/null ||
    fail "a row was not written as it came"
script "$bin/test_device_step" <<<"echo fine"
check 0 --part parity
runs 9 "rows that had passed were run again"
sed -i 's/Some GPU/Other GPU/g' "$work/path/nvidia-smi"
check 0 --part parity
runs 13 "results of another GPU were kept"
is '.parts | keys == ["parity"]'

# ---- a host without NCCL: a gap, where no GPU would be a failure ----
other_sources
script "$bin/test_nccl_cuda" <<<'echo "skipped: cuda:0: no NCCL: libnccl.so.2: no such file"; exit 77'
check 77 --part parity
is '.parts.parity.reason == "test_nccl_cuda" and (.parts.parity.rows.test_nccl_cuda.reason | test("no NCCL: libnccl"))'
script "$bin/test_nccl_cuda" <<<'echo "skipped: no cuda:0: this process sees 0 GPU"; exit 77'
check 1 --part parity
is '.parts.parity.reason == "test_nccl_cuda" and .parts.parity.rows.test_nccl_cuda.result == "failed"'
script "$bin/test_nccl_cuda" <<<"echo fine"
check 0 --part parity

# ---- a failure stops no other part, and is run again ----
script "$bin/test_gradients_cuda" <<<'printf "fine\nconv \"a\\\\b\": off\tby \303\251\n"; exit 4'
check 1 --part gradients --part parity
is '.parts.gradients.rows.test_gradients_cuda | .result == "failed" and .code == 4 and .reason == "conv \"a\\b\": off by   "' # no byte of it breaks the JSON
is '.parts.parity.result == "passed"'
script "$bin/test_gradients_cuda" <<<'echo "failed: conv a: no engine" >&2; echo "failed: conv b: off by 3"; echo "[  ERROR   ] --- 2 cases failed"; echo " 1 FAILED TEST(S)"; exit 1'
check 1 --part gradients
is '.parts.gradients.rows.test_gradients_cuda.reason == "conv a: no engine|conv b: off by 3"'
script "$bin/test_gradients_cuda" <<<'echo fine'
check 0 --part gradients
is '.parts.gradients.rows.test_gradients_cuda | .result == "passed" and .seed == null'

# ---- the sanitizer: what it finds fails, what it cannot do is skipped ----
script "$work/path/compute-sanitizer" <<<'[[ "$*" != *racecheck*step* ]] || { echo "========= ERROR SUMMARY: 2 errors"; exit 9; }; [[ "$*" != *engine* ]] || { echo "Device not supported"; exit 1; }'
check 1 --part sanitizer
is '.parts.sanitizer.reason == "racecheck test_device_step" and (.parts.sanitizer.rows["racecheck test_device_step"].reason | test("2 errors"))'
is '.parts.sanitizer.rows | .["memcheck test_ops_cuda"].result == "passed" and .["memcheck test_engine_cuda"].result == "skipped"'

# ---- a trainer that only says what it should ----
script "$work/path/mpirun" <<'RUN'
while [[ $1 == -* ]]; do [[ $1 != -np && $1 != --bind-to ]] || shift; shift; done
exec "$@"
RUN
script "$work/path/python3" <<<'[ "$1" != -c ] || [ "$LD_LIBRARY_PATH" = "$GPU_CHECK_LIBRARIES" ] || exit 1; [ "$1" = -c ] || echo "{\"images_per_s\": {\"pytorch\": 100}, \"pytorch\": \"2\"}"'
script "$bin/flywheel-train" <<RUN
echo "\$*" >>$work/calls
args=" \$* " run=\$(sed -n 's/.*--run \([^ ]*\).*/\1/p' <<<"\$*")
case \$1 in
    train)
        [ -z "\$FLYWHEEL_INJECT" ] || exit 137
        [[ \$args != *transport=nccl* ]] || { cat $work/refusal; exit 2; }
        mkdir -p "\$run"
        sha=\$(printf %064d 16)
        [[ \$args != *precision=fp32* ]] || sha=\$(printf %064d 32)
        [[ \$args != *transport=cuda+mpi*fp32* && \$args != *fp32*transport=cuda+mpi* ]] || sha=\$(printf %064d \$(cat $work/odd))
        echo "{\"sha256\": \"\$sha\", \"accuracy\": 0.9, \"accuracy_views\": \$(cat $work/accuracy), \"counted_seconds\": {\"sum\": 2}, \"graphs\": \"\$(cat $work/graphs)\"}" >"\$run/summary.json"
        echo "WARN capturing a step: cudaErrorStreamCaptureUnsupported" ;;
    doctor) echo "ok       device"; echo "BAD      disk                 slow"; exit 1 ;;
    bench)
        [[ \$args != *"\$(cat $work/broken)"* ]] || { echo "out of memory" >&2; exit 1; }
        echo '{"images_per_s": 150, "products_share": 0.5, "products_tflop_per_s": 9, "ops_s": 1, "project": {"ranks": 8}}' ;;
esac
RUN
check 1 --part device
is '.parts.device.rows.gpus.result == "passed" and .parts.device.rows.doctor.reason == "BAD      disk                 slow"'
echo 32 >"$work/odd"
echo nothing >"$work/broken"
echo 0.94 >"$work/accuracy"
echo on >"$work/graphs"
echo "ranks 0 and 1 have one GPU (x)" >"$work/refusal"
check 77 --part bits
is '.parts.bits.reason == "nccl, 2 ranks, nccl, 4 ranks" and .parts.bits.rows["nccl, 2 ranks"].result == "skipped"'
echo "looking for NCCL: rank 0: cuda:0: no NCCL: libnccl.so.2: no such file" >"$work/refusal"
check 77 --part bits
is '.parts.bits.rows["nccl, 2 ranks"] | .result == "skipped" and (.reason | test("no NCCL"))'
echo "rank 1 of 2: opening: unhandled system error (2)" >"$work/refusal"
check 1 --part bits
echo "ranks 0 and 1 have one GPU (x)" >"$work/refusal"
is '.parts.bits.reason == "nccl, 2 ranks, nccl, 4 ranks"
    and ([.parts.bits.rows[] | select(.result == "passed")] | length == 10)
    and .parts.bits.rows["cuda+mpi, 2 ranks"].sha == .parts.bits.rows.fp32.sha and .parts.bits.rows.fp16.sha != .parts.bits.rows.fp32.sha'
other_sources
echo failed >"$work/graphs" # a run gets by without, only slower: nothing else would tell
check 1 --part bits
is '.parts.bits.rows.fp16 | .result == "failed" and .graphs == "failed" and (.reason | test("CaptureUnsupported"))'
echo on >"$work/graphs"
other_sources
echo 33 >"$work/odd"
check 1 --part bits
is '.parts.bits.reason == "cuda+mpi, 2 ranks, cuda+mpi, 4 ranks" and (.parts.bits.rows["cuda+mpi, 2 ranks"] | .sha != .want and (.want | length) == 64)'

# A number that cannot be had takes no other with it.
echo "zoo:resnet18 --set train.groups=[] --set train.batch=2000 --set allreduce.order=fixed" >"$work/broken"
check 1 --part bench
echo nothing >"$work/broken"
is '.parts.bench.reason == "resnet18 fixed" and (.parts.bench.rows | length) == 16
    and (.parts.bench.rows["resnet18 fixed"] | .result == "failed" and .code == 1 and .reason == "out of memory")
    and .parts.bench.rows["resnet18 pytorch"].ratio == {fast: 1.5, fixed: null}
    and .parts.bench.rows["speednet pytorch"].ratio == {fast: 1.5, fixed: 1.5}
    and .parts.bench.rows["speednet pytorch autotuned"].ratio.fast == 1.5
    and (.parts.bench.rows["speednet by op"] | .products_tflop_per_s == 9 and .peak_tflop_per_s == null and .products_of_peak == null)
    and .parts.bench.rows["speednet, 250 on each of 8"].ranks == 8
    and .parts.bench.rows["speednet fast"].data == "generated: CIFAR-10 has 0 of 6 files"'
sed -i 's/Other GPU/NVIDIA GH200 480GB/g' "$work/path/nvidia-smi"
script "$work/path/python3" <<<'[ "$1" = -c ] || { echo "no module named triton, or so" >&2; exit 1; }'
check 77 --part bench
is '(.parts.bench.rows["resnet18 by op"] | .peak_tflop_per_s == 989 and .products_of_peak == 9 / 989)
    and (.parts.bench.rows["speednet pytorch"] | .result == "skipped" and .reason == "no module named triton, or so")'
grep -q "bench.*order=fast" "$work/calls" && grep -q "bench.*order=fixed" "$work/calls" || fail "not both orders"

# ---- serving: what is started is ended, also where the worker dies ----
for program in flywheel-{gateway,client} fixture_serve; do script "$bin/$program" <<<:; done
script "$bin/flywheel-gateway" <<<"echo \$\$ >>$work/started; exec sleep 300"
script "$bin/flywheel-worker" <<<"echo \$\$ >>$work/started; echo version 1 is loaded; exec sleep 300"
script "$bin/flywheel-client" <<<'[[ $1 == bench && $2 == *.config ]] || exit 2; echo "{\"serve\": {\"zmq_closed_1\": {\"p50_us\": 200}, \"zmq_closed_256\": {\"images_per_s\": 9000}, \"reload\": {\"p99_ratio\": 1.5}}}"'
script "$bin/test_serve_cuda" <<<'echo "alone: a batch of 1 takes 100 us, 99 %: 120, at most 300"; echo "beside loads: a batch of 1 takes 110 us, 99 %: 130, at most 400"'
check 0 --part serve
is '.parts.serve.rows["batches beside loads"] == {result: "passed", alone: {p50_us: 100, p99_us: 120, max_us: 300},
    "beside loads": {p50_us: 110, p99_us: 130, max_us: 400}}
    and (.parts.serve.rows.speednet | .alone.p50_us == 200 and .loaded.images_per_s == 9000 and .reload.p99_ratio == 1.5)
    and .parts.serve.rows.resnet18.result == "passed"'
other_sources
script "$bin/flywheel-worker" <<<"echo no GPU here; exit 1"
check 1 --part serve
is '.parts.serve.rows.speednet.reason == "no worker: no GPU here" and .parts.serve.reason == "speednet, resnet18"
    and .parts.serve.rows.test_serve_cuda.result == "passed"'
while read -r pid; do ! kill -0 "$pid" 2>/dev/null || fail "process $pid was left behind"; done <"$work/started"

check 77 --part train94
is '.parts.train94.reason | startswith("CIFAR-10 is not whole: 0 of 6 files")'
export CIFAR10_DIR=$work/cifar
mkdir "$CIFAR10_DIR"
for name in data_batch_{1,2,3,4,5} test_batch; do touch "$CIFAR10_DIR/$name.bin.xz"; done
check 0 --part train94
is '.parts.train94.rows | .mean.seeds == 20 and .mean.accuracy_views == 0.94 and .["seed 1 fixed"].counted_seconds == 2'
other_sources
echo 0.93 >"$work/accuracy"
check 1 --part train94
is '.parts.train94.reason == "accuracy 0.93 of seed 1, below 0.935"'

# ---- time: what is too slow is ended before its part is, and each row says why it has no number ----
other_sources
for test in test_device_step test_engine_cuda; do script "$bin/$test" <<<'exit 1'; done
check 1 --part parity
script "$bin/test_device_step" <<<'exec sleep 300'
check 1 --seconds 11 --part parity
is '.parts.parity.result == "failed" and .parts.parity.reason == "test_device_step" and .parts.parity.rows.test_ops_cuda.result == "passed"
    and (.parts.parity.rows.test_device_step | .result == "failed" and (.reason | startswith("not finished after ")))
    and .parts.parity.rows.test_engine_cuda == {result: "skipped", reason: "no time left"}'
check 77 --seconds 4 --part bits
is '.parts.bits.rows | .fp16.reason == "no time left" and .["fp16 again"].reason == "no bits to compare with" and length == 12'
script "$work/path/nvcc" <<<:
script "$work/path/cmake" <<<'exec sleep 300'
check 1 --seconds 8 --part build
is '.parts.build.result == "failed" and (.parts.build.reason | startswith("ended after "))'
rm "$work/path/cmake"
check 77 --seconds 0 --part gradients
is '.parts.gradients.result == "skipped" and .parts.gradients.reason == "no time left of 0 s"'
grep -q '^build  *failed .*ended after' "$work/log" && grep -q '^  test_ops_cuda  *passed .*"seconds":' "$work/log" ||
    fail "the table does not say so"
echo "skips, keeps, fails, ends and goes on as it says"
