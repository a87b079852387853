#!/bin/bash
# scripts/gpu-check without a GPU: what it skips, what it keeps, and what its exit code says. Scripts that pretend to be
# nvidia-smi and the test programs show that parts pass, fail, run out of time and go on; what parts prove, a GPU must show.
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
    "$tree/scripts/gpu-check" --out "$out" "$@" >"$work/log" 2>&1 || got=$?
    [ "$got" = "$want" ] || fail "exit code $got instead of $want: $*"
}
is() { # JQ-CONDITION, of gpu-check.json
    jq -e "$1" "$out/gpu-check.json" >/dev/null || { cp "$out/gpu-check.json" "$work/log"; fail "not so: $1"; }
}

# ---- bad input ----
check 2 --part no-such-part
check 2 --part
check 2 --seconds soon
check 2 --bundle "$work/no-such-bundle"
echo "not a bundle" >"$work/broken.tar.xz"
check 2 --bundle "$work/broken.tar.xz"
grep -q "cannot be unpacked" "$work/log" || fail "does not say that the bundle is broken"

# ---- no GPU: every part but the build is skipped, with a reason ----
gpu_parts=(device parity gradients sanitizer bits nccl train94 bench serve)
some=()
for part in "${gpu_parts[@]}"; do some+=(--part "$part"); done
script "$work/path/nvidia-smi" <<<'echo "NVIDIA-SMI has failed: no driver"; exit 9'
check 77 "${some[@]}"
is '(.parts | length) == 9 and (.parts | all(.result == "skipped" and .reason == "no GPU: NVIDIA-SMI has failed: no driver"))'
is '.gpu == null and .driver == null and .commit == "unknown"'
echo 1234abc >"$tree/COMMIT"
check 77 --part serve
is '.commit == "1234abc" and (.parts | length) == 9'
check 77 --part serve --commit 5678def
is '.commit == "5678def"'

# ---- a GPU that is only said to be there: nothing is passed that has no program ----
script "$work/path/nvidia-smi" <<<'case "$*" in *memory.total*) echo "Some GPU, 1.2, 1024, 9.0, 1000" ;; *) echo "Some GPU, 1.2" ;; esac'
script "$work/path/compute-sanitizer" <<<'exit 0'
check 77 "${some[@]}"
is '.gpu == "Some GPU" and .driver == "1.2" and .parts.device.result == "passed"'
is '.parts.device.numbers.gpus == [{name: "Some GPU", driver: "1.2", memory_mib: 1024, compute: "9.0", sm_mhz: 1000}]'
is '.parts | del(.device) | all(.result == "skipped")'
is '.parts.parity.reason == "not there yet: no program test_ops_cuda"'
is '.parts.bits.reason == "not there yet: no program flywheel-train"'

# ---- passed once, not run again; run again for other sources or another GPU ----
bin=$out/build/bin
script "$bin/test_ops_cuda" <<<"echo run >>$work/runs; echo seed: \$FLYWHEEL_TEST_SEED; echo fp32: largest error 0.25 of it; echo fp16: largest error 0.5 of it"
check 0 --part parity
is '.parts.parity.result == "passed" and .parts.parity.numbers.error_of_tolerance == 0.5 and (.parts.parity.numbers.seed | type) == "number"'
check 0 --part parity
[ "$(wc -l <"$work/runs")" = 1 ] || fail "a part that had passed was run again"
echo "other sources" >"$tree/README.md"
check 0 --part parity
[ "$(wc -l <"$work/runs")" = 2 ] || fail "results of other sources were kept"
is '.parts | keys == ["parity"]'
sed -i 's/Some GPU/Other GPU/g' "$work/path/nvidia-smi"
check 0 --part parity
[ "$(wc -l <"$work/runs")" = 3 ] || fail "results of another GPU were kept"

# ---- a failure stops no other part, and is run again ----
script "$bin/test_gradients_cuda" <<<'echo "conv: off by 3"; exit 4'
check 1 --part gradients --part parity
is '.parts.gradients.result == "failed" and .parts.gradients.reason == "exit 4: conv: off by 3"'
is '.parts.parity.result == "passed"'
script "$bin/test_gradients_cuda" <<<'echo "skipped: no libcudnn"; exit 77'
check 1 --part gradients
is '.parts.gradients.reason == "test_gradients_cuda found nothing to test: no libcudnn"'
script "$bin/test_gradients_cuda" <<<'echo fine'
check 0 --part gradients
is '.parts.gradients.numbers == {seed: null, error_of_tolerance: null}'

# ---- time: a part that is too slow is ended, later ones are not begun ----
script "$bin/test_gradients_cuda" <<<'sleep 300'
echo "newer sources" >"$tree/README.md"
check 1 --seconds 1 --part gradients --part device
is '.parts.gradients.result == "failed" and (.parts.gradients.reason | startswith("ended after 1 s"))'
is '.parts.device.result == "skipped" and (.parts.device.reason | startswith("no time left"))'
echo "skips, keeps, fails, ends and goes on as it says"
