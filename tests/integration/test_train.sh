#!/bin/bash
# Training as people run it: the same bits at every rank and thread count, after kills, preemptions and full disks; bad
# input and second trainers refused; the newest valid version found.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }

. "$(dirname "${BASH_SOURCE[0]}")/train_lib.bash"

# 37 steps an epoch; the last batch is short and its shards are uneven.
cat >"$work/config.json" <<'JSON'
{"schema": 1,
 "model": {"network": "zoo:lenet"},
 "data": {"dataset": "synthetic:10:1203:32x32x3", "holdout": 50, "test_limit": 300},
 "train": {"epochs": 2, "batch": 31, "lr": 0.02, "momentum": 0.9, "nesterov": true, "threads": 1,
           "flip": "random", "crop_pad": 2, "average_decay": 0.95, "schedule": "plateau"},
 "store": {"every_steps": 10, "keep_last": 100}}
JSON
config=$work/config.json

# ---- the same bits ----
want 0 "$train" train "$config" --run "$work/one" -q
want_sha=$(sha_of "$work/one")
for w in 2 4 8; do
    want 0 mpirun -np $w "$train" train "$config" --run "$work/ranks$w" -q
    same "$work/ranks$w"
done
for kib in 1 100000; do # in how many buckets the gradients are summed
    want 0 mpirun -np 4 "$train" train "$config" --run "$work/buckets$kib" -q --set allreduce.bucket_kib=$kib
    same "$work/buckets$kib"
done
want 0 "$train" train "$config" --run "$work/threads4" -q --set train.threads=4
same "$work/threads4"
want 0 mpirun -np 2 "$train" train "$config" --run "$work/mixed" -q --set train.threads=2
same "$work/mixed"
echo "same bits on 1, 2, 4, 8 ranks, 1, 4 threads, 2 x 2, in many buckets and in one"

# Versions by the clock, which changes no bit: due after every step.
want 0 "$train" train "$config" --run "$work/clock" -q --set store.every_steps=0 --set store.every_epochs=0 \
    --set store.every_minutes=1e-6
same "$work/clock"
versions=$(find "$work/clock/checkpoints" -maxdepth 1 -name 'v*' | wc -l)
[ "$versions" -gt 2 ] || fail "$versions versions by the clock"

# Rounded to bf16, activations and weights: other bits, but again the same everywhere.
half=(--set train.epochs=0.5 -q)
want 0 "$train" train "$config" --run "$work/fp16" "${half[@]}" --set model.precision=fp16
says "no native fp16" # which no CPU has
bf16=("${half[@]}" --set model.precision=bf16-emulated)
want 0 "$train" train "$config" --run "$work/half32" "${half[@]}" --set model.precision=fp32
want 0 "$train" train "$config" --run "$work/half1" "${bf16[@]}"
want 0 mpirun -np 4 "$train" train "$config" --run "$work/half4" "${bf16[@]}"
[ "$(sha_of "$work/half1")" = "$(sha_of "$work/half4")" ] || fail "bf16: other bits on 4 ranks"
[ "$(sha_of "$work/half1")" != "$(sha_of "$work/half32")" ] || fail "bf16 gives fp32's bits: it was not on"

# Batch norm, fused passes, running statistics, Muon, views: speednet, a quarter as wide, on a few tiny steps.
sed -E 's/"out": 64,/"out": 16,/; s/256/64/' "$FLYWHEEL_ZOO/speednet.json" >"$work/narrow.json"
norm=(--set train.optimizer=muon --set 'train.groups=[{"match": "block*.conv*.weight", "muon": true}]'
    --set train.eval_views=true --set "model.network=$work/narrow.json" --set train.epochs=0.05 --set train.average_every=2 --set store.every_steps=0
    --set data.holdout=10 --set data.test_limit=10 -q)
want 0 "$train" train "$config" --run "$work/norm1" "${norm[@]}"
want 0 mpirun -np 2 "$train" train "$config" --run "$work/norm2" "${norm[@]}"
[ "$(sha_of "$work/norm1")" = "$(sha_of "$work/norm2")" ] || fail "speednet: other bits on 2 ranks"
views() { grep '"accuracy_views"' "$1/summary.json"; }
views "$work/norm1" >/dev/null || fail "speednet: no accuracy_views in summary.json"
[ "$(views "$work/norm1")" = "$(views "$work/norm2")" ] || fail "speednet: other views on 2 ranks"
# Killed when its first step's version is there, and resumed elsewhere: Muon's momentum and the average are in it.
FLYWHEEL_INJECT=store.latest=kill want 137 "$train" train "$config" --run "$work/norm3" "${norm[@]}" --set store.every_steps=1
want 0 mpirun -np 2 "$train" train "$config" --run "$work/norm3" "${norm[@]}" --set train.threads=2
says "resuming from version 1, step 1 of 2"
[ "$(sha_of "$work/norm1")" = "$(sha_of "$work/norm3")" ] || fail "speednet: other bits after a resume"
echo "same bits in bf16, with batch norm and with Muon, resumed too"

