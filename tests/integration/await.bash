# await COMMAND...: until it succeeds. Only a hang takes as long as this waits, on however busy a machine: then a test that
# ends at its first failure does (fail.bash), and another goes on with false (check.bash). Sourced by both.
await()
{
    local end=$((SECONDS + 240))
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            ! declare -F fail >/dev/null || fail "waited in vain for: $*"
            echo "waited in vain for: $*"
            return 1
        fi
        sleep 0.02
    done
}
