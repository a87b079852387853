#!/bin/bash
# Training on a GPU, with the host as the GPU (tests/parity/driver_host.c as the plug-in): the same bits on 1, 2 and 4 ranks
# through cuda+mpi, after kills, and as far as the CPU's; who may share a GPU; what is said where there is none.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }

. "$(dirname "${BASH_SOURCE[0]}")/train_lib.bash"
. "$(dirname "${BASH_SOURCE[0]}")/device.bash"

with_gpu flywheel-train
train=$work/bin/flywheel-train
bare=$work/bare/flywheel-train
short_training 8
staged=(-q --set allreduce.transport=cuda+mpi)

# ---- the same bits ----
want 0 "$train" train "$config" --run "$work/one" -q
want_sha=$(sha_of "$work/one")
for w in 2 4; do
    want 0 mpirun -np $w "$train" train "$config" --run "$work/ranks$w" "${staged[@]}"
    same "$work/ranks$w"
done
# A bucket's size is measured, unless the config says one or bits would depend on it.
mpi=(--set allreduce.transport=cuda+mpi)
want 0 mpirun -np 2 "$train" train "$config" --run "$work/measured" "${mpi[@]}"
says "summed by MPI, in the fixed tree: "
same "$work/measured"
for sets in allreduce.bucket_kib=1 allreduce.order=fast; do
    want 0 mpirun -np 2 "$train" train "$config" --run "$work/$sets" "${mpi[@]}" --set "$sets"
    ! grep -q 'size of a bucket' "$work/log" || fail "$sets: measured a bucket"
done
same "$work/allreduce.bucket_kib=1"
want 1 mpirun -np 1 -x FLYWHEEL_INJECT=train.staged.measure=eio@1 "$train" train "$config" --run "$work/unmeasured" "${mpi[@]}" : \
    -np 1 "$train" train "$config" --run "$work/unmeasured" "${mpi[@]}"
says "measuring a sum"
half=(--set model.precision=fp16 --set allreduce.compress=true --set train.average_decay=0.9 --set train.average_every=3
    --set train.optimizer=muon --set 'train.groups=[{"match": "conv.weight", "muon": true}]' --set train.eval_views=true)
want 0 "$train" train "$config" --run "$work/half1" -q "${half[@]}"
want 0 mpirun -np 4 "$train" train "$config" --run "$work/half4" "${staged[@]}" "${half[@]}"
[ "$(sha_of "$work/half1")" = "$(sha_of "$work/half4")" ] || fail "fp16: other bits on 4 ranks"
[ "$(sha_of "$work/half1")" != "$want_sha" ] || fail "fp16 gives fp32's bits: it was not on"
grep -q '"accuracy_views"' "$work/half4/summary.json" || fail "no accuracy_views in summary.json"
echo "same bits on 1, 2, 4 ranks, in fp32, and in fp16 with Muon"

# ---- killed and resumed, on the GPU and beside it ----
for sets in "" "--set model.precision=fp16"; do
    run=$work/killed${sets: -4}
    # shellcheck disable=SC2086 # words
    FLYWHEEL_INJECT=train.step=kill@7 want 137 "$train" train "$config" --run "$run" -q $sets
    # shellcheck disable=SC2086
    want 0 "$train" train "$config" --run "$run" -q $sets
    says "resuming from version"
    # shellcheck disable=SC2086
    want 0 "$train" train "$config" --run "$work/whole${sets: -4}" -q $sets
    [ "$(sha_of "$run")" = "$(sha_of "$work/whole${sets: -4}")" ] || fail "other bits after a kill: ${sets:-fp32}"
done
want 0 "$bare" train "$config" --run "$work/moved" -q --set model.device=cpu --set train.epochs=1
want 0 "$train" train "$config" --run "$work/moved" -q --set train.epochs=2
says "made by another build or machine"
want 0 "$bare" train "$config" --run "$work/moved" -q --set model.device=cpu
want 0 "$bare" train "$config" --run "$work/cpu" -q --set model.device=cpu
accuracy() { jq -r .accuracy "$work/$1/summary.json"; }
awk -v a="$(accuracy one)" -v b="$(accuracy cpu)" -v c="$(accuracy moved)" \
    'BEGIN { exit !(a - b < 0.051 && b - a < 0.051 && c - b < 0.051 && b - c < 0.051) }' ||
    fail "accuracies: $(accuracy one) on the GPU, $(accuracy cpu) on the CPU, $(accuracy moved) on both"
