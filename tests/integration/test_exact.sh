#!/bin/bash
# What makes training exact: a version is whole or not there, wherever its writer was killed; ranks that drift apart are
# found and named; a spike is left out the same way each time; slow and full disks cost versions, not bits.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }
. "$(dirname "${BASH_SOURCE[0]}")/train_lib.bash"

# 20 steps an epoch, the last batch of two images; versions at 10, 20, 30 and the end, 40.
cat >"$work/config.json" <<'JSON'
{"schema": 1,
 "model": {"network": "zoo:lenet"},
 "data": {"dataset": "synthetic:10:603:32x32x3", "holdout": 50, "test_limit": 50},
 "train": {"epochs": 2, "batch": 29, "lr": 0.02, "momentum": 0.9, "threads": 1, "flip": "random", "eval_epochs": 0},
 "store": {"every_steps": 10, "every_epochs": 0, "keep_last": 100}}
JSON
config=$work/config.json
events() { grep -F "\"event\":\"$2\"" "$1/events.jsonl" || true; }
count() { events "$@" | wc -l; }

want 0 "$train" train "$config" --run "$work/one" -q
want_sha=$(sha_of "$work/one")

# ---- killed at every step of a version, and at every third write, fsync and rename inside it (test_store.c kills at each):
# the reader finds a whole one, the run goes on ----
run=$work/seed
FLYWHEEL_INJECT=store.rename=kill@4 want 137 "$train" train "$config" --run "$run" -q
want 0 "$store" verify "$run" latest
says v000003
kills=0
for point in store.tensors store.file store.manifest store.rename store.latest file.write file.fsync file.rename dir.rename \
    dir.fsync; do
    case $point in file.* | dir.fsync) stride=3 ;; *) stride=1 ;; esac
    for ((n = 1; ; n += stride)); do
        run=$work/killed
        rm -rf "$run"
        cp -r "$work/seed" "$run"
        got=0
        { FLYWHEEL_INJECT=$point=kill@$n "$train" train "$config" --run "$run" -q >"$work/log" 2>&1 || got=$?; } 2>/dev/null
        [ $got != 0 ] || break
        [ $got = 137 ] || fail "$point@$n: exit code $got"
        kills=$((kills + 1))
        want 0 "$store" verify "$run" latest
        want 0 "$train" train "$config" --run "$run" -q
        same "$run"
    done
    [ $n -gt 1 ] || fail "$point is never passed"
done
echo "same bits after $kills kills while a version was written"

# ---- slow disk: training does not wait, versions are left out, the last one is there ----
run=$work/slow # the first version is held until another one is left out
: >"$work/hold"
FLYWHEEL_HOLD=$work/hold FLYWHEEL_INJECT=store.tensors=hold \
    "$train" train "$config" --run "$run" -q --set store.wait_seconds=0 >"$work/log" 2>&1 &
pid=$!
until [ -e "$run/events.jsonl" ] && [ "$(count "$run" checkpoint_skipped)" -gt 0 ]; do
    kill -0 $pid 2>/dev/null || fail "ended with no version left out"
    sleep 0.02
done
rm "$work/hold"
ends 0
same "$run"
grep -q '"skipped": [1-9]' "$run/summary.json" || fail "the summary does not count them"
# With patience none is.
run=$work/patient
FLYWHEEL_INJECT='store.manifest=delay:150@*' want 0 "$train" train "$config" --run "$run" -q --set store.wait_seconds=600
same "$run"
[ "$(count "$run" checkpoint)" = 4 ] || fail "$(count "$run" checkpoint) versions instead of 4"

# A disk that hangs: the end has a deadline, on one rank and on two.
hung=(--set store.finish_seconds=1 --set store.every_steps=0 --resume never -q)
for start in "$train" "mpirun -np 2 -x FLYWHEEL_INJECT $train"; do
    SECONDS=0
    # shellcheck disable=SC2086 # words
    FLYWHEEL_INJECT=store.manifest=delay:500000 want 1 $start train "$config" --run "$work/hung" "${hung[@]}"
    [ $SECONDS -lt 120 ] || fail "waited $SECONDS s"
    says "store.finish_seconds"
done
echo "slow disks cost versions, hung ones end the run"

