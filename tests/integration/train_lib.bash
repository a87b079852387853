# For tests that train, sourced: train and work are set, the launcher is told what a test needs. A run leaves its output
# in $work/log; pid is a process in the background.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo
train=$FLYWHEEL_BIN/flywheel-train
store=$FLYWHEEL_BIN/flywheel-store
work=$(mktemp -d)
pid=

cleanup() {
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "FAILED: $*"
    tail -40 "$work/log" | sed 's/^/    /'
    exit 1
}

# want CODE COMMAND...: runs it into the log.
want() {
    local code=$1 got=0
    shift
    { "$@" >"$work/log" 2>&1 || got=$?; } 2>/dev/null
    [ "$got" = "$code" ] || fail "exit code $got instead of $code: $*"
}

says() {
    grep -qF -- "$1" "$work/log" || fail "does not say: $1"
}

sha_of() { # RUN: of its newest version's weights
    local last
    last=$(find "$1/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)
    sha256sum "$last/model.safetensors" | cut -c1-64
}

# pid has stopped itself at its fault point.
await_stop() {
    until [ "$(sed 's/.*) //; s/ .*//' "/proc/$1/stat")" = T ]; do sleep 0.02; done
}

# ends CODE: pid does, with this exit code.
ends() {
    local got=0
    wait "$pid" || got=$?
    pid=
    [ "$got" = "$1" ] || fail "exit code $got instead of $1"
}

want_sha= # of the undisturbed run
same() { # RUN: ends with the bits of that run
    [ "$(sha_of "$1")" = "$want_sha" ] || fail "$1: other bits than the undisturbed run"
}