echo "resumed on the GPU, from the CPU and back"

# ---- the same bits, however many steps are under way ----
ahead() { # RUN STEPS SETTING...
    local run=$1 steps=$2 sets=()
    shift 2
    for s in "$@"; do sets+=(--set "$s"); done
    want 0 "$train" train "$config" --run "$work/$run" -q --set "model.ahead=$steps" "${sets[@]}"
}
alike() { # RUN RUN
    [ "$(sha_of "$work/$1")" = "$(sha_of "$work/$2")" ] || fail "$1 and $2: other bits"
    [ "$(jq .steps_ahead "$work/$1/summary.json") $(jq .steps_ahead "$work/$2/summary.json")" = "1 2" ] ||
        fail "$1 and $2: not 1 and 2 steps under way"
}
free=(train.epochs=5 train.eval_epochs=0 train.audit_every=0 store.every_steps=0 store.every_epochs=0)
quiet=(-q)
for s in "${free[@]}"; do quiet+=(--set "$s"); done
wild=("${free[@]}" train.epochs=3 train.lr=1e6 train.reduction=sum train.clip_norm=0 train.on_spike=rollback)
for steps in 1 2; do
    ahead "ahead$steps" $steps
    ahead "free$steps" $steps "${free[@]}"
    ahead "halves$steps" $steps "${free[@]}" model.precision=fp16 model.graphs=false
    ahead "wild$steps" $steps "${wild[@]}"
    says "rolled back to"
done
same "$work/ahead2"
alike ahead1 ahead2
alike free1 free2
alike halves1 halves2
alike wild1 wild2
rollbacks() { grep '"event":"rollback"' "$work/$1/events.jsonl" | jq -c '[.first_step, .last_step, .why]'; }
[ "$(rollbacks wild1)" = "$(rollbacks wild2)" ] || fail "other steps are left out: $(rollbacks wild1) and $(rollbacks wild2)"
ahead spikes 2 "${free[@]}" train.spike_mads=1e6
jq -e '.steps_ahead == 1' "$work/spikes/summary.json" >/dev/null || fail "a step is begun before the one before it is judged"
# Preempted in the middle: the step that is under way by then is ended, and saved.
FLYWHEEL_INJECT=train.step=stop@7 "$train" train "$config" --run "$work/told" "${quiet[@]}" >"$work/log" 2>&1 &
pid=$!
await is_stopped $pid
kill -USR1 $pid
kill -CONT $pid
ends 75
says "preempted after step 8 of 15"
want 0 "$train" train "$config" --run "$work/told" "${quiet[@]}"
[ "$(sha_of "$work/told")" = "$(sha_of "$work/free2")" ] || fail "other bits after a preemption"
FLYWHEEL_INJECT=train.step=kill@13 want 137 "$train" train "$config" --run "$work/cut" "${quiet[@]}" --set store.every_steps=5
want 0 "$train" train "$config" --run "$work/cut" "${quiet[@]}" --set store.every_steps=5
says "resuming from version"
[ "$(sha_of "$work/cut")" = "$(sha_of "$work/free2")" ] || fail "other bits after a kill between two steps"
# A version by the clock, wanted after each step, is written where none is under way.
ahead clock 2 "${free[@]}" store.every_minutes=1e-6
[ "$(sha_of "$work/clock")" = "$(sha_of "$work/free2")" ] || fail "versions by the clock change bits"
[ "$(find "$work/clock/checkpoints" -maxdepth 1 -name 'v*' | wc -l)" -gt 2 ] || fail "too few versions by the clock"
echo "steps ahead change no bit"

# ---- a bit that flips on one rank's GPU is found there ----
for flip in weights optimizer statistics; do
    want 1 mpirun -np 3 "$train" train "$config" --run "$work/flipped" "${staged[@]}" --resume never : \
        -np 1 -x "FLYWHEEL_INJECT=train.flip.$flip=eio@2" "$train" train "$config" --run "$work/flipped" "${staged[@]}" --resume never
    says "audit after step"
    says "rank 3 differs from ranks 0, 1, 2"
done
echo "a bit that flips on a GPU is found"

