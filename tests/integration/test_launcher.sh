#!/bin/bash
# The launcher with real processes, a real mpirun and a real Redis. The tiers are small scripts
# beside a copy of `flywheel`, since only the handling of processes is tested here. FLYWHEEL_BIN: where the programs are.
set -euo pipefail

flywheel_bin=${FLYWHEEL_BIN:?}/flywheel
work=$(mktemp -d "${TMPDIR:-/tmp}/fwl.XXXXXX")
token=FW_LAUNCHER_TEST=$work
fw=$work/bin/flywheel
. "$(dirname "${BASH_SOURCE[0]}")/check.bash"

finish()
{
    local left
    left=$(marked "$token")
    [ -z "$left" ] || kill -9 $left 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Not for the background: $! would be a subshell around it.
run() { env "$token" "$fw" "$@"; }
none_marked() { [ -z "$(marked "$token")" ]; }
has_lines() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }
role_pid() { sed -n "s/.*\"role\":\"$1\",\"state\":\"running\",\"pid\":\([0-9]*\).*/\1/p" <<<"$(run status "$work/c.json" --json | tr '{' '\n')"; }
role_state() { sed -n "s/.*\"role\":\"$1\",\"state\":\"\([a-z]*\)\".*/\1/p" <<<"$(run status "$work/c.json" --json | tr '{' '\n')"; }
running() { [ -n "$(role_pid "$1")" ]; }

mkdir -p "$work/bin"
cp "$flywheel_bin" "$fw"
cd "$work"

# A tier: writes down how it was called, then does what $work/do-NAME says.
for tier in train gateway worker online store; do
    cat >"$work/bin/flywheel-$tier" <<TIER
#!/bin/bash
name=$tier
echo "\$\$ \${OMPI_COMM_WORLD_RANK:--} \$*" >>"$work/calls-$tier"
[ -z "\${OMPI_MCA_orte_tmpdir_base:-}" ] || echo "\$OMPI_MCA_orte_tmpdir_base" >"$work/scratch-\$\$"
echo "hello from \$name"
[ ! -f "$work/do-$tier" ] || . "$work/do-$tier"
TIER
    chmod +x "$work/bin/flywheel-$tier"
done
# Stays until TERM, which it writes down; starts a grandchild in a session of its own that ignores TERM. Says when it is
# ready to be told.
stay="trap 'echo \$name >>$work/stopped; exit 0' TERM; echo \$name >>$work/staying; setsid bash -c 'trap \"\" TERM HUP; sleep 1000' & while :; do sleep 1000 & wait \$!; done"

config() { printf '{"schema": 1, "run": "%s/run", "cluster": {"restart_ms": 50, "restart_max_ms": 400, "stop_timeout_ms": 3000%s}}' "$work" "$1" >"$work/c.json"; }
# Others may train on this machine meanwhile: mpirun's temporary folder counts when it was made for a rank of this test.
scratches() { cat "$work"/scratch-* 2>/dev/null | while read -r dir; do [ ! -e "$dir" ] || echo "$dir"; done; }

echo "== dispatch"
config ''
echo 'exit 7' >do-train
check "the tier's exit code is the command's" same "$(code_of run train c.json --epochs 3)" 7
check "the tier gets its arguments" same "$(cut -d' ' -f3- calls-train)" "train c.json --epochs 3"
check "an unknown command is a usage error" same "$(code_of run tarin c.json)" 2
check "it names the nearest" grep -q "did you mean 'train'" <<<"$(run tarin 2>&1 || true)"
check "a missing tier is named" grep -q "flywheel-client" <<<"$(run predict x.png 2>&1 || true)"
check "a bad number of ranks is a usage error" same "$(code_of run train c.json --ranks none)" 2

echo "== ranks"
no_scratch() { same "$(scratches)" ""; }
rm calls-train
echo 'exit 0' >do-train
check "two ranks succeed" same "$(code_of run train c.json --ranks 2)" 0
check "both ran, as ranks 0 and 1" same "$(cut -d' ' -f2 calls-train | sort | paste -sd,)" "0,1"
echo 'echo "terminal ${FLYWHEEL_TERMINAL:-none}" >&2' >do-train
check "ranks know a terminal behind mpirun" same \
    "$(run_it="env $token $fw train c.json --ranks 2" && script -qec "$run_it" /dev/null | grep -c 'terminal 1')" 2
