#!/bin/bash
# A fault that many ranks have is told by one of them; a rank's own, by that rank, with its host. All end with one code.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }
. "$(dirname "${BASH_SOURCE[0]}")/train_lib.bash"

cat >"$work/config.json" <<'JSON'
{"schema": 1,
 "model": {"network": "zoo:lenet", "precision": "fp32"},
 "data": {"dataset": "synthetic:10:603:32x32x3", "test_limit": 50},
 "train": {"epochs": 1, "batch": 32, "lr": 0.02, "threads": 1, "eval_epochs": 0},
 "store": {"every_steps": 5}}
JSON
config=$work/config.json
sed 's/"threads": 1/"threads": 1, "spike": 1/' "$config" >"$work/bad.json"
host=$(hostname)

# Keeps mpirun from ending the ranks when the first has gone; each leaves its exit code in $work/code.RANK.
alone=(--quiet --mca orte_abort_on_non_zero_status 0 --enable-recovery)
cat >"$work/rank" <<'SH'
#!/bin/bash
code=0
"${@:2}" || code=$?
echo "$code" >"$1/code.$OMPI_COMM_WORLD_RANK"
exit "$code"
SH
chmod +x "$work/rank"
rank=("$work/rank" "$work")

# once CODE W TEXT: of the job in the log: W ranks ended with CODE, one line of error, and it says TEXT
once()
{
    local codes lines
    codes=$(cat "$work"/code.* | sort | uniq -c | awk '{print $1 " with " $2}' | paste -sd ' ')
    rm -f "$work"/code.*
    [ "$codes" = "$2 with $1" ] || fail "$codes instead of $2 with $1: $3"
    lines=$(grep -cE '^[^ ]+ error ' "$work/log" || true) # a busy machine may have warned that a rank is late
    [ "$lines" = 1 ] || fail "$lines lines instead of 1: $3"
    matches "$3"
}
job() # MPIRUN'S ARGUMENTS...
{
    mpirun "${alone[@]}" "$@" >"$work/log" 2>&1 || true
}
four() # ARGUMENT...: of the trainer
{
    job -np 4 "${rank[@]}" "$train" train "$config" --run "$work/run" -q "$@"
}
faulty() # FAULT: rank 3 of 4 has it
{
    local command=("${rank[@]}" "$train" train "$config" --run "$work/run" -q --resume never)
    job -np 3 "${command[@]}" : -np 1 -x "FLYWHEEL_INJECT=$1" "${command[@]}"
}
odd() # ARGUMENT...: of rank 3's trainer alone
{
    local command=("${rank[@]}" "$train" train "$config" --run "$work/run" -q)
    job -np 3 "${command[@]}" : -np 1 "${command[@]}" "$@"
}

# ---- all ranks alike: rank 0 ----
job -np 3 "${rank[@]}" "$train" train "$config" --run "$work/run" -q
once 2 3 'error train: 3 ranks: .* power of two'
four --set model.network=zoo:nonsense
once 2 4 "error train\[0\]: model.network: 'zoo:nonsense'"
four --set train.rate=1
once 2 4 "error train: .*unknown key 'rate'"
four --resumes auto
once 2 4 "error train: .*unknown option --resumes"
four --inject train.step=kil
once 2 4 "error train\[0\]: FLYWHEEL_INJECT: 'train.step=kil' is not POINT="
four --inject 4:train.step=kill
once 2 4 "error train\[0\]: --inject 4:train.step=kill: there are 4 ranks"
four --set allreduce.heartbeat_ms=60000
once 2 4 "error train: allreduce.collective_timeout_ms"
four --set train.batch=1000 --set train.drop_last=true
once 2 4 "error train\[0\]: train.batch 1000: no step has a sample"
four --set train.lr=1e6 --set train.weight_decay=0
once 1 4 "error train\[0\]: step [0-9]+: loss .* first .* that is not finite: "
[ "$(jq -r '.failure | "\(.rank) \(.fault) \(.phase)"' "$work/run/summary.json")" = "0 failed step" ] ||
    fail "summary.json says $(jq -c .failure "$work/run/summary.json")"