# ---- killed and resumed ----
run=$work/killed
FLYWHEEL_INJECT=train.step=kill@27 want 137 "$train" train "$config" --run "$run" -q
want 0 "$train" train "$config" --run "$run" -q
says "resuming from version" # 1, or 2 if that was durable already
same "$run"

# One rank of two dies in the middle; the job ends by itself; two, then four ranks go on.
run=$work/killed-rank
got=0
mpirun -np 1 -x FLYWHEEL_INJECT=train.step=kill@23 "$train" train "$config" --run "$run" -q : \
    -np 1 "$train" train "$config" --run "$run" -q >"$work/log" 2>&1 || got=$?
[ "$got" != 0 ] || fail "a killed rank went unnoticed"
want 0 mpirun -np 4 "$train" train "$config" --run "$run" -q
says "resuming from version"
same "$run"

echo "same bits after kills"

# ---- preempted: while training, and while evaluating, which is done again ----
for point in train.step=stop@12:USR1:12 train.evaluate=stop@2:TERM:38; do
    IFS=: read -r inject signal step <<<"$point"
    run=$work/preempted-$signal
    FLYWHEEL_INJECT=$inject "$train" train "$config" --run "$run" -q >"$work/log" 2>&1 &
    pid=$!
    await is_stopped $pid
    kill "-$signal" $pid
    kill -CONT $pid
    ends 75
    want 0 "$train" train "$config" --run "$run" -q
    says "step $step of 76"
    ! grep -q "config:" "$work/log" || fail "warns of a changed config that is the same"
    same "$run"
done

# Under mpirun, which passes USR1 on, one rank in the middle of its chunks, the other already waiting for it.
run=$work/preempted-ranks
mpirun -np 1 -x FLYWHEEL_INJECT=train.evaluate=stop@1 "$train" train "$config" --run "$run" -q : \
    -np 1 "$train" train "$config" --run "$run" -q >"$work/log" 2>&1 &
