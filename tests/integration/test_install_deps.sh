#!/bin/bash
# An ordinary user whose machine lacks packages is told exactly what to install, and nothing is tried; who lacks none is not
# bothered. What is installed is what a dpkg-query of the test's own says.
set -euo pipefail

work=$(mktemp -d "${TMPDIR:-/tmp}/fwi.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
cp "$(dirname "${BASH_SOURCE[0]}")/../../scripts/install-deps" "$work/install-deps"
cat >"$work/bin/dpkg-query" <<'END'
#!/bin/sh
for name in $FW_TEST_INSTALLED; do echo "installed $name"; done
END
printf '#!/bin/sh\nexit 1\n' >"$work/bin/sudo"
printf '#!/bin/sh\necho "apt-get was called" >&2\nexit 1\n' >"$work/bin/apt-get"
chmod 755 "$work" "$work/bin" "$work"/bin/* "$work/install-deps"

user=()
[ "$(id -u)" -ne 0 ] || user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
mapfile -t all < <("$work/install-deps" --list)

# with INSTALLED WANTED-CODE ARGUMENT...: what it says is in $work/log.
with()
{
    local installed=$1 wanted=$2 code=0
    shift 2
    env PATH="$work/bin:$PATH" FW_TEST_INSTALLED="$installed" "${user[@]}" "$work/install-deps" "$@" >"$work/log" 2>&1 ||
        code=$?
    if [ "$code" -ne "$wanted" ]; then
        echo "FAILED: exit code $code instead of $wanted: $*"
        cat "$work/log"
        exit 1
    fi
}
says()
{
    grep -qxF -- "$1" "$work/log" || { echo "FAILED: does not say: $1"; cat "$work/log"; exit 1; }
}

with "${all[*]}" 0
[ ! -s "$work/log" ] || { echo "FAILED: it talks though all are there"; exit 1; }
with "${all[*]:2}" 1
says "install-deps: missing packages: 2; as root, run:"
says "  apt-get update && apt-get install -y --no-install-recommends ${all[0]} ${all[1]}"
with "" 1 dataset-fashion-mnist
says "  apt-get update && apt-get install -y --no-install-recommends dataset-fashion-mnist"
with "${all[*]:1}" 1 --check
says "install-deps: missing: ${all[0]}"
echo "ok"