check "and a pipe" same "$(run train c.json --ranks 2 2>&1 | grep -c 'terminal none')" 2
echo '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || exit 3' >do-train
check "a failing rank's code is the run's" same "$(code_of run train c.json --ranks 2)" 3
check "inside MPI, --ranks is refused" same "$(code_of env OMPI_COMM_WORLD_RANK=0 "$fw" train c.json --ranks 2)" 2
check "so is a missing hostfile, which is not tried again" same \
    "$(code_of run train c.json --ranks 2 --restarts 9 --set cluster.hostfile=none)" 2
refused=$(run train c.json --ranks 2 --set cluster.interface=nosuch0 2>&1) && code=0 || code=$?
check "and a network that is not there" same "$code" 2
check "which is named" grep -q "no network 'nosuch0', only .*lo" <<<"$refused"
check "a missing configuration is a usage error" same "$(code_of run train missing.json --ranks 2)" 2

echo 'trap "echo \$OMPI_COMM_WORLD_RANK >>'"$work"'/saved; exit 75" USR1; echo up >>'"$work"'/ready; while :; do sleep 1000 & wait $!; done' >do-train
rm -f ready
env "$token" "$fw" train c.json --ranks 2 >/dev/null 2>&1 &
supervisor=$!
await has_lines ready 2
kill -TERM "$supervisor"
code=0; wait "$supervisor" || code=$?
check "TERM is USR1 for the ranks, and 75 comes back" same "$code" 75
check "both ranks saved" same "$(sort saved | paste -sd,)" "0,1"

rm -f ready
env "$token" "$fw" train c.json --ranks 2 >/dev/null 2>&1 &
supervisor=$!
await has_lines ready 2
kill -9 "$supervisor"
wait "$supervisor" 2>/dev/null || true
check "kill -9 of the supervisor leaves no rank" await none_marked
check "mpirun's temporary folder is known" ls "$work"/scratch-*
check "and no temporary folder" await no_scratch

rm -f calls-train
echo '[ "$(wc -l <'"$work"'/calls-train)" -ge 3 ] || exit 9' >do-train
check "a run that fails twice is restarted" same "$(code_of run train c.json --ranks 1 --restarts 5)" 0
check "three lives" has_lines calls-train 3
rm -f calls-train
echo 'exit 9' >do-train
check "restarts are counted" same "$(code_of run train c.json --restarts=2)" 9
check "three lives, not more" same "$(wc -l <calls-train)" 3
rm -f calls-train
echo 'exit 2' >do-train
check "a usage error is not tried again" same "$(code_of run train c.json --restarts 5)" 2
check "one life" same "$(wc -l <calls-train)" 1
check "nor is an mpirun that is missing" same "$(code_of env PATH=/none "$fw" train c.json --ranks 2 --restarts 5)" 127
for final in 78 127; do # what it found does not fit; a library is missing
    rm -rf calls-train run
    mkdir run
    echo "exit $final" >do-train
    check "nor is code $final, of two ranks" same "$(code_of run train c.json --ranks 2 --restarts 5)" $final
    check "one life of two ranks at most" test "$(wc -l <calls-train)" -le 2
    check "and events.jsonl says so" same "$(jq -r '"\(.event) \(.code)"' run/events.jsonl)" "gave_up $final"
done
rm -rf calls-train run
cat >do-train <<SH
case \$(wc -l <'$work/calls-train') in
1) sleep 1; exit 9 ;;
2) exit 78 ;;
3) exit 2 ;;
esac
SH
check "what was there for a healthy life, and is not now, may come back" same \
    "$(code_of run train c.json --restarts 5 --set cluster.healthy_ms=300)" 0
check "in the fourth life" same "$(wc -l <calls-train)" 4
rm -rf run

