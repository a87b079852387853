# Shared by the checks beside it. A check is called as CHECK ROOT [BUILD], prints "file:line: why" for each fault with
# paths relative to ROOT, and exits 1 when it printed any. Plain bash and awk (mawk too), so it needs no package.
set -euo pipefail
export LC_ALL=C

lint_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "${1:?usage: $(basename "$0") ROOT [BUILD]}"

# lint_files PATTERN...: the project's own files with such names, relative paths, sorted.
lint_files()
{
    local pattern names=()
    for pattern in "$@"; do
        names+=(-o -name "$pattern")
    done
    find . \( -path ./.git -o -path './build' -o -path './build-*' -o -path ./data -o -path ./runs -o -path ./.cache \) \
        -prune -o -type f \( "${names[@]:1}" \) -print | sed 's|^\./||' | sort
}

lint_sources() { lint_files '*.c' '*.h' '*.cu' '*.cuh'; }

# lint_code FILE: the file with comments and the insides of strings blanked, line numbers kept.
lint_code()
{
    awk '{
        line = $0; out = ""; n = length(line); i = 1
        while (i <= n) {
            c = substr(line, i, 1); two = substr(line, i, 2)
            if (in_comment) {
                if (two == "*/") { in_comment = 0; i++ }
            } else if (quote != "") {
                if (c == "\\") i++
                else if (c == quote) { quote = ""; out = out c }
            } else if (two == "/*") { in_comment = 1; i++; out = out " " }
            else if (two == "//") break
            else {
                if (c == "\"" || c == "\047") quote = c
                out = out c
            }
            i++
        }
        if (substr(line, n, 1) != "\\") quote = ""
        print out
    }' "$1"
}

# lint_verdict: reads faults from stdin, prints them, and ends the check with 1 when there was one.
lint_verdict()
{
    local faults
    faults=$(cat)
    [ -z "$faults" ] && exit 0
    printf '%s\n' "$faults"
    exit 1
}

# lint_texts: everything that people write by hand, scripts without a suffix included.
lint_texts()
{
    lint_sources
    lint_files '*.sh' '*.md' '*.txt' '*.cmake' '*.json' '*.conf' '*.service'
    lint_scripts
}

# lint_scripts: files that begin with "#!".
lint_scripts()
{
    local file start
    lint_files '*' | while read -r file; do
        start=
        read -r -n 2 start <"$file" 2>/dev/null || true
        [ "$start" != '#!' ] || echo "$file"
    done
}
