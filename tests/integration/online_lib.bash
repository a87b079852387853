# What the tests of online learning share: a small world (a data set, a champion, feedback that is right and feedback that
# is wrong) and a Redis of their own. Sourced.
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }
command -v redis-server >/dev/null || { echo "skip: no redis-server"; exit 77; }

. "$(dirname "${BASH_SOURCE[0]}")/job.bash"
online=$FLYWHEEL_BIN/flywheel-online
fixture=$FLYWHEEL_BIN/fixture_online
socket=$work/redis.sock
export FLYWHEEL_REDIS=unix:$socket
redis_pid=
loop_pid=

cleanup() {
    [ -z "$redis_pid" ] || stop_redis KILL
    [ -z "$loop_pid" ] || kill -KILL "$loop_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

cli() {
    redis-cli -s "$socket" "$@"
}

start_redis() { # DIR: its data, made when missing
    mkdir -p "$1"
    redis-server --port 0 --unixsocket "$socket" --dir "$1" --appendonly yes --appendfsync always --save "" \
        >"$work/redis.log" 2>&1 &
    redis_pid=$!
    await cli ping
}

stop_redis() { # [SIGNAL]
    kill "-${1:-TERM}" "$redis_pid" 2>/dev/null || true
    wait "$redis_pid" 2>/dev/null || true
    redis_pid=
}

version_of() { # RUN ALIAS
    "$store" alias "$1" get "$2" --json | grep -o '"version":[0-9]*' | cut -d: -f2
}

weights_of() { # RUN ALIAS: of its weights
    sha256sum "$1/checkpoints/$(printf 'v%06d' "$(version_of "$1" "$2")")/model.safetensors" | cut -c1-64
}

score() { # RUN: of its champion on shifted images that were not pushed
    sed "s#\"run\": \"[^\"]*\"#\"run\": \"$1\"#" "$config" >"$work/score.json"
    "$fixture" score "$work/score.json" champion 300 400 2>>"$work/log"
}

stat_of() { # RUN KEY: summed over the streams
    "$online" feedback stats --run "$1" --json 2>/dev/null | grep -o "\"$2\":[0-9]*" | cut -d: -f2 | awk '{ sum += $1 } END { print sum + 0 }'
}

letters() { # how many dead letters, each once
    "$online" feedback dlq --count 1000 --json 2>/dev/null | grep -o '"source"' | wc -l
}

# Every entry that was ever added is accounted for once.
ledger_closes() { # RUN
    local added fates=0 fate
    added=$(stat_of "$1" added)
    for fate in trained rejected dead duplicate; do
        fates=$((fates + $(stat_of "$1" $fate)))
    done
    [ "$fates" = "$added" ] || fail "$1: $added entries, $fates accounted for"
    [ "$(stat_of "$1" read)" = "$added" ] || fail "$1: $added entries, $(stat_of "$1" read) read"
}

config=$work/config.json
cat >"$config" <<JSON
{"schema": 1, "run": "$work/run",
 "model": {"network": "zoo:lenet"},
 "data": {"dataset": "synthetic:10:3000:32x32x3", "holdout": 400},
 "train": {"epochs": 6, "batch": 50, "lr": 0.02, "momentum": 0.9, "threads": 1, "eval_epochs": 0},
 "store": {"keep_last": 100},
 "online": {"redis": "unix:$socket", "entries": 64, "min_entries": 1, "batch": 64, "epochs": 10, "lr": 0.01, "margin": 0.05,
            "recall_drop": 0.2, "poll_ms": 50, "retry_max_ms": 200}}
JSON

# ---- worlds: the same champion and the same feedback, each time from the beginning ----

world() { # NAME: its run is $run
    stop_redis
    run=$work/$1
    rm -rf "$run" "$work/redis"
    cp -r "$work/base" "$run"
    cp -r "$work/base.redis" "$work/redis"
    start_redis "$work/redis"
}

ends_right() {
    [ "$(weights_of "$run" champion)" = "$want_sha" ] || fail "$1: other bits than undisturbed"
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

# A world to start from: a champion, and a Redis with two operators' feedback and some garbage. What becomes of it
# undisturbed is what every other world must end in.
make_worlds() {
    local i fate
    sed -i 's/"epochs": 10/"epochs": 5/' "$config" # enough for two champions
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

    world plain
    want 0 "$online" online "$config" --run "$run" --drain
    want_sha=$(weights_of "$run" champion)
    want_versions=$("$store" ls "$run" --json | grep -o '"version"' | wc -l)
    for fate in trained rejected dead duplicate; do
        eval "want_$fate=$(stat_of "$run" $fate)"
    done
    [ "$want_trained" = 128 ] || fail "$want_trained trained, not 128"
    ends_right plain
    echo "ok: undisturbed: ${want_sha:0:16}, $want_trained trained, $want_duplicate duplicate, $want_dead dead"
}

# stop_at POINT: the loop in the background, until it has stopped itself there; release: it goes on.
stop_at() {
    FLYWHEEL_INJECT=$1=stop "$online" online "$config" --run "$run" --drain >"$work/loop.log" 2>&1 &
    loop_pid=$!
    await is_stopped "$loop_pid"
}
release() { # CODE: that it ends with
    kill -CONT "$loop_pid"
    code=0
    wait "$loop_pid" || code=$?
    loop_pid=
    cp "$work/loop.log" "$work/log"
    [ "$code" = "$1" ] || fail "exit code $code instead of $1"
}
