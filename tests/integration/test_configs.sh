#!/bin/bash
# Every file of cluster-configs: each JSON passes every tier's --check, and fails it when a key of any section is
# misspelt; redis.conf makes the Redis that its comments promise; the units name files that exist. FLYWHEEL_BIN: where
# the programs are.
set -euo pipefail

bin=${FLYWHEEL_BIN:?}
configs=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../cluster-configs" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/fwc.XXXXXX")
. "$(dirname "${BASH_SOURCE[0]}")/check.bash"
redis=

finish()
{
    [ -z "$redis" ] || { kill "$redis" && wait "$redis"; } 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# tier NAME CONFIG: its --check.
tier()
{
    case "$1" in
        train) "$bin/flywheel-train" train "$2" --check ;;
        gateway) "$bin/flywheel-gateway" "$2" --check ;;
        worker) "$bin/flywheel-worker" "$2" --id 0 --check ;;
        online) "$bin/flywheel-online" online "$2" --check ;;
        up) "$bin/flywheel" up "$2" --check ;;
    esac
}
# What a tier's --check prints is itself a config.
prints_config() { tier "$1" "$2" >"$work/resolved.json" && tier "$1" "$work/resolved.json"; }
refuses()
{
    local code=0 said
    said=$(tier "$1" "$2" 2>&1) || code=$?
    printf '%s\n' "$said"
    [ "$code" -eq 2 ] && [[ $said == *misspelt* ]]
}

cd "$configs/.."
shopt -s nullglob
for config in cluster-configs/*.json; do
    tiers=(train up)
    grep -q '"serve"' "$config" && tiers+=(gateway worker)
    grep -q '"online"' "$config" && tiers+=(online)
    for name in "${tiers[@]}"; do
        check "$config: $name" prints_config "$name" "$config"
    done
done

# Each section has an owner that knows its keys.
for pair in model:train data:train train:train serve:gateway serve:worker online:online cluster:up; do
    section=${pair%:*}
    sed 's/"'"$section"'": {/&"misspelt": 1, /' cluster-configs/quickstart.json >"$work/bad.json"
    check "a misspelt key of '$section' is refused and named by ${pair#*:}" refuses "${pair#*:}" "$work/bad.json"
done

value() { redis-cli -s "$work/redis.sock" CONFIG GET "$1" | tail -1; }
is() { [ "$(value "$1")" = "$2" ]; }
pong() { [ "$(redis-cli -s "$work/redis.sock" PING 2>/dev/null)" = PONG ]; }
sed -E "s|^(dir) .*|\\1 $work|; s|^(unixsocket) .*|\\1 $work/redis.sock|" "$configs/redis.conf" >"$work/redis.conf"
redis-server "$work/redis.conf" >"$work/redis.log" 2>&1 &
redis=$!
check "redis.conf starts" await pong
for pair in appendonly=yes appendfsync=everysec maxmemory-policy=noeviction port=0 save=; do
    check "redis.conf: $pair" is "${pair%%=*}" "${pair#*=}"
done
check "the socket is its owner's and group's" [ "$(stat -c %a "$work/redis.sock")" = 770 ]

# What the units start is here under the names that they use.
named_files() { sed -n 's|^Exec.*/etc/flywheel/\([^ ]*\).*|\1|p' "$1"; }
for unit in cluster-configs/*.service; do
    check "$unit names a config" [ -n "$(named_files "$unit")" ]
    check "$unit: it is here" [ -f "cluster-configs/$(named_files "$unit")" ]
done
hostfile=$(sed -n 's/.*"hostfile": "\([^"]*\)".*/\1/p' cluster-configs/two-nodes.json)
# systemd's own opinion, where it is there; the program is looked for where it was built.
if command -v systemd-analyze >/dev/null; then
    mkdir "$work/units"
    for unit in cluster-configs/*.service; do
        sed "s|/usr/local/bin/|$bin/|" "$unit" >"$work/units/${unit##*/}"
    done
    verified() # UNIT...; what it ignores is only told
    {
        local said
        said=$(systemd-analyze verify --man=no "$@" 2>&1) && [ -z "$said" ] && return
        printf '%s\n' "$said"
        return 1
    }
    check "systemd takes the units" verified "$work"/units/*.service
fi
check "the hostfile has two hosts with slots" [ "$(grep -cE '^[a-z0-9.-]+ slots=[0-9]+$' "$hostfile")" -eq 2 ]

verdict
