# For tests that go on after a failure, sourced: each check says ok or not, and the script ends by "verdict". $work is the
# test's folder.
. "$(dirname "${BASH_SOURCE[0]}")/await.bash"
failures=0

check() # WHAT COMMAND...: counts its failure, and shows what it said
{
    local what=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then
        echo "ok: $what"
    else
        echo "not ok: $what ($*)"
        tail -40 "$work/check.log" | sed 's/^/    /'
        failures=$((failures + 1))
    fi
}

verdict()
{
    echo "$failures failures"
    [ "$failures" -eq 0 ]
}

same() # GOT WANTED
{
    [ "$1" = "$2" ] || { echo "got '$1', wanted '$2'"; return 1; }
}

code_of() # COMMAND...: prints its exit code
{
    local code=0
    "$@" >/dev/null 2>&1 || code=$?
    echo "$code"
}

# Prints every process that has NAME=VALUE in its environment, wherever it was forked or moved to: not this shell, which
# exports it at most.
marked() # NAME=VALUE
{
    local file
    for file in /proc/[0-9]*/environ; do
        { tr '\0' '\n' <"$file" | grep -qxF "$1"; } 2>/dev/null && echo "${file//[^0-9]/}"
    done
    true
}
