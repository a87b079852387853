#!/bin/bash
# test_online_crash.sh [--full]: the promise of online learning: killed anywhere, at any rank count, with Redis going away
# in the middle, the same feedback ends in the same weights, and every entry counts exactly once. Killed at each step that
# online/README.md names; --full adds the store's own steps and those of later batches, and takes a minute more.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/online_lib.bash"

make_worlds

# ---- ranks ----
world two
want 0 mpirun --quiet -np 2 "$online" online "$config" --run "$run" --drain
ends_right "2 ranks"
echo "ok: two ranks end in the same bits"

# ---- killed at every step of a batch, of the first and the second one ----
kills=0
points=(online.log online.logged online.letters online.trained online.published online.aliased online.commit
    online.committed online.tidied online.aliased@2 online.committed@2)
in_a_row=(online.trained online.aliased online.committed)
if [ "${1:-}" = --full ]; then
    points+=(store.tensors store.file store.manifest store.rename store.latest store.alias store.rename@2 file.rename@3
        online.log@2 online.logged@2 online.letters@2 online.trained@2 store.rename@3 online.published@2 store.alias@2
        online.commit@2 store.rename@4 online.tidied@2 online.logged@3 online.commit@3 online.committed@3)
    in_a_row=(online.logged online.trained online.published online.aliased online.committed)
fi
for point in "${points[@]}"; do
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
for point in "${in_a_row[@]}"; do
    FLYWHEEL_INJECT=$point=kill mpirun --quiet -np 2 "$online" online "$config" --run "$run" --drain \
        >"$work/log" 2>&1 && fail "$point was not reached"
    kills=$((kills + 1))
done
want 0 mpirun --quiet -np 2 "$online" online "$config" --run "$run" --drain
ends_right "kills in a row"
echo "ok: ${#in_a_row[@]} kills in a row on two ranks"

# ---- one rank of two is killed: the other names it and leaves, and nothing is half done ----
world rank1
mpirun --quiet --mca orte_abort_on_non_zero_status 0 --enable-recovery -np 1 "$online" online "$config" --run "$run" --drain : \
    -np 1 -x FLYWHEEL_INJECT=online.trained=kill "$online" online "$config" --run "$run" --drain \
    >"$work/log" 2>&1 || true # mpirun leaves them to themselves, and calls any end a good one
[ ! -e "$run/online/s000001" ] || fail "a state was committed without rank 1"
[ "$(jq -r '.failure | "\(.rank) \(.fault)"' "$run/online/summary.json")" = "1 gone" ] || fail "online/summary.json does not blame rank 1"
want 0 mpirun --quiet -np 2 "$online" online "$config" --run "$run" --drain
ends_right "rank 1 killed"
echo "ok: rank 1 killed"

# ---- told to stop in the middle of a batch ----
world told
stop_at online.letters
kill -USR1 "$loop_pid"
release 75
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
hold_waiting() { # how often it was told
    [ "$(grep -c "waiting for Redis" "$work/loop.log")" = "$1" ]
}
FLYWHEEL_INJECT=online.tidied=stop "$online" online "$config" --run "$run" --drain >"$work/loop.log" 2>&1 &
loop_pid=$!
await hold_waiting 1
start_redis "$work/redis"
await is_stopped "$loop_pid"
stop_redis KILL
kill -CONT "$loop_pid"
await hold_waiting 2
start_redis "$work/redis"
release 0
says "Redis answers again"
ends_right "Redis away"
echo "ok: Redis killed and started again, nothing lost"
echo "{\"crash\": {\"kills\": $((kills + 3)), \"ledger_closed\": true, \"same_bits\": true}}"
