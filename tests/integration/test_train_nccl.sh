#!/bin/bash
# Sums from GPU to GPU, with the host as several GPUs (tests/parity/driver_host.c, comm_host.c, as the plug-in): the bits of
# one rank and of cuda+mpi on 2, 4 and 8 ranks, in buckets of any size; which transport is chosen, refused or fallen back
# from; ranks that are killed, stopped or fail inside a sum, or while NCCL starts, and a library that does not give up.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }

. "$(dirname "${BASH_SOURCE[0]}")/train_lib.bash"
. "$(dirname "${BASH_SOURCE[0]}")/device.bash"

with_gpu flywheel-train
train=$work/bin/flywheel-train
export FLYWHEEL_HOST_GPUS=8
short_training 64 # the last layer's 10,240 weights go by halves, the others whole; tensors' sizes are odd
ranks() { # W RUN SETTING...
    local w=$1 run=$2 sets=()
    shift 2
    for s in "$@"; do sets+=(--set "$s"); done
    want 0 mpirun --quiet -np "$w" "$train" train "$config" --run "$work/$run" "${sets[@]}"
}

# ---- the same bits ----
want 0 "$train" train "$config" --run "$work/one" -q
want_sha=$(sha_of "$work/one")
for w in 2 4 8; do
    ranks $w "ranks$w"
    says "gradients are summed by NCCL of the host, in the fixed tree"
    says "which sets the size of a bucket"
    same "$work/ranks$w"