# ---- an error of the writer: told, training goes on; at the end it is one ----
run=$work/error
FLYWHEEL_INJECT=store.tensors=eio@4 want 0 "$train" train "$config" --run "$run" -q
says "version not written, older ones stay"
same "$run"
[ "$(count "$run" checkpoint_failed)" = 1 ] || fail "no event of the failure"
FLYWHEEL_INJECT='store.rename=eio@4' want 1 "$train" train "$config" --run "$work/error-at-last" -q
says "injected at store.rename"

# ---- preempted while a version is being written: both are ----
run=$work/preempted
FLYWHEEL_INJECT=store.manifest=delay:1000,train.step=stop@15 "$train" train "$config" --run "$run" -q >"$work/log" 2>&1 &
pid=$!
await is_stopped $pid
kill -USR1 $pid
kill -CONT $pid
ends 75
want 0 "$store" verify "$run" 2
want 0 "$train" train "$config" --run "$run" -q
says "resuming from version 2, step 15"
same "$run"

# ---- a bit flips on one rank: found before the next version, named, and gone after a restart ----
cat >"$work/normed.json" <<'JSON'
{"format": "1.0", "name": "normed", "input": {"channels": 3, "height": 32, "width": 32},
 "preprocess": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
 "nodes": [{"name": "conv", "op": "conv", "out": 4, "kernel": 3}, {"name": "bn", "op": "batchnorm"},
           {"name": "pool", "op": "maxpool", "kernel": 4}, {"name": "flat", "op": "flatten"},
           {"name": "fc", "op": "linear", "out": 10}]}
JSON
# flipped RANKS POINT TENSOR WHO SET...: on the last rank, after step 7
flipped() {
    local ranks=$1 point=$2 tensor=$3 who=$4 run=$work/flipped
    shift 4
    want 1 mpirun -np $((ranks - 1)) "$train" train "$config" --run "$run" -q "$@" : \
        -np 1 -x "FLYWHEEL_INJECT=train.flip.$point=eio@7" "$train" train "$config" --run "$run" -q "$@"
    says "$tensor is not the same everywhere: $who"
    says "audit after step"
}
flipped 4 weights fc3.weight "rank 3 differs from ranks 0, 1, 2" --set train.audit_every=5
says "audit after step 10"
flipped 2 optimizer momentum_buffer.fc1.bias "rank 0 differs from rank 1: no majority says who is right" \
    --set train.audit_every=0 # before the version
want 0 mpirun -np 2 "$train" train "$config" --run "$work/flipped" -q
same "$work/flipped"
flipped 2 statistics bn.running_var "rank 0 differs from rank 1" --set train.audit_every=2 --set store.every_steps=0 \
    --set "model.network=$work/normed.json" --resume never
echo "a flipped bit is found and named"

# ---- spikes: all ranks leave the same steps out, whatever befalls the run; what the holdout decides is decided alike ----
spiky=(--set train.lr=0.3 --set train.spike_mads=4 --set train.schedule=plateau --set train.patience=1
    --set train.eval_epochs=0.15 -q)
