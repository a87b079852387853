#!/bin/bash
# Learning from feedback: good feedback makes a champion that is better where the world has shifted, wrong feedback is
# refused and accounted for, garbage is dead-lettered with its reason, and the same entries never count twice.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/online_lib.bash"

# ---- usage and config ----
want 2 "$online"
want 0 "$online" online --help
want 0 "$online" feedback push --help
want 2 "$online" feedback pusj
says "did you mean 'push'"
want 2 "$online" feedback push --label cat
says "one of the three"
want 0 "$online" online "$config" --check
says '"margin": 0.05'
want 2 "$online" online "$config" --check --set online.entrys=3
says "entries"
for how in --drain --check; do # what start refuses, a check refuses
    want 2 "$online" online "$config" $how --set data.holdout=0
    says "data.holdout"
    want 2 "$online" online "$config" $how --set data.holdout=50
    says "hold out"
    want 2 "$online" online "$config" $how --set online.keep_logs=3
    says "at least 19, or 0"
    want 2 "$online" online "$config" $how --set online.min_entries=65
    says "a batch is full with 64"
    want 2 "$online" online "$config" $how --set online.min_entries=9 --set online.quota=8
    says "gives it 8"
    want 2 "$online" online "$config" $how --set online.redis=nowhere
    says "online.redis"
    want 2 "$online" online "$config" $how --set online.alias=latest
    says "online.alias"
done

want 1 "$online" online "$config" --drain
says "train first"
want 0 "$train" train "$config" -q
want 0 "$fixture" export "$config" 0 200 "$work/images"
cp -r "$work/run" "$work/base"
start_redis "$work/redis"

# ---- good feedback ----
before=$(score "$work/run")
split -n l/2 "$work/images/labels.csv" "$work/half." # 100 images each
want 0 "$online" feedback push --labels "$work/half.aa" --operator ann
says "100 entries pushed to fw:feedback:ann"
want 0 "$online" feedback push --labels "$work/half.ab" --operator bob --json
says '"pushed":100'
want 0 "$online" feedback stats --config "$config"
says "no committed state"
want 0 "$online" online "$config" --drain
says "new champion"
! grep -q "was trained with data.holdout" "$log" || fail "warns of the holdout that the training left out"
after=$(score "$work/run")
awk "BEGIN { exit !($after > $before + 0.3) }" || fail "shifted accuracy $before -> $after"
ledger_closes "$work/run"
want 0 "$store" alias "$work/run" history champion
says online
grep -q '"event":"prequential".*"operator":"bob"' "$work/run/events.jsonl" || fail "no prequential accuracy"
grep -q 'flywheel_online_judged_total{operator="ann"} 100' "$work/run/metrics.prom" || fail "no metric"
[ "$(cli XLEN fw:feedback:ann)" = 0 ] || fail "not trimmed behind the committed state"
[ "$(cli XINFO GROUPS fw:feedback:ann | grep -A1 lag | tail -1)" = 0 ] || fail "the group shows a lag"
echo "ok: good feedback: shifted accuracy $before -> $after, ledger closed"

# ---- once only ----
want 0 "$online" feedback push --labels "$work/half.aa" --operator ann
want 0 "$online" online "$config" --drain
[ "$(stat_of "$work/run" duplicate)" = 100 ] || fail "$(stat_of "$work/run" duplicate) duplicates, not 100"
ledger_closes "$work/run"
echo "ok: what was pushed again counts once"

# ---- wrong feedback ----
champion=$("$store" alias "$work/run" get champion --json)
want 0 "$online" feedback push --labels "$work/images/wrong.csv" --operator mallory
want 0 "$online" online "$config" --drain --set online.replay_ratio=0 --set online.entries=256 --set data.holdout=450
says "champion stays, refused"
says "was trained with data.holdout 400 and data.seed 1, this loop has 450 and 1"
[ "$champion" = "$("$store" alias "$work/run" get champion --json)" ] || fail "wrong feedback made a champion"
[ "$(stat_of "$work/run" rejected)" = 200 ] || fail "$(stat_of "$work/run" rejected) rejected, not 200"
[ "$(stat_of "$work/run" lag)" = 0 ] || fail "rejected entries are still to be read"
ledger_closes "$work/run"
echo "ok: wrong feedback is refused, and offsets advance"

