#!/bin/bash
# What namespaces.bash promises the tests with several hosts: whichever way a test ends, also by SIGTERM and SIGKILL, it
# leaves no process, namespace, bridge, mount or folder behind; two at the same time do not meet; who may not is told so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/namespaces.bash"

# As a test: two hosts that reach each other, and a process on one of them that nobody waits for. Then it ends as told.
if [ -n "${ENDS:-}" ]; then
    hosts_contain fwn
    hosts_up 2
    on 1 setsid sleep 1000 &
    on 1 bash -c 'until (exec 3<>/dev/tcp/node-2/9) 2>&1 | grep -q refused; do sleep 0.02; done'
    mkdir "$work/disk"
    mount -t tmpfs tmpfs "$work/disk"
    echo up >"$UP"
    case $ENDS in fail) exit 3 ;; pass) exit 0 ;; *) sleep 1000 ;; esac
fi

why=$(hosts_possible) || { echo "skip: $why"; exit 77; }
. "$here/fail.bash"
export TMPDIR=$work/tmp UP=
mkdir "$TMPDIR"
copies=()
trap 'kill -KILL "${copies[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 143' INT TERM HUP
marked() { grep -lsF "UP=$work/" /proc/[0-9]*/environ; }
outside() { ip netns list; ip -br link | cut -d' ' -f1 | grep -E '^(br0|p[12])' || true; grep -F "$work" /proc/self/mounts || true; }
none_marked() { ! marked; }
begin() # NAME ENDS
{
    UP=$work/$1 ENDS=$2 bash "$here/test_namespaces.sh" &
    copies+=($!)
}
before=$(outside)

begin a fail
begin b pass
begin term TERM
begin kill KILL
codes=()
for copy in "${copies[@]:0:2}"; do
    code=0
    wait "$copy" || code=$?
    codes+=("$code")
done
[ "${codes[*]}" = "3 0" ] || fail "exit codes ${codes[*]}, not 3 and 0"
await test -e "$work/term"
await test -e "$work/kill"
[ "$(outside)" = "$before" ] || fail "seen outside while two tests run: $(outside)"
kill -TERM "${copies[2]}"
code=0
wait "${copies[2]}" || code=$?
[ "$code" = 143 ] || fail "TERM ends it with $code"
[ "$(find "$TMPDIR" -maxdepth 1 -name 'fwn.*' | wc -l)" = 1 ] || fail "a folder is left, besides the one of the test that runs"
{ kill -KILL "${copies[3]}" && wait "${copies[3]}"; } 2>/dev/null || true
await none_marked
[ "$(outside)" = "$before" ] || fail "left: $(outside)"
echo "ok: four at once, ended in four ways: nothing is left"

setpriv --reuid 65534 --clear-groups bash -c '. "$0"; hosts_possible' "$here/namespaces.bash" >"$log" || true
says "needs root"
setpriv --bounding-set -net_admin bash -c '. "$0"; hosts_possible' "$here/namespaces.bash" >"$log" || true
says "CAP_NET_ADMIN"
echo "ok: who may not is told why"
