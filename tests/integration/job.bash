# What the tests of MPI programs share, sourced: mpirun's surroundings, a folder of their own, and verdicts. A run leaves its
# output in $work/log.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo
train=$FLYWHEEL_BIN/flywheel-train
store=$FLYWHEEL_BIN/flywheel-store
work=$(mktemp -d)

fail() {
    echo "FAILED: $*"
    tail -40 "$work/log" | sed 's/^/    /'
    exit 1
}

# want CODE COMMAND...: runs it into the log.
want() {
    local code=$1 got=0
    shift
    { "$@" >"$work/log" 2>&1 || got=$?; } 2>/dev/null # bash tells of killed children
    [ "$got" = "$code" ] || fail "exit code $got instead of $code: $*"
}

says() {
    grep -qF -- "$1" "$work/log" || fail "does not say: $1"
}

matches() { # PATTERN [TIMES]: so many lines of the log at least
    local n
    n=$(grep -cE -- "$1" "$work/log" || true)
    [ "$n" -ge "${2:-1}" ] || fail "$n instead of ${2:-1} lines like: $1"
}

# await_stop PID: it has stopped itself at its fault point.
await_stop() {
    until [ "$(sed 's/.*) //; s/ .*//' "/proc/$1/stat")" = T ]; do sleep 0.02; done
}