job -np 4 "${rank[@]}" "$train" eval "$config" --run "$work/none"
once 1 4 "error train\[0\]: $work/none/checkpoints: no such folder"
job -np 4 "${rank[@]}" "$FLYWHEEL_BIN/flywheel-allreduce" check --set allreduce.order=slow
once 2 4 "error allreduce: .*allreduce.order"
echo "ok: what all ranks find is told by rank 0"

# ---- one rank, or some: the one, or the first of them ----
odd --set "model.network=$work/none.json"
once 2 4 "error train\[3\]: rank 3 on $host: model.network: cannot open $work/none.json"
job -np 2 "${rank[@]}" "$train" train "$config" --run "$work/run" -q : \
    -np 2 "${rank[@]}" "$train" train "$work/bad.json" --run "$work/run" -q
once 2 4 "error train: 2 ranks, the first is rank 2 on $host: .*unknown key 'spike'"
four --inject 3:train.step=kil
once 2 4 "error train\[3\]: rank 3 on $host: FLYWHEEL_INJECT: "
odd --set train.lr=1
once 78 4 "error train\[3\]: config differs: rank 3 on $host has '.*\"lr\": 1"
job -np 1 "${rank[@]}" "$train" train "$config" --run "$work/run" -q : \
    -np 3 "${rank[@]}" "$train" train "$config" --run "$work/elsewhere" -q
once 1 4 "error train\[1\]: 3 ranks, the first is rank 1 on $host: $work/elsewhere, seen from here, is not what rank 0"
job -np 3 "${rank[@]}" "$train" bench "$config" --run "$work/run" --steps 0
once 2 3 'error train: --steps must be at least 1'
export -n CIFAR10_DIR
odd --set data.dataset=cifar10 --set "data.dir=$work/none"
once 2 4 "error train\[3\]: rank 3 on $host: .*$work/none"
echo "ok: what some ranks find is told by the first of them"

# ---- in the middle: the rank's own words; rank 0, whose log people read, passes them on ----
rm -rf "$work/run"
faulty train.input=eio@9
once 1 4 "error train\[3\]: rank 3 on $host: injected at train.input"
[ "$(jq -r '.failure | "\(.rank) \(.fault)"' "$work/run/summary.json")" = "3 failed" ] ||
    fail "summary.json says $(jq -c .failure "$work/run/summary.json")"
four --resume never --inject 3:train.input=eio@9 --inject train.evaluate=kill # in the epoch, and behind it
once 1 4 "error train\[3\]: rank 3 on $host: injected at train.input"
# Not after the disk that rank 0 waits for, when the others give up.
touch "$work/hold"
part=("${rank[@]}" "$train" train "$config" --run "$work/run" -q --resume never --set allreduce.collective_timeout_ms=10000)
job -np 1 -x FLYWHEEL_INJECT=store.tensors=hold,train.input=eio@15 -x FLYWHEEL_HOLD="$work/hold" "${part[@]}" : -np 3 "${part[@]}"
once 1 4 "error train\[0\]: rank 0 on $host: injected at train.input"
[ "$(jq -r '.failure | "\(.rank) \(.fault)"' "$work/run/summary.json")" = "0 failed" ] ||
    fail "summary.json says $(jq -c .failure "$work/run/summary.json")"
# What went wrong first is not lost in what goes wrong because of it.
part+=(--set train.spike_mads=100 --set store.finish_seconds=1)
job -np 1 -x FLYWHEEL_INJECT=store.tensors=hold,train.spike=eio@8 -x FLYWHEEL_HOLD="$work/hold" "${part[@]}" : \
    -np 1 -x FLYWHEEL_INJECT=train.spike=eio@8 "${part[@]}"
rm "$work/hold"
once 1 2 "error train\[0\]: step 7: loss .* is a spike, .*; then: rank 0 on $host: a version is still being written after 1 s"
faulty train.step=eio@9
grep -q "error train\[3\]: rank 3 on $host: training: injected at train.step" "$work/log" || fail "rank 3 says nothing"
grep -v 'train\[3\]: rank 3 on' "$work/log" >"$work/others" || true
mv "$work/others" "$work/log"
once 1 4 "error train\[0\]: leaving: rank 3 on $host left: training: injected at train.step"
echo "ok: a rank that fails alone is heard once from itself, once from rank 0"