echo "== lives"
rm -f calls-train
echo 'printf "{\"failure\": {\"step\": 16, \"what\": \"rank 1: gone\"}}" >run/summary.tmp; mv run/summary.tmp run/summary.json; exit 9' >do-train
mkdir -p run
check "a step that fails three times ends the run with its code" same "$(code_of run train c.json --restarts 9)" 9
check "three lives, not ten" same "$(wc -l <calls-train)" 3
check "events.jsonl has the restarts and why it was given up" same \
    "$(grep -cE '"event":"(restart|gave_up)"' run/events.jsonl)" 3
rm -rf run
mkdir run
echo 'kill -SEGV $$' >do-train
check "a run that a signal ends has its code" same "$(code_of run train c.json --ranks 1)" 139
check "and summary.json says which signal, and when" same \
    "$(jq -r '.failure | "\(.fault) \(.what) \(.t > 1e9)"' run/summary.json)" "killed ended by signal 11 (Segmentation fault) true"
rm -rf run calls-train
mkdir -p run/checkpoints/v000001
echo '{"store": {"dir": "checkpoints"}}' >run/config.json
check "a run that faults is restarted" same "$(code_of run train c.json --ranks 1 --restarts 9)" 139
check "three times without a newer version, not ten" same "$(wc -l <calls-train)" 3
check "and says at which version" same "$(jq -r 'select(.event == "gave_up") | "\(.newest) \(.times)"' run/events.jsonl)" "v000001 3"
rm -f calls-train
# When both have said that they ran.
echo 'until [ "$(wc -l <'"$work"'/calls-train)" -ge $((2 * FLYWHEEL_LIFE + 2)) ]; do sleep 0.05; done
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || kill -SEGV $$
sleep 1000' >do-train
check "so is one of two ranks" same "$(code_of run train c.json --ranks 2 --restarts 9)" 139
check "three lives of two ranks" same "$(wc -l <calls-train)" 6
rm -f calls-train
echo 'mkdir run/checkpoints/v00000$((FLYWHEEL_LIFE + 2)); kill -SEGV $$' >do-train
check "but not while it gets further" same "$(code_of run train c.json --restarts 4)" 139
check "all five lives" same "$(wc -l <calls-train)" 5
rm -rf run
mkdir run
asked=
for life in 0 1 2; do
    echo '{"failure": {"fault": "gone", "step": 16, "what": "rank 1"}, "job": "slurm-7", "life": '$life'}' >run/summary.json
    asked+=$(FLYWHEEL_JOB=slurm-7 FLYWHEEL_LIFE=$life code_of run submit --lost c.json)
done
check "a job that loses a rank in the same step is queued again twice" same "$asked" 001
rm -rf run
mkdir run
# As mpirun, when it waits for the daemon of a host that is cut off.
echo '[ "$FLYWHEEL_LIFE" = 0 ] || exit 0
printf "{\"failure\": {\"step\": 1, \"what\": \"x\"}, \"job\": \"$FLYWHEEL_JOB\", \"life\": 0}" >run/s; mv run/s run/summary.json
while :; do sleep 1000; done' >do-train
check "a life that is lost and does not end is killed, and followed" same \
    "$(code_of run train c.json --restarts 1 --set cluster.stop_timeout_ms=200)" 0
rm -rf run
echo 'echo "$FLYWHEEL_JOB $FLYWHEEL_LIFE" >>'"$work"'/lives-seen; [ "$FLYWHEEL_LIFE" = 2 ] || exit 9' >do-train
check "lives know their number" same "$(code_of run train c.json --ranks 2 --restarts 5)" 0
check "and share a job" same "$(cut -d' ' -f1 lives-seen | sort -u | wc -l)" 1
check "0, 1 and 2" same "$(cut -d' ' -f2 lives-seen | sort -u | paste -sd,)" "0,1,2"
check "section cluster is read with --set" same \
    "$(code_of run train c.json --ranks 2 --set cluster.workers=none)" 2
echo 'exit 9' >do-train
env "$token" "$fw" train c.json --restarts 5 --set cluster.restart_ms=600000 --set cluster.restart_max_ms=600000 2>backoff.log &
supervisor=$!
check "it backs off" await grep -q "restart 1 in 600000 ms" backoff.log
kill -TERM "$supervisor"
code=0; wait "$supervisor" || code=$?
check "told to stop between two lives, it ends with 75" same "$code" 75

