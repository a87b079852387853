#!/bin/bash
# 'flywheel checkpoint' on real folders: every verb and exit code, writers killed at every step of a commit, a frozen
# owner, a full disk.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/job.bash"
fixture=$FLYWHEEL_BIN/fixture_store
run=$work/run
mounted=

cleanup() {
    [ -z "$mounted" ] || umount "$mounted" || true
    rm -rf "$work"
}
trap cleanup EXIT

# Usage.
want 2 "$store"
want 2 "$store" lss "$run"
says "did you mean 'ls'"
want 0 "$store" --help
want 0 "$store" gc --help
want 2 "$store" ls
want 1 "$store" ls "$work/none"
says "$work/none"
mkdir "$work/above"
for verb in ls verify; do
    want 0 "$store" $verb "$work/above"
    says "$work/above: no versions"
done
want 0 "$store" ls "$work/above" --json
[ "$(cat "$log")" = "[]" ] || fail "no empty list"

# Three versions: list, show, verify, compare, by every name.
want 0 "$fixture" "$run" 0.25 0.75 0.5
want 0 "$store" ls "$run"
says v000003
says "accuracy 0.75"
want 0 "$store" ls "$run/checkpoints" --json
says '"version":2'
want 0 "$store" show "$run" 2 --json
says '"xxh3"'
want 0 "$store" show "$run"
says "fc.weight, largest 1.5"
want 0 "$store" verify "$run"
want 0 "$store" diff "$run" 1 v000001
says "bit for bit"
want 1 "$store" diff "$run" 1 2
says "fc.weight: 4 of 4 elements differ, by 1.5 at most, first at [0,0] (0.25, 0.75)"
want 1 "$store" diff "$run" 1 2 --json
says '"largest":1.5'
cp -r "$run" "$work/twin"
want 0 "$store" diff "$run" 2 2 --with "$work/twin"
want 1 "$store" diff "$run" 2 3 --with "$work/twin/checkpoints"
want 1 "$store" diff "$run" 2 2 --with "$work/none"
says "$work/none"
want 1 "$store" diff "$run" 1 2 --file state.safetensors
says "state.safetensors"
want 1 "$store" show "$run" 9
want 1 "$store" show "$run" nobody

# Aliases.
want 0 "$store" alias "$run" set champion 1 --expect none --who alice --why "first"
want 1 "$store" alias "$run" set champion 2 --expect none
says "names version 1"
want 0 "$store" alias "$run" set champion 2 --expect 1 --who bob
want 1 "$store" alias "$run" set champion 77
want 0 "$store" show "$run" previous
says v000001
want 0 "$store" alias "$run" rollback champion --who carol --why "worse"
want 0 "$store" alias "$run" history champion
says alice
says carol
[ "$(wc -l <"$work/log")" = 3 ] || fail "three changes in the history"
want 0 "$store" alias "$run" get champion --json
says '"version":1'
want 2 "$store" alias "$run" move champion 1

# Clean-up keeps what is named and tells before it removes.
want 0 "$fixture" "$run" 0.1 0.1 0.1
want 0 "$store" gc "$run" --keep-last 1 --keep-best 0 --dry-run
says "would remove v000003"
[ -d "$run/checkpoints/v000003" ] || fail "a dry run removed something"
want 0 "$store" gc "$run" --keep-last 1 --keep-best 0 --trash-minutes 0 --json
says '"removed":[3,4,5]'
for v in 1 2 6; do # champion, what it named before, the newest
    [ -d "$run/checkpoints/v00000$v" ] || fail "v00000$v was removed"
done

# An alias that is being set while its version is removed goes back to what it named.
want 0 "$fixture" "$run" 0.1
FLYWHEEL_INJECT=store.alias=stop "$store" alias "$run" set champion 6 >"$work/setter" 2>&1 &
setter=$!
await is_stopped $setter
want 0 "$store" gc "$run" --keep-last 1 --keep-best 0 --trash-minutes 0
says "removed v000006"
kill -CONT "$setter"
code=0
wait "$setter" || code=$?
[ "$code" = 1 ] || fail "setting an alias to a removed version ended with $code"
grep -q "removed meanwhile" "$work/setter" || fail "the setter does not say why: $(cat "$work/setter")"
want 0 "$store" show "$run" champion
says v000001
want 1 "$store" alias "$run" rollback champion
says "version 6 was removed meanwhile"

# Damage is named, and readers walk back.
printf 'x' | dd of="$run/checkpoints/v000007/model.safetensors" bs=1 seek=70 conv=notrunc status=none
want 1 "$store" verify "$run"
says "v000007/model.safetensors"
want 1 "$store" verify "$run" 7
want 0 "$store" verify "$run" 1
want 0 "$store" show "$run" latest
says "walking back"
says v000002
want 1 "$store" alias "$run" set champion 7
rm -r "$run"

# A writer killed at every step: the next one takes over and everything that shows is whole.
want 0 "$fixture" "$run" 0.5
for point in store.lease store.tensors store.file store.manifest store.rename dir.rename@2 store.latest; do
    case $point in *@*) spec=${point%@*}=kill@${point#*@} ;; *) spec=$point=kill ;; esac
    want 137 env FLYWHEEL_INJECT="$spec" "$fixture" "$run" 0.5
    want 0 "$store" verify "$run"
    want 0 "$fixture" "$run" 0.5
    want 0 "$store" verify "$run"
    [ -z "$(find "$run" -name '.*' ! -name "$(basename "$run")")" ] || fail "left behind after $point"
done

# A frozen owner: refused by name, forced by a person, and then it cannot publish any more.
before=$("$store" ls "$run" --json | grep -o '"version"' | wc -l)
FLYWHEEL_INJECT=store.rename=stop "$fixture" "$run" 0.5 >"$work/frozen" 2>&1 &
owner=$!
await is_stopped $owner
want 1 "$store" gc "$run"
says "process $owner"
want 0 "$store" gc "$run" --force --keep-last 100
kill -CONT "$owner"
code=0
wait "$owner" || code=$?
[ "$code" = 1 ] || fail "the fenced owner ended with $code"
grep -q "taken over" "$work/frozen" || fail "the fenced owner does not say why: $(cat "$work/frozen")"
after=$("$store" ls "$run" --json | grep -o '"version"' | wc -l)
[ "$before" = "$after" ] || fail "the fenced owner has published"

# A full disk, where a small one can be mounted: the old versions stay.
mkdir "$work/small"
if mount -t tmpfs -o size=512k tmpfs "$work/small" 2>/dev/null; then
    mounted=$work/small
    want 0 "$fixture" "$work/small/run" 0.5
    dd if=/dev/zero of="$work/small/fill" bs=4k status=none 2>/dev/null || true
    want 1 "$fixture" "$work/small/run" 0.5
    says "No space left"
    want 0 "$store" verify "$work/small/run"
    rm "$work/small/fill"
    want 0 "$fixture" "$work/small/run" 0.5
else
    echo "skipped: the full disk (no right to mount one)"
fi
echo "ok"
