#!/bin/bash
# The promise of online learning: killed anywhere, at any rank count, with Redis going away in the middle, the same
# feedback ends in the same weights, and every entry counts exactly once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/online_lib.bash"

# A world to start from: a champion, and a Redis with two operators' feedback and some garbage.
want 0 "$train" train "$config" -q
want 0 "$fixture" export "$config" 0 128 "$work/images"
mv "$work/run" "$work/base"
start_redis "$work/base.redis"
split -n l/2 "$work/images/labels.csv" "$work/half."
want 0 "$online" feedback push --labels "$work/half.aa" --operator ann
want 0 "$online" feedback push --labels "$work/half.ab" --operator bob
want 0 "$online" feedback push --labels "$work/half.ab" --operator bob
for i in 1 2 3; do
    cli XADD fw:feedback:eve '*' label nosuch image "$i" >/dev/null
done
stop_redis

world() { # NAME: its run is $run
    stop_redis
    run=$work/$1
    rm -rf "$run" "$work/redis"
    cp -r "$work/base" "$run"
    cp -r "$work/base.redis" "$work/redis"
    start_redis "$work/redis"
}

ends_right() {
    [ "$(sha_of "$run" champion)" = "$want_sha" ] || fail "$1: other bits than undisturbed"
    [ "$("$store" ls "$run" --json | grep -o '"version"' | wc -l)" = "$want_versions" ] ||
        fail "$1: other versions than undisturbed"
    ledger_closes "$run"
    [ "$(letters)" = 3 ] || fail "$1: $(letters) dead letters"
    for fate in trained rejected dead duplicate; do
        [ "$(stat_of "$run" $fate)" = "$(eval echo "\$want_$fate")" ] ||
            fail "$1: $(stat_of "$run" $fate) $fate entries"
    done
    want 0 "$store" verify "$run"
    rm -rf "$run"
}

# ---- undisturbed ----
world plain
want 0 "$online" online "$config" --run "$run" --drain
want_sha=$(sha_of "$run" champion)
want_versions=$("$store" ls "$run" --json | grep -o '"version"' | wc -l)
for fate in trained rejected dead duplicate; do
    eval "want_$fate=$(stat_of "$run" $fate)"
done
[ "$want_trained" = 128 ] || fail "$want_trained trained, not 128"
ends_right plain
echo "ok: undisturbed: ${want_sha:0:16}, $want_trained trained, $want_duplicate duplicate, $want_dead dead"

# ---- ranks ----
world two
want 0 mpirun --quiet -np 2 "$online" online "$config" --run "$run" --drain
ends_right "2 ranks"
echo "ok: two ranks end in the same bits"

# ---- killed at every step of a batch, of the first and the second one ----
kills=0
for point in online.log online.logged online.letters online.trained store.tensors store.file store.manifest store.rename \
    store.latest online.published store.alias online.aliased online.commit online.committed online.tidied \
    online.trained@2 online.published@2 online.aliased@2 online.committed@2 store.rename@2 store.rename@4 file.rename@3; do
    case $point in *@*) spec=${point%@*}=kill@${point#*@} ;; *) spec=$point=kill ;; esac
    world "$point"
    want 137 env FLYWHEEL_INJECT="$spec" "$online" online "$config" --run "$run" --drain
    want 0 "$online" online "$config" --run "$run" --drain
    ends_right "$point"
    kills=$((kills + 1))
done
echo "ok: $kills kills, the same bits and a closed ledger after each"

# ---- killed in a row, on two ranks ----
world row
for point in online.logged online.trained online.published online.aliased online.committed; do
    FLYWHEEL_INJECT=$point=kill mpirun --quiet -np 2 "$online" online "$config" --run "$run" --drain \
        >"$work/log" 2>&1 && fail "$point was not reached"
done
want 0 mpirun --quiet -np 2 "$online" online "$config" --run "$run" --drain
ends_right "five kills in a row"
echo "ok: five kills in a row on two ranks"

# ---- told to stop in the middle of a batch ----
world told
"$online" online "$config" --run "$run" >"$work/loop.log" 2>&1 &
loop_pid=$!
await "a logged batch" test -e "$run/online/log/b000001.safetensors"
kill -USR1 "$loop_pid"
code=0
wait "$loop_pid" || code=$?
loop_pid=
[ "$code" = 75 ] || fail "exit code $code after USR1"
want 0 "$online" online "$config" --run "$run" --drain
ends_right "told to stop"
echo "ok: told to stop in the middle, the next start ends in the same bits"

# ---- a champion moved by a person between training and publishing: the batch starts again from there ----
world moved
want 137 env FLYWHEEL_INJECT=online.published=kill "$online" online "$config" --run "$run" --drain
want 0 "$store" alias "$run" set champion 5 --who alice --why "a test"
want 0 "$online" online "$config" --run "$run" --drain
want 0 "$store" show "$run" 8 --json
says '"parent": 5'
ledger_closes "$run"
want 0 "$store" alias "$run" history champion
says alice
echo "ok: a champion that a person moved is respected"

# ---- Redis goes away in the middle ----
world away
stop_redis
"$online" online "$config" --run "$run" --set online.max_wait_s=1 >"$work/loop.log" 2>&1 &
loop_pid=$!
await "being told" grep -q "waiting for Redis" "$work/loop.log"
start_redis "$work/redis"
await "a first batch" test -d "$run/online/s000001"
stop_redis KILL
start_redis "$work/redis"
accounted() {
    [ "$(stat_of "$run" lag)" = 0 ] && [ "$(letters)" = 3 ]
}
await "all batches" accounted
kill -TERM "$loop_pid"
wait "$loop_pid" || true
loop_pid=
ledger_closes "$run"
[ "$(sha_of "$run" champion)" = "$want_sha" ] || fail "other bits after Redis was away"
grep -q "Redis answers again" "$work/loop.log" || fail "does not say that Redis is back"
echo "ok: Redis killed and started again, nothing lost"
echo "{\"crash\": {\"kills\": $((kills + 7)), \"ledger_closed\": true, \"same_bits\": true}}"