# ---- garbage ----
png=$work/images/000150.png
bad() { # FIELD VALUE...
    cli XADD fw:feedback:eve '*' "$@" >/dev/null
}
bad label nosuch image abc
bad image abc
bad label 1
bad label 1 image abc
bad label 1 prediction_id 0123
bad label 1 prediction_id 0123456789abcdef0123456789abcdef
bad label 99 image abc
bad nothing at all all
printf '\377\330\377\340broken' | cli -x XADD fw:feedback:eve '*' label 1 image >/dev/null
# Huge: 9 MiB of a JPEG, and the head of a PNG that says 20,000 x 20,000 pixels.
{ printf '\377\330\377\340' && head -c 9437184 /dev/zero; } | cli -x XADD fw:feedback:eve '*' label 1 image >/dev/null
printf '\211PNG\r\n\032\n\000\000\000\rIHDR\000\000\116\040\000\000\116\040\010\002\000\000\000\154\022\321\156' |
    cli -x XADD fw:feedback:eve '*' label 1 image >/dev/null
head -c 300 "$png" | cli -x XADD fw:feedback:eve '*' label 1 image >/dev/null
cli -x XADD fw:feedback:eve '*' label 1 image <"$png" >/dev/null
cli SET fw:feedback:string "not a stream" >/dev/null
want 0 "$online" online "$config" --drain
[ "$(stat_of "$work/run" dead)" = 12 ] || fail "$(stat_of "$work/run" dead) dead, not 12"
[ "$(letters)" = 12 ] || fail "$(letters) dead letters, not 12"
want 0 "$online" feedback dlq
for reason in "'label' 'nosuch' is neither" "'label' is missing" "exactly one is expected" "neither JPEG nor PNG" \
    "'prediction_id' has 4 bytes" "the captured image is gone" "'image' has 9437188 bytes" "20000 x 20000" \
    "fw:feedback:eve/"; do
    says "$reason"
done
ledger_closes "$work/run"
echo "ok: garbage is dead-lettered with reasons, the good entry beside it is not"

# ---- an answer, by its prediction id ----
id=0193a4000000000000000000000000aa
cli HSET fw:capture:$id format 1.0 kind file shape 0x0x0 version 5 manifest 0123456789abcdef time 1.5 label 7 >/dev/null
cli -x HSET fw:capture:$id image <"$work/images/plain000160.png" >/dev/null
# one class of ten: index 7, name "7", probability 1
printf '\001\000\012\000\007\000\001\000\000\000\200\0777\000' | cli -x HSET fw:capture:$id classes >/dev/null
want 0 "$online" feedback label --id $id --label 0 --operator carol
want 0 "$online" online "$config" --drain
grep '"event":"prequential"' "$work/run/events.jsonl" | tail -1 | grep -q '"version":5,"operator":"carol","count":1' ||
    fail "the answer of version 5 was not judged"
ledger_closes "$work/run"
echo "ok: an answer is corrected by its id, and judges the version that gave it"

# ---- too few entries ----
champion=$("$store" alias "$work/run" get champion --json)
want 0 "$online" feedback push --label 3 --operator dan "$work/images/plain000172.png" "$work/images/plain000173.png"
want 0 "$online" online "$config" --drain --set online.min_entries=3
says "2 good entries wait for others"
[ $(($(stat_of "$work/run" added) - $(stat_of "$work/run" read))) = 2 ] || fail "entries that wait were accounted for"
bad label nosuch image abc
cli XADD fw:feedback:dan '*' label nosuch image abc >/dev/null
want 0 "$online" online "$config" --drain --set online.min_entries=3 --set online.quota=3
says "refused: fewer good entries than online.min_entries"
[ "$champion" = "$("$store" alias "$work/run" get champion --json)" ] || fail "two entries made a champion"
ledger_closes "$work/run"
echo "ok: two entries wait, and make no champion"

# ---- another lease, and being told to stop ----
"$online" online "$config" >"$work/loop.log" 2>&1 &
loop_pid=$!
await grep -q "is next" "$work/loop.log"
want 1 "$train" train "$config" -q
says "process $loop_pid"
kill -TERM "$loop_pid"
code=0
wait "$loop_pid" || code=$?
loop_pid=
[ "$code" = 75 ] || fail "exit code $code after TERM"
echo "ok: a second writer is refused, TERM ends the loop with 75"

# ---- a Redis that forgot ----
want 0 "$online" feedback push --label 3 --operator ann "$work/images/plain000170.png"
cli SET fw:epoch another >/dev/null
want 0 "$online" online "$config" --drain
says "Redis lost data"
cli DEL fw:feedback:ann >/dev/null
want 0 "$online" feedback push --label 3 --operator ann "$work/images/plain000171.png"
want 0 "$online" online "$config" --drain
says "Redis lost data"
[ "$(stat_of "$work/run" lag)" = 0 ] || fail "a lag after Redis lost data"
echo "ok: lost data is told, and reading goes on"
