# For tests that train, sourced; pid is a process in the background.
. "$(dirname "${BASH_SOURCE[0]}")/job.bash"
export XDG_CACHE_HOME=$work/cache # of engines
pid=

cleanup() {
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

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