want 1 "$train" train "$config" --run "$work/spike-stop" "${spiky[@]}"
says "is a spike"
says "gradient largest against its weights"
spiky+=(--set train.on_spike=rollback)
run=$work/spike
want 0 "$train" train "$config" --run "$run" "${spiky[@]}"
says "rolled back to version 1"
last=$(find "$run/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)
grep -q '"kind": *"skip"' "$last/manifest.json" || fail "the manifest has no intervention"
want_sha=$(sha_of "$run")
want 0 mpirun -np 4 "$train" train "$config" --run "$run-ranks" "${spiky[@]}"
[ "$(grep -c "rolled back to" "$work/log")" = "$(count "$run-ranks" rollback)" ] || fail "more than one rank tells of a rollback"
same "$run-ranks"
step=$(events "$run" rollback | sed 's/.*"last_step":\([0-9]*\).*/\1/' | head -1)
# Measured where it goes on, as a resume from there would.
events "$run" evaluate | grep -q "\"step\":$((step + 1))[,}]" || fail "no evaluation at step $((step + 1))"
# Killed before the decision, before its version is there, and right behind.
for point in train.step=kill@$((step + 1)) store.rename=kill@2 store.latest=kill@2; do
    rm -rf "$run-killed"
    FLYWHEEL_INJECT=$point want 137 "$train" train "$config" --run "$run-killed" "${spiky[@]}"
    want 0 "$train" train "$config" --run "$run-killed" "${spiky[@]}"
    same "$run-killed"
done
# Where it goes back to is the plan's to say: not a preemption's version, nor one that a slow disk would have left out.
FLYWHEEL_INJECT=train.step=stop@$((step - 2)) "$train" train "$config" --run "$run-preempted" "${spiky[@]}" >"$work/log" 2>&1 &
pid=$!
await is_stopped $pid
kill -USR1 $pid
kill -CONT $pid
ends 75
want 0 "$train" train "$config" --run "$run-preempted" "${spiky[@]}"
says "rolled back to version 1"
same "$run-preempted"
FLYWHEEL_INJECT='store.manifest=delay:400@*' want 0 "$train" train "$config" --run "$run-slow" "${spiky[@]}" --set store.wait_seconds=0
same "$run-slow"
[ "$(count "$run-slow" checkpoint_skipped)" = 0 ] || fail "a version was left out"

# A version that leads to the next spike is not gone back to again, but its parent; also by a run that was killed between.
again=(--set train.spike_mads=1e6 --set train.on_spike=rollback --set store.keep_last=1 -q)
twice=train.spike=eio@26,train.spike=eio@29
run=$work/again
FLYWHEEL_INJECT=$twice want 0 "$train" train "$config" --run "$run" "${again[@]}"
says "rolled back to version 2; left out: steps 20 to 25"
says "rolled back to version 1; left out: steps 10 to 28"
want_sha=$(sha_of "$run")
FLYWHEEL_INJECT=train.spike=eio@26,store.latest=kill@3 want 137 "$train" train "$config" --run "$run-killed" "${again[@]}"
FLYWHEEL_INJECT=train.spike=eio@3 want 0 mpirun -np 2 -x FLYWHEEL_INJECT "$train" train "$config" --run "$run-killed" "${again[@]}"
says "resuming from version 3, step 26"
says "rolled back to version 1; left out: steps 10 to 28"
same "$run-killed"
FLYWHEEL_INJECT=$twice,train.spike=eio@30 want 1 "$train" train "$config" --run "$run-thrice" "${again[@]}"
says "third rollback"
# From weights that only diverge there is no way on.
want 1 mpirun -np 2 "$train" train "$config" --run "$work/nan" -q --set train.lr=1e6 --set train.on_spike=rollback
says "third rollback"
says "not finite"
# What the last step leads to is seen by no step behind it, but by the evaluation: it does not end well, nor as a champion.
last=(--set train.lr=1e6 --set train.weight_decay=1e6 --set train.epochs=0.05 -q)
want 1 mpirun -np 2 "$train" train "$config" --run "$work/last" "${last[@]}"
says "step 0: it leads to a loss of the test images that is not finite; gradient largest against its weights: "
[ -z "$(find "$work/last/checkpoints" -name 'v*' -o -name 'champion*')" ] || fail "a version of no numbers"
last+=(--set train.on_spike=rollback)
want 0 mpirun -np 2 "$train" train "$config" --run "$work/last" "${last[@]}"
says "rolled back to the initial weights; left out: steps 0 to 0"
want_sha=$(sha_of "$work/last")
# Also out of the version of a preemption, which comes before the evaluation.
run=$work/last-preempted
FLYWHEEL_INJECT=train.step=stop "$train" train "$config" --run "$run" "${last[@]}" --set store.every_steps=1 >"$work/log" 2>&1 &
pid=$!
await is_stopped $pid
kill -USR1 $pid
kill -CONT $pid
ends 75
[ "$(sha_of "$run")" != "$want_sha" ] || fail "nothing to roll back from"
want 0 "$train" train "$config" --run "$run" "${last[@]}" --set store.every_steps=1
says "rolled back to the initial weights; left out: steps 0 to 0"
same "$run"
echo "spikes are left out the same way each time"

# ---- a version of other tensors than the network's, whole in all else: refused by the tensor's name, and nothing is lost ----
for change in "without model.safetensors fc3.weight" "with model.safetensors fc9.bias" \
    "without state.safetensors momentum_buffer.conv1.weight" "with state.safetensors average.fc3.bias"; do
    read -r _ file tensor <<<"$change"
    run=$work/tensors
    rm -rf "$run"
    cp -r "$work/one" "$run"
    # shellcheck disable=SC2086 # words
    want 0 "$FLYWHEEL_BIN/fixture_tensors" "$run" $change
    want 0 "$store" verify "$run" latest
    before=$(cd "$run/checkpoints" && find . -type f -exec sha256sum {} + | sort)
    want 78 "$train" train "$config" --run "$run" -q --resume latest
    says "$tensor"
    says "choose another --run"
    want 78 mpirun -np 2 "$train" train "$config" --run "$run" -q
    says "$tensor"
    if [ "$file" = model.safetensors ]; then
        want 1 mpirun -np 2 "$train" eval "$config" --run "$run"
        says "$tensor"
    else
        want 0 "$train" eval "$config" --run "$run" # which the weights are enough for
    fi
    [ "$(cd "$run/checkpoints" && find . -type f -exec sha256sum {} + | sort)" = "$before" ] || fail "$change: versions changed"
    want 0 "$train" train "$config" --run "$run" -q --resume 3
    [ "$(sha_of "$run")" = "$(sha_of "$work/one")" ] || fail "$change: other bits after a resume from an older version"
done
echo "missing and extra tensors are refused by name"

# ---- a resume does not go through what was done before: ten steps of eight shards are prepared, not forty ----
run=$work/seek
cp -r "$work/one" "$run"
FLYWHEEL_INJECT=train.input=eio@81 want 0 "$train" train "$config" --run "$run" -q --resume 3
says "resuming from version 3, step 30 of 40"
FLYWHEEL_INJECT=train.input=eio@81 want 1 "$train" train "$config" --run "$run" -q --resume never
echo "a resume begins where it left off"

# ---- which versions stay: the last, the best on the holdout, multiples, aliased ones, parents of those ----
run=$work/kept
keep=(--set train.eval_epochs=0.25 --set store.every_steps=5 --set store.keep_last=1 --set store.keep_best=1
    --set store.keep_every=3 --set store.trash_minutes=0 -q)
want 0 "$train" train "$config" --run "$run" "${keep[@]}" --set train.epochs=1 --set store.keep_last=100
want 0 "$store" alias "$run" set pinned 2
want 0 "$train" train "$config" --run "$run" "${keep[@]}"
want 0 "$store" gc "$run" --json
kept=$(find "$run/checkpoints" -maxdepth 1 -name 'v0*' -printf '%f\n' | sort | tr '\n' ' ')
best=$(for m in "$run"/checkpoints/v*/manifest.json; do
    echo "$(sed -n 's/.*"holdout_accuracy": *\([0-9.]*\).*/\1/p' "$m" | head -1) $(basename "$(dirname "$m")")"
done | sort -k1,1gr -k2 | awk '{print $2; exit}')
last=${kept% }
last=${last##* }
for v in v000001 v000002 v000003 v000006 "$best" "$last"; do # 1: parent of 2; 4: champion, the first training's end
    [[ " $kept" == *" $v "* ]] || fail "$v is gone: $kept"
done
[[ " $kept" != *" v000005 "* ]] || [ "$best" = v000005 ] || fail "v000005 stays: $kept"
[ -z "$(find "$run/checkpoints" -name '.trash*')" ] || fail "trash is left"
want 0 "$store" verify "$run"
# A folder without versions is a wrong folder.
mkdir -p "$work/empty"
want 1 "$store" gc "$work/empty"
says "no versions"
echo "versions stay as the rules say: $kept"

# ---- any number of samples ----
for n in 1 7 601; do
    odd=(-q --set "data.limit=$n" --set "data.test_limit=$n" --set data.holdout=0 --set train.batch=250 --set store.every_steps=0
        --set train.eval_epochs=1 --resume never)
    want 0 "$train" train "$config" --run "$work/odd1" "${odd[@]}"
    want_sha=$(sha_of "$work/odd1")
    w=$((n == 7 ? 2 : 8))
    want 0 mpirun -np $w "$train" train "$config" --run "$work/odd$w" "${odd[@]}"
    same "$work/odd$w"
    [ "$(grep -o '"accuracy": [0-9.]*\|"loss": [0-9.]*' "$work/odd$w/summary.json")" = \
        "$(grep -o '"accuracy": [0-9.]*\|"loss": [0-9.]*' "$work/odd1/summary.json")" ] || fail "$n samples: scores differ"
done
echo "same bits with 1, 7 and 601 samples"
