# For tests that end at their first failure, sourced. $work is the test's folder, made here or by hosts_contain, and not
# whatever the caller's environment calls so: tests remove it. $log is what the last command said.
. "$(dirname "${BASH_SOURCE[0]}")/await.bash"
work=${FW_CONTAINED:-$(mktemp -d)}
log=$work/log

# fail WHY: with the last lines of $log, or of all the files that "logs" prints.
fail()
{
    local file
    echo "FAILED: $*"
    for file in $(logs); do
        [ ! -e "$file" ] || { echo "--- $file"; tail -n 40 "$file" | sed 's/^/    /'; }
    done
    exit 1
}
logs() { echo "$log"; }

want() # CODE COMMAND...: runs it into $log
{
    local code=$1 got=0
    shift
    { "$@" >"$log" 2>&1 || got=$?; } 2>/dev/null # bash tells of killed children
    [ "$got" = "$code" ] || fail "exit code $got instead of $code: $*"
}

says() { grep -qF -- "$1" "${2:-$log}" || fail "${2:-it} does not say: $1"; } # TEXT [FILE]

matches() # PATTERN [TIMES [FILE]]: so many lines of it at least
{
    local n
    n=$(grep -cE -- "$1" "${3:-$log}" || true)
    [ "$n" -ge "${2:-1}" ] || fail "$n instead of ${2:-1} lines of ${3:-it} like: $1"
}

sha_of() # RUN: of its newest version's weights
{
    sha256sum "$(find "$1/checkpoints" -maxdepth 1 -name 'v*' | sort | tail -1)/model.safetensors" | cut -c1-64
}

is_stopped() { grep -q '^State:.T' "/proc/$1/status"; } # PID: at its fault point, by itself
is_told() { grep -qsE '^ShdPnd:.*[2367abef]..$' "/proc/$1/status"; } # PID: USR1 has come and waits for it to look

# hold: whoever comes to a fault point "hold" stays there; let_go: they go on.
export FLYWHEEL_HOLD=$work/hold
hold() { : >"$FLYWHEEL_HOLD"; }
let_go() { rm "$FLYWHEEL_HOLD"; }