# ---- which device ----
want 2 mpirun -np 2 "$train" train "$config" --run "$work/shared" -q
says "ranks 0 and 1 have one GPU"
says "allreduce.transport"
want 78 "$train" train "$config" --run "$work/second" -q --set model.device=cuda:1
says "no cuda:1: this process sees 1 GPU"
want 2 "$train" train "$config" --check --set model.device=cuda:x
says "cuda:x"
want 78 "$bare" train "$config" --run "$work/none" -q
says "no libflywheel_cuda.so beside this program"
want 0 "$bare" train "$config" --run "$work/auto" --set model.device=auto
says "computing on the CPU: "
[ "$(sha_of "$work/auto")" = "$(sha_of "$work/cpu")" ] || fail "auto without a GPU has other bits than cpu"
want 0 "$train" train "$config" --run "$work/auto-gpu" -q --set model.device=auto
same "$work/auto-gpu"
last=$(find "$work/one/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)
for item in "device the host" "engines "; do
    grep -qF "$item" "$last/manifest.json" || fail "the fingerprint does not hold: $item"
done
echo "devices are chosen, refused and kept in the fingerprint"

# ---- a rank that gets nowhere at the start is no wait for the others ----
want 1 mpirun -np 1 "$train" train "$config" --run "$work/early" "${staged[@]}" : \
    -np 1 -x FLYWHEEL_INJECT=train.engine=eio "$train" train "$config" --run "$work/early" "${staged[@]}"
says "rank 1 on $(hostname): injected at train.engine"
! grep -q "leaving: " "$work/log" || fail "a start that failed on all ranks alike is taken for a loss"
echo "a start that fails on one rank ends on all"

# ---- what it says of itself ----
jq -e '.graphs == "on" and (.device | startswith("cuda:0 the host"))' "$work/one/summary.json" >/dev/null || fail "summary.json"
jq -e '.graphs == "off"' "$work/ranks2/summary.json" >/dev/null || fail "summary.json of two ranks"
want 0 "$train" train "$config" --run "$work/plain" -q --set model.graphs=false
same "$work/plain"
jq -e '.graphs == "off"' "$work/plain/summary.json" >/dev/null || fail "summary.json without graphs"
want 0 "$train" doctor "$config" --run "$work/doctor"
says "ok       device               rank 0: cuda:0 the host"
want 1 "$train" doctor "$config" --run "$work/doctor" --set model.device=cuda:7
says "no cuda:7: this process sees"
FLYWHEEL_INJECT=train.doctor.device=eio want 1 "$train" doctor "$config" --run "$work/doctor"
says "BAD      device               rank 0: cuda:0 the host sm_80, no CUDA: WRONG SUM"
want 0 mpirun --quiet -np 2 "$train" doctor "$config" --run "$work/doctor" --set model.device=cpu --set allreduce.compress=true
says "ok       all-reduce           every bit is right; 16 MiB between 2 ranks: "
want 0 "$train" bench train "$config" --steps 2 --ops --set allreduce.order=fast
tail -1 "$work/log" | jq -e '.products_share > 0.01 and .products_share < 1 and .ops_s > 0 and .graphs == null' >/dev/null ||
    fail "bench --ops: $(tail -1 "$work/log")"
want 0 "$train" bench train "$config" --steps 12
tail -1 "$work/log" | jq -e '.steps == 12 and .rounds == 5 and .images_per_s > 0 and .graphs == "on"' >/dev/null ||
    fail "bench: steps that overlap are timed one by one, or not captured: $(tail -1 "$work/log")"
echo "summary, doctor and bench say what computed"

# ---- a weight goes bad ----
want 1 "$train" train "$config" --run "$work/nan" -q --set train.lr=1e6 --set train.reduction=sum --set train.clip_norm=0
says "not finite"
echo "a number that is not finite is named"

# ---- what sums over more ranks would cost, calculated from one GPU's times ----
want 0 "$train" bench train "$config" --steps 3 --project 8
tail -1 "$work/log" | jq -e '.images_per_s > 0 and (.project | .ranks == 8 and .step_s > 0 and (.pieces | map(.[0]) | add) == .nbytes and (.pieces | map(.[1]) | . == sort) and
    all(.nvlink[], .network[]; .buckets >= 2 and .busy_s >= .exposed_s and .exposed_s > 0 and .share > 0 and .share < 1))' \
    >/dev/null || fail "no calculation: $(tail -1 "$work/log")"
for bad in "--project 1" "--project 9" "--project 8 --set model.device=cpu"; do
    # shellcheck disable=SC2086 # words
    want 2 "$train" bench train "$config" --steps 1 $bad
    says "--project"
done
want 2 mpirun -np 2 "$train" bench train "$config" --steps 1 --project 8 "${mpi[@]}"
says "--project times one rank on a GPU"
echo "sums over ranks that are not there are calculated"
