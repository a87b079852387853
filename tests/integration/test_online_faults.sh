#!/bin/bash
# What goes wrong around the loop of online learning: a full disk, another loop that takes over, a person who moves the
# champion at the worst moment, damaged files. Nothing is trained twice, forgotten, or written by who may not.
# test_online_faults.sh --full fills the disk at more steps.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/online_lib.bash"

make_worlds

# ---- a disk that is full at every step ----
points=(online.log store.tensors store.alias online.commit)
[ "${1:-}" != --full ] || points+=(store.manifest online.published file.write@2)
for point in "${points[@]}"; do
    case $point in *@*) spec=${point%@*}=enospc@${point#*@} ;; *) spec=$point=enospc ;; esac
    world "$point"
    want 1 env FLYWHEEL_INJECT="$spec" "$online" online "$config" --run "$run" --drain
    want 0 "$online" online "$config" --run "$run" --drain
    ends_right "$point on a full disk"
done
echo "ok: a full disk ends the loop, and the next start ends in the same bits"

# ---- another loop takes over: the first one writes neither log nor alias any more ----
world fenced
stop_at online.log
want 0 "$online" online "$config" --run "$run" --drain --steal-lease
inode=$(stat -c %i "$run/online/log/b000001.safetensors")
release 1
says "has taken over"
[ "$(stat -c %i "$run/online/log/b000001.safetensors")" = "$inode" ] || fail "the successor's log was written over"
ends_right "taken over before the log"
world fenced2
champion=$(version_of "$run" champion)
stop_at online.published
want 0 "$online" online "$config" --run "$run" --drain --steal-lease
want 0 "$store" alias "$run" set champion "$champion" --who alice --why "a test" # as the first loop expects it
release 1
says "has taken over"
[ "$(version_of "$run" champion)" = "$champion" ] || fail "a loop that was taken over from has moved the champion"
echo "ok: a loop that was taken over from writes nothing"

# ---- decided is decided: another verdict after the alias moved changes nothing ----
world verdict
want 137 env FLYWHEEL_INJECT=online.aliased=kill@2 "$online" online "$config" --run "$run" --drain
want 0 "$online" online "$config" --run "$run" --drain --set online.max_update=0.000001
says "became champion before the loop was cut off"
ends_right "another verdict"
echo "ok: what has become champion is not refused afterwards"

# ---- a person who rolls back meanwhile is respected, too ----
world rollback
want 137 env FLYWHEEL_INJECT=online.aliased=kill "$online" online "$config" --run "$run" --drain
made=$(version_of "$run" champion)
want 0 "$store" alias "$run" rollback champion --who alice --why "a test"
old=$(version_of "$run" champion)
want 0 "$online" online "$config" --run "$run" --drain
[ "$("$store" alias "$run" history champion --json | grep -o "\"version\": *$made[,}]" | wc -l)" = 1 ] ||
    fail "the rollback of version $made was undone"
want 0 "$store" show "$run" $((made + 1)) --json
says "\"parent\": $old"
[ "$(stat_of "$run" trained)" = 128 ] || fail "$(stat_of "$run" trained) trained"
ledger_closes "$run"
echo "ok: a rollback between alias and state stays"

# damage FILE: one byte of it.
damage() {
    local size
    size=$(stat -c %s "$1")
    printf '\377' | dd of="$1" bs=1 seek=$((size / 2)) conv=notrunc status=none
}

# ---- damaged states, though later batches have moved the alias: no batch is trained again ----
world state
want 0 "$online" online "$config" --run "$run" --drain
for each in "$run"/online/s00000[2-9]; do
    damage "$each/online.json"
done
want 0 "$online" online "$config" --run "$run" --drain
says "became champion before the loop was cut off"
ends_right "damaged states"
echo "ok: the newest states damaged, nothing trained twice"

# ---- a damaged log of a batch that was not decided is read from Redis again ----
world badlog
want 137 env FLYWHEEL_INJECT=online.trained=kill "$online" online "$config" --run "$run" --drain
damage "$run/online/log/b000001.safetensors"
want 0 "$online" online "$config" --run "$run" --drain
says "reading the batch from Redis again"
ends_right "a damaged log"
echo "ok: a damaged log"

# ---- old logs go, and what a killed writer left ----
world oldlogs
mkdir -p "$run/online/log"
touch "$run/online/log/b000001.safetensors.tmp-1-0" "$run/online/log/b000777.safetensors.tmp-1-0" \
    "$run/online/log/notes.txt"
want 0 "$online" online "$config" --run "$run" --drain --set online.keep_logs=1 --set online.keep_states=2
[ "$(cd "$run/online/log" && echo *)" = "b000003.safetensors notes.txt" ] ||
    fail "logs: $(cd "$run/online/log" && echo *)"
ends_right "old logs"
echo "ok: old logs go"