echo "== up"
rm -f staying
config ', "workers": 2, "online_ranks": 2'
echo "$stay" >do-gateway
echo "$stay" >do-worker
# mpirun sends TERM to the second rank as soon as the first has ended.
echo 'trap : TERM; trap "echo online >>'"$work"'/stopped; exit 75" USR1; echo online >>'"$work"'/staying; while :; do sleep 1000 & wait $!; done' >do-online
env "$token" "$fw" up c.json 2>up.log &
up=$!
for role in gateway worker-0 worker-1 online; do
    check "$role runs" await running "$role"
done
check "all is well" same "$(code_of run status c.json)" 0
check "the table shows the roles" grep -qE '^worker-1 +[0-9]+ +running +0 ' <<<"$(run status c.json)"
check "each role has a log" await grep -q "hello from gateway" run/logs/gateway.log
check "workers know their numbers" grep -q ' c.json --id 1' calls-worker
second=$(run up c.json 2>&1) && code=0 || code=$?
check "a second up is refused" same "$code" 1
check "it names the first" grep -q "pid $up " <<<"$second"

old=$(role_pid gateway)
kill -9 "$old"
restarted() { local pid; pid=$(role_pid gateway); [ -n "$pid" ] && [ "$pid" != "$old" ]; }
check "a killed role is restarted" await restarted
old=$(role_pid gateway)
guardian=$(awk '$1 == "PPid:" { print $2 }' "/proc/$old/status")
kill -9 "$guardian"
check "a killed guardian's role is restarted" await restarted
check "its old process is gone" await test ! -e "/proc/$old"
check "all can be told: five, and two that were restarted" await has_lines staying 7

rm -f stopped
check "down succeeds" run down c.json 2>/dev/null
code=0; wait "$up" || code=$?
check "up ends with 0" same "$code" 0
check "down leaves no process" none_marked
check "gateway and online go before the workers" same "$(tail -2 stopped | paste -sd,)" "worker,worker"
check "each of the five processes was told" same "$(wc -l <stopped)" 5
check "status says so" same "$(code_of run status c.json)" 1
check "where nothing ran, too" grep -q "no 'flywheel up' has run there yet" <<<"$(run status c.json --run nowhere 2>&1 || true)"
check "down again is fine" same "$(code_of run down c.json)" 0

echo "== kill -9 of up"
env "$token" "$fw" up c.json 2>up.log &
up=$!
for role in gateway worker-0 worker-1 online; do
    await running "$role"
done
check "there are grandchildren" test "$(marked "$token" | wc -l)" -gt 12
kill -9 "$up"
wait "$up" 2>/dev/null || true
check "nothing is left" await none_marked
check "no temporary folder is left" await no_scratch
check "status says not running" grep -q "^not running" <<<"$(run status c.json || true)"

echo "== stubborn roles"
config ', "workers": 1, "stop_timeout_ms": 500'
sed -i 's/"stop_timeout_ms": 3000, //' c.json
echo 'trap "" TERM; echo up >>'"$work"'/ready; while :; do sleep 1000; done' >do-worker
rm -f ready
env "$token" "$fw" up c.json 2>up.log &
up=$!
await has_lines ready 1
kill -INT "$up"
code=0; wait "$up" || code=$?
check "a role that ignores TERM is killed in time" same "$code" 0
check "nothing is left" none_marked
rm ready
env "$token" "$fw" up c.json 2>up.log &
up=$!
await has_lines ready 1
kill -9 "$up"
wait "$up" 2>/dev/null || true
env "$token" "$fw" up c.json 2>up.log & # at once, as a service manager would: the old worker has not ended yet
up=$!
check "the next up waits for what a killed one left" await has_lines ready 2
kill -INT "$up"
code=0; wait "$up" || code=$?
check "and is well" same "$code" 0