done
jq -e '.transport == "nccl"' "$work/ranks8/summary.json" >/dev/null || fail "summary.json does not say what summed"
ranks 4 small allreduce.transport=nccl allreduce.bucket_kib=1
! grep -qF "sets the size of a bucket" "$work/log" || fail "a bucket's size was measured though it is given"
same "$work/small"
ranks 4 staged allreduce.transport=cuda+mpi
! grep -qF "NCCL" "$work/log" || fail "cuda+mpi came to NCCL"
same "$work/staged"
half=(model.precision=fp16 allreduce.compress=true)
ranks 1 half1 "${half[@]}"
ranks 4 half4 "${half[@]}"
ranks 2 half2 "${half[@]}" allreduce.transport=cuda+mpi
[ "$(sha_of "$work/half1")" = "$(sha_of "$work/half4")" ] || fail "compressed: other bits on 4 ranks"
[ "$(sha_of "$work/half1")" = "$(sha_of "$work/half2")" ] || fail "compressed: other bits over MPI"
[ "$(sha_of "$work/half1")" != "$want_sha" ] || fail "fp16 gives fp32's bits: it was not on"
for run in 1 2; do ranks 3 "fast$run" allreduce.order=fast; done
says "gradients are summed by NCCL of the host, in its own order"
! grep -qF "sets the size of a bucket" "$work/log" || fail "a clock sets what changes the bits of order fast"
[ "$(sha_of "$work/fast1")" = "$(sha_of "$work/fast2")" ] || fail "fast: other bits in a rerun"
last=$(find "$work/fast1/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)
grep -qF "sums NCCL of the host" "$last/manifest.json" || fail "the fingerprint does not hold NCCL under order fast"
echo "same bits over NCCL, over MPI and alone"

# ---- the host is not in the middle of a step: the next one is enqueued before one has ended ----
free=(train.epochs=3 train.eval_epochs=0 train.audit_every=0 store.every_steps=0 store.every_epochs=0)
wild=("${free[@]}" train.lr=1e6 train.reduction=sum train.clip_norm=0 train.on_spike=rollback)
steps_ahead() { jq .steps_ahead "$work/$1/summary.json"; }
rollbacks() { grep '"event":"rollback"' "$work/$1/events.jsonl" | jq -c '[.first_step, .last_step, .why]'; }
for steps in 1 2; do
    for order in fixed fast; do ranks 2 "$order-ahead$steps" "${free[@]}" model.ahead=$steps allreduce.order=$order; done
    ranks $((2 * steps)) "wild$steps" "${wild[@]}" model.ahead=$steps
    says "rolled back to"
done
for run in fixed-ahead fast-ahead wild; do
    [ "$(sha_of "$work/${run}1")" = "$(sha_of "$work/${run}2")" ] || fail "$run: other bits with two steps under way"
    [ "$(steps_ahead ${run}1) $(steps_ahead ${run}2)" = "1 2" ] || fail "$run: not 1 and 2 steps under way"
done
[ "$(rollbacks wild1)" = "$(rollbacks wild2)" ] || fail "other steps are left out: $(rollbacks wild1) and $(rollbacks wild2)"
[ "$(steps_ahead staged)" = 1 ] || fail "a step is begun while the host is in the middle of one"
echo "steps ahead change no bit"

# ---- what NCCL takes is told, by the GPU's clock: 2 sums or more a step, of 2 exchanges each, and one exchange behind
# them, which the update waits for; the host's own waiting is not in it ----
FLYWHEEL_HOST_COMM_MS=40 want 0 mpirun --quiet -np 2 "$train" bench train "$config" --steps 2
tail -1 "$work/log" | jq -e '.allreduce_busy_s >= 0.2 and .allreduce_exposed_s >= 0.04' >/dev/null ||
    fail "bench does not count NCCL's time: $(tail -1 "$work/log")"
echo "bench tells what NCCL takes"

# ---- order fast: rank 0 times the library's ways, all ranks take the fastest, and a rerun looks it up ----
export FLYWHEEL_HOST_WAYS=20000,0,10000 # ms by the GPU's timers: "loops", "loops 1", "loops 2"
timed() { # how many products rank 0 timed for the last run
    sed -n 's/.*engines: \([0-9]*\) products timed.*/\1/p' "$work/log"
}
rm -rf "$XDG_CACHE_HOME"
ranks 2 search1 allreduce.order=fast
[ "$(timed)" -gt 4 ] || fail "not searched: $(timed)"
cached=$XDG_CACHE_HOME/flywheel/engines.json
[ "$(jq -j '.devices[].engines' "$cached" | cut -f2 | sort -u)" = "loops 1" ] || fail "not the fastest: $(cat "$cached")"
ranks 2 search2 allreduce.order=fast
[ "$(timed)" = 0 ] || fail "searched again: $(timed)"
engines() { jq -r .fingerprint "$1"/checkpoints/v*/manifest.json | grep '^engines ' | sort -u; }
[ "$(engines "$work/search1")" = "$(engines "$work/search2")" ] || fail "a rerun has other engines"
# A rank that had chosen for itself would not have found rank 0's: it knows only the first.
want 1 mpirun --quiet -np 1 "$train" train "$config" --run "$work/told" -q --set allreduce.order=fast : \
    -np 1 -x FLYWHEEL_HOST_WAYS=0 "$train" train "$config" --run "$work/told" -q --set allreduce.order=fast
says "tiny: conv: engine 'loops 1' for"
rm -rf "$XDG_CACHE_HOME"
ranks 2 fixed allreduce.order=fixed
[ -z "$(timed)" ] && [ ! -e "$XDG_CACHE_HOME" ] || fail "engines were timed under order fixed"
same "$work/fixed"
unset FLYWHEEL_HOST_WAYS
echo "engines are timed once, by rank 0, under order fast alone"

# ---- which transport ----
FLYWHEEL_HOST_NO_COMM=1 ranks 2 without
says "gradients go through host memory and MPI (cuda+mpi): "
says "cuda:0: no NCCL: libnccl.so.2: the host is told to have none"
same "$work/without"
jq -e '.transport == "cuda+mpi"' "$work/without/summary.json" >/dev/null || fail "summary.json does not say what summed"
want 78 mpirun --quiet -np 1 "$train" train "$config" --run "$work/asked" -q --set allreduce.transport=nccl : \
    -np 1 -x FLYWHEEL_HOST_NO_COMM=1 "$train" train "$config" --run "$work/asked" -q --set allreduce.transport=nccl
says "cuda:1: no NCCL"
want 2 env FLYWHEEL_HOST_GPUS=1 mpirun --quiet -np 2 "$train" train "$config" --run "$work/shared" -q \
    --set allreduce.transport=nccl
says "ranks 0 and 1 have one GPU (host-0)"
want 2 "$train" train "$config" --run "$work/cpu" -q --set model.device=cpu --set allreduce.transport=nccl
says 'allreduce.transport "nccl" is for GPUs, and model.device is "cpu"'
want 2 "$train" train "$config" --check --set allreduce.transport=ncll
says "nccl"
echo "the transport is chosen, fallen back from and refused"

# ---- a rank is lost inside a sum: all leave within the deadline, having aborted, and name it ----
alone=(--mca orte_abort_on_non_zero_status 0 --enable-recovery)
soon="-q --set allreduce.collective_timeout_ms=2000 --set allreduce.late_ms=400 --set allreduce.heartbeat_ms=100"
lose() { # RUN INJECTION [NAME=VALUE]: rank 2 of 4 has it; a stopped one is woken after the others have gone
    local command="env ${3:-} $train train $config --run $work/$1 $soon"
    # shellcheck disable=SC2086 # words
    mpirun --quiet "${alone[@]}" -np 2 $command : \
        -np 1 -x FLYWHEEL_INJECT="$2" bash -c "echo \$\$ >$work/rank2; exec $command" : \
        -np 1 $command >"$work/log" 2>&1 &
    pid=$!
    if [[ $2 = *stop* ]]; then
        for r in 0 1 3; do
            until grep -qF "rank $r aborts" "$work/log"; do
                kill -0 "$pid" || fail "the job ended before rank $r had aborted"
                sleep 0.05
            done
        done
        kill -CONT "$(cat "$work/rank2")"
    fi
    wait "$pid" || true # with --enable-recovery mpirun's own code says nothing
    pid=
    [[ $2 = *finish* ]] || ! grep -q "done: version" "$work/log" || fail "a job that lost a rank came to its end"
}
blames() { # RUN FAULT STEP: rank 2
    local got
    got=$(jq -r '[.failure.rank, .failure.fault, .failure.step] | join(" ")' "$work/$1/summary.json")
    [ "$got" = "2 $2 $3" ] || fail "summary.json of $1 blames '$got' instead of '2 $2 $3'"
}
lose killed train.nccl.wait=kill@9 # behind a version of step 8, so the one before it is durable
says "(sum of the gradients over NCCL) at 'step' step 8 waited"
for r in 0 1 3; do says "host communicator: rank $r aborts"; done
blames killed gone 8
lose stopped train.nccl.wait=stop@4
says "(sum of the gradients over NCCL) at 'step' step 3 waited"
blames stopped silent 3
lose failed train.nccl.wait=eio@4
says "rank 2 on $(hostname) left: training: injected at train.nccl.wait"
blames failed failed 3
# At its second step a rank is lost before it has ended the first: the others are still in that one.
lose ahead train.step=kill@2
blames ahead gone 0
lose unsent train.nccl.bucket=eio@3
says "rank 2 on $(hostname): injected at train.nccl.bucket"
for r in 0 1 2 3; do says "host communicator: rank $r aborts"; done
[ "$(jq .failure.rank "$work/unsent/summary.json")" = 2 ] || fail "summary.json does not blame who enqueued nothing"
lose stuck train.nccl.bucket=eio@3 FLYWHEEL_HOST_COMM_STUCK=1
says "rank 2 on $(hostname): injected at train.nccl.bucket"
lose roomless train.buffers=eio
says "rank 2 on $(hostname): injected at train.buffers"
lose unmeasured train.nccl.measure=eio
says "left: measuring NCCL: injected at train.nccl.measure"
lose unfinished train.nccl.finish=stop # all is saved by then, but nobody waits without a word
grep -q "(finishing NCCL).* waited [0-9.]* s" "$work/log" || fail "does not say who waited, and for how long"
# Late at the end, by more than a collective may take: a warning, for nothing is lost.
want 0 mpirun --quiet -np 1 "$train" train "$config" --run "$work/late" $soon : \
    -np 1 -x FLYWHEEL_INJECT=train.nccl.finish=delay:2500 "$train" train "$config" --run "$work/late" $soon
says "finishing NCCL (all sums are done; going on without)"
same "$work/late"
ranks 4 killed
says "resuming from version"
same "$work/killed"
echo "a rank that is lost inside a sum is named, and the run goes on to the same bits"

# ---- doctor sums where gradients lie, by what sums them, and sees what is wrong ----
examine() { # CODE SETTING: 2 ranks, of which INJECT's errors are the second one's
    want "$1" mpirun --quiet -np 1 "$train" doctor "$config" --run "$work/doctor" --set "$2" : \
        -np 1 -x FLYWHEEL_INJECT="${INJECT:-}" "$train" doctor "$config" --run "$work/doctor" --set "$2"
}
examine 0 allreduce.transport=auto
says "ok       all-reduce           every bit is right; 16 MiB between 2 GPUs by nccl: "
examine 0 allreduce.transport=cuda+mpi
says "ok       all-reduce           every bit is right; 16 MiB between 2 GPUs by cuda+mpi: "
for way in nccl cuda+mpi; do
    INJECT=train.doctor.device=eio,train.doctor.sum=eio@6 examine 1 allreduce.transport=$way
    says "ok       device               rank 0: cuda:0 the host sm_80, no CUDA"
    says "BAD      device               rank 1: cuda:1 the host sm_80, no CUDA: WRONG SUM"
    says "BAD      all-reduce           WRONG SUMS; 16 MiB between 2 GPUs by $way: "
    says "2 of the checks failed"
done
echo "doctor sums from GPU to GPU, and says what is wrong"