pid=$!
until rank=$(grep -lsE '^State:.T' /proc/[0-9]*/task/*/status | xargs -r grep -lE "^PPid:.$pid$" | head -1) && [ -n "$rank" ]; do
    sleep 0.05
done
rank=${rank#/proc/}
rank=${rank%%/*}
kill -USR1 $pid
await is_told "$rank"
kill -CONT "$rank"
ends 75
want 0 mpirun -np 2 "$train" train "$config" --run "$run" -q
says "step 38 of 76"
same "$run"
echo "same bits after preemptions"

# Whoever trains on hears that servers still follow what the first training came to.
! grep -q "is served" "$work/log" || fail "a first training has moved the champion, and says it has not"
want 0 "$train" train "$config" --run "$run" -q --set train.epochs=2.1
says "'champion', which is served, stays version"

# A run that stopped early has ended, also for the next start.
early=(--set train.early_stop=1 --set train.epochs=8 --set train.lr=0 -q)
want 0 "$train" train "$config" --run "$work/early" "${early[@]}"
says "stopping early"
want 0 "$train" train "$config" --run "$work/early" "${early[@]}"
says "step 76 of 304"
says "done: version 9"

# ---- full disk: the old versions stay, training goes on; but a run does not end well without its last version ----
run=$work/full
FLYWHEEL_INJECT=store.manifest=enospc@2 want 0 "$train" train "$config" --run "$run" -q
says "version not written, older ones stay"
same "$run"
run=$work/full-at-last
FLYWHEEL_INJECT=store.manifest=enospc@2 want 1 "$train" train "$config" --run "$run" -q --set store.every_steps=38
says "no space left"
want 0 "$train" train "$config" --run "$run" -q
says "config: store.every_steps is 10, the version was written with 38"
same "$run"

# ---- a damaged version is passed over ----
run=$work/damaged
cp -r "$work/one" "$run"
last=$(find "$run/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)
printf '\x55' | dd of="$last/model.safetensors" bs=1 seek=5000 conv=notrunc status=none
want 0 "$train" train "$config" --run "$run" -q
says "$(basename "$last")"
same "$run"

# ---- a second trainer ----
run=$work/second
FLYWHEEL_INJECT=train.step=stop@5 "$train" train "$config" --run "$run" -q >"$work/first" 2>&1 &
pid=$!
await is_stopped $pid
want 1 "$train" train "$config" --run "$run" -q
says "$pid"
kill -CONT $pid
ends 0
same "$run"

# ---- one rank of two fails alone: nobody waits for its deadline (two minutes), and the fault is told ----
for point in train.step@7 train.input@30 train.evaluate@1; do
    SECONDS=0
    want 1 mpirun -np 1 "$train" train "$config" --run "$work/alone" -q --resume never : \
        -np 1 -x FLYWHEEL_INJECT="${point/@/=eio@}" "$train" train "$config" --run "$work/alone" -q --resume never
    [ $SECONDS -lt 60 ] || fail "$point: the others waited"
    says "injected at ${point%@*}"
done
echo "lone failures end the job"

# ---- the fast order: any number of ranks, the same bits for reruns only ----
fast=(-q --set allreduce.order=fast --set train.epochs=0.3 --set data.test_limit=50 --resume never)
want 0 mpirun -np 3 "$train" train "$config" --run "$work/fast1" "${fast[@]}"
want 0 mpirun -np 3 "$train" train "$config" --run "$work/fast2" "${fast[@]}"
[ "$(sha_of "$work/fast1")" = "$(sha_of "$work/fast2")" ] || fail "fast: a rerun gives other bits"

# ---- bad input ----
want 2 mpirun -np 3 "$train" train "$config" --run "$work/bad" -q
says "3 ranks"
want 2 mpirun -np 2 "$train" train "$config" --run "$work/bad" -q --set train.shards=1
says "train.shards is 1"
want 2 "$train" train "$config" --run "$work/bad" --set train.epoch=3
says "epochs"
want 2 "$train" train "$config" --run "$work/bad" --set train.batch=0
says "train.batch"
want 2 "$train" train "$config" --run "$work/bad" --set train.early_stop=3 --set data.holdout=0
says "data.holdout"
want 2 "$train" train "$config" --run "$work/bad" --set train.batch=5000 --set train.drop_last=true
says "no step has a sample"
want 2 "$train" train "$config" --run "$work/bad" --set train.epochs=0.1
says "it would end with its initial weights"
want 2 env -u CIFAR10_DIR "$train" train "$config" --run "$work/bad" --set data.dataset=cifar10 --set data.dir="$work/none"
says "flywheel data get cifar10"
want 78 "$train" train "$config" --run "$work/one" -q --set model.network=zoo:simplenet
says "fc.weight"
says "choose another --run"
want 2 "$train" train "$config" --run "$work/bad" --set model.network=none.json
says "model.network: cannot open none.json"
want 2 "$train" train "$config" --run "$work/one" -q --resume v000099
says "v000099: there is no such version"
# Of a newer release: named, not walked past, and nothing is written over it.
cp -r "$work/one" "$work/newer"
last=$(find "$work/newer/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)
sed -i 's/"format": "1\.[0-9]*"/"format": "2.0"/' "$last/manifest.json"
want 78 "$train" train "$config" --run "$work/newer" -q
says "install the release that wrote it, or choose another --run"
says "$(basename "$last")/manifest.json: format 2.0, this program reads 1.x"
[ "$(find "$work/newer/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)" = "$last" ] || fail "wrote beside a newer format"
want 1 "$train" train "$config" --run "$work/diverging" -q --set train.lr=1e6
says "lower train.lr"
sed 's/"schema": 1/"schema": 2/' "$config" >"$work/newer.json"
want 2 "$train" train "$work/newer.json"
says "schema"

# ---- the edges: every shard but one empty at times; a batch of all; no training at all; another loss ----
few=(-q --set data.test_limit=50 --set store.every_steps=0 --set train.average_decay=0)
edges=("train.batch=3 train.epochs=0.1" "train.batch=5000 train.epochs=1" "train.epochs=0"
    "train.loss=mse train.drop_last=true train.epochs=1.1")
for edge in "${edges[@]}"; do
    read -ra sets <<<"${edge//train./--set train.}"
    run=$work/edge
    want 0 "$train" train "$config" --run "${run}1" "${few[@]}" "${sets[@]}" --resume never
    want 0 mpirun -np 2 "$train" train "$config" --run "${run}2" "${few[@]}" "${sets[@]}" --resume never
    [ "$(sha_of "${run}1")" = "$(sha_of "${run}2")" ] || fail "$edge: other bits on 2 ranks"
done
echo "same bits at the edges"

# ---- evaluation ----
want 0 "$train" eval "$config" --run "$work/one" --json
accuracy=$(sed -n 's/.*"accuracy":\([0-9.]*\).*/\1/p' "$work/log" | tail -1)
want 0 mpirun -np 4 "$train" eval "$config" --run "$work/one" --json
says "\"accuracy\":$accuracy"
grep -q "\"accuracy\": $accuracy" "$work/one/summary.json" || fail "summary.json has another accuracy than eval"
# A version's scores are those of its file, to the last digit, with batch norm's statistics and an average, too.
for run in one norm2; do
    sets=()
    [ $run = one ] || sets=("${norm[@]}")
    last=$(find "$work/$run/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)
    want 0 "$train" eval "$config" --run "$work/$run" --json "${sets[@]/-q/--json}"
    [ "$(tail -1 "$work/log" | jq -c '[.accuracy, .loss]')" = \
        "$(jq -c '.metrics | [.test_accuracy, .test_loss]' "$last/manifest.json")" ] || fail "$run: other scores in the manifest"
done
want 1 mpirun -np 1 "$train" eval "$config" --run "$work/one" : -np 1 "$train" eval "$config" --run "$work/threads4"
says "shared storage"
want 2 "$train" bench train "$config" -n 1 --ops --set train.threads=2
says "train.threads=1"
want 0 "$train" bench train "$config" -n 1 --ops
says "update and prepare"
want 0 "$train" train "$config" --check
says '"batch": 31'
echo "bad input refused, evaluation exact"