echo "== crash loop"
config ', "workers": 1, "gateway": false'
echo 'date +%s%N >>'"$work"'/lives; exit 1' >do-worker
env "$token" "$fw" up c.json 2>up.log &
up=$!
check "a crashing role is tried again" await has_lines lives 6
backing_off() { [ "$(role_state worker-0)" = backoff ] && [ "$(code_of run status c.json)" = 1 ]; }
check "status is not well" await backing_off
kill -TERM "$up"
wait "$up" || true
# 50, 100, 200, 400, 400 ms at least, measured between the starts.
check "with growing waits" awk 'NR > 1 && NR <= 6 && ($1 - last) / 1e6 < wanted { bad = 1 }
    { last = $1; wanted = NR == 1 ? 50 : wanted * 2 > 400 ? 400 : wanted * 2 } END { exit bad }' lives
config ', "workers": 0, "gateway": false, "online_ranks": 1'
rm -f calls-online
mkdir -p run/online
echo 'printf "{\"failure\": {\"step\": 4, \"what\": \"disk full\"}}" >run/o; mv run/o run/online/summary.json; exit 1' >do-online
env "$token" "$fw" up c.json 2>up.log &
up=$!
check "a loop that fails in one batch is tried for ever" await has_lines calls-online 5
kill -TERM "$up"
wait "$up" || true
check "and each end is told of" grep -q '"event":"restart","rank":-1,"life":4,.*"what":"disk full"' run/events.jsonl
config ', "workers": 1, "gateway": false'
echo 'exit 2' >do-worker
check "a role that calls its configuration wrong ends up" same "$(code_of run up c.json)" 2
check "it is shown as failed" same "$(role_state worker-0)" failed
echo 'exit 78' >do-worker
check "so does one that finds no GPU of its own" same "$(code_of run up c.json)" 78
config ', "workers": 0, "gateway": false, "online_ranks": 1'
rm -f calls-online
echo 'exit 78' >do-online
check "and a loop whose Redis is too old" same "$(code_of run up c.json)" 78
check "at once" same "$(wc -l <calls-online)" 1

echo "== a gateway that somebody else started"
config ''
echo "$stay" >do-gateway
echo "$stay" >do-worker
env "$token" flock run/serve.lock -c 'echo held >held; exec sleep 1000' &
holder=$!
check "it is there" await test -s held
for verb in serve up; do
    refused=$(env "$token" timeout 60 "$fw" $verb c.json 2>&1) && code=0 || code=$?
    check "'$verb' beside it is refused" same "$code" 1
    check "and says where it is" grep -q "$work/run/serve.json" <<<"$refused"
done
pkill -P "$holder" || true
wait "$holder" || true
# An 'up' on its way out, which has let go of its lock: this shell stands for it.
ticks=$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20)
sed -i -E "s/^( \"pid\": )[0-9]+/\1$$/; s/^( \"ticks\": )[0-9]+/\1$ticks/" run/up.json
check "what has let go of its lock runs no more" grep -q '^not running' <<<"$(run status c.json)"

echo "== redis"
config ', "workers": 1, "gateway": false, "redis": "unix:'"$work"'/redis.sock"'
echo "$stay" >do-worker
env "$token" "$fw" up c.json 2>up.log &
up=$!
pong() { [ "$(redis-cli -s "$work/redis.sock" PING 2>/dev/null)" = PONG ]; }
check "a private Redis answers" await pong
redis-cli -s "$work/redis.sock" SET key kept >/dev/null
config ', "workers": 1, "gateway": false, "redis": "unix:'"$work"'/redis.sock"'
sed -i 's|/run"|/run2"|' c.json
refused=$(run up c.json 2>&1) && code=0 || code=$?
check "a Redis found running is refused" same "$code" 1
check "it says why" grep -q "already listens" <<<"$refused"
sed -i 's|/run2"|/run"|' c.json
redis=$(role_pid redis)
kill -9 "$redis"
gone() { ! pong; }
kept() { [ "$(redis-cli -s "$work/redis.sock" GET key 2>/dev/null)" = kept ]; }
await test ! -e "/proc/$redis"
check "Redis comes back with what it knew" await kept
run down c.json 2>/dev/null
wait "$up"
check "Redis is down" gone
check "nothing is left" none_marked

verdict
