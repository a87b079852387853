#!/bin/bash
# Help everywhere: of every command that 'flywheel --help' lists, of the words below it, and of every script; asked for in
# both ways, from any directory. FLYWHEEL_BIN: where the programs are.
set -euo pipefail

fw=${FLYWHEEL_BIN:?}/flywheel
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts" && pwd)
asked=0
cd /

helps() # USAGE COMMAND...: its help names it by USAGE
{
    local usage=$1 ask said
    shift
    for ask in --help -h; do
        if ! said=$("$@" "$ask" 2>&1) || ! grep -qF -- "$usage" <<<"$said"; then
            printf 'FAILED: no "%s" from: %s\n%s\n' "$usage" "$* $ask" "$said"
            exit 1
        fi
    done
    asked=$((asked + 1))
}
listed() { "$@" --help | sed -nE 's/^  ([a-z]+( [a-z]+)?)  +.*/\1/p'; } # the commands in a help

helps "usage: flywheel COMMAND" "$fw"
mapfile -t commands < <(listed "$fw")
[ "${#commands[@]}" -ge 17 ] || { echo "FAILED: ${#commands[@]} commands"; exit 1; }
for command in "${commands[@]}"; do
    read -ra words <<<"$command"
    case "$command" in
        "bench allreduce") helps "usage: flywheel-allreduce" "$fw" "${words[@]}" ;; # it also checks
        *) helps "usage: flywheel $command" "$fw" "${words[@]}" ;;
    esac
    case "$command" in data | feedback | checkpoint)
        mapfile -t below < <(listed "$fw" "$command")
        [ "${#below[@]}" -ge 4 ] || { echo "FAILED: ${#below[@]} words below $command"; exit 1; }
        for word in "${below[@]}"; do helps "usage: flywheel $command $word" "$fw" "$command" "$word"; done ;;
    esac
done
helps "bench serve" "$fw" bench
for section in "train train" "up cluster" "flywheel-gateway serve" "online online"; do
    read -r command name <<<"$section"
    program=("$fw" "$command")
    [[ $command != flywheel-* ]] || program=("${fw%/*}/$command")
    helps "  $name." "${program[@]}"
done
grep -q 'train.seed.*0\.\.9007199254740991;' <<<"$("$fw" train --help)" || { echo "FAILED: no range of train.seed"; exit 1; }
for script in "$scripts"/*; do
    [ ! -x "$script" ] || helps "scripts/${script##*/}" "$script"
done
echo "ok: $asked times"
