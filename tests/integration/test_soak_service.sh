#!/bin/bash
# The short form of scripts/soak-service: a kill of each kind, then a calm; and that a broken promise is told.
set -euo pipefail
for program in mpirun redis-server redis-cli jq curl; do
    command -v $program >/dev/null || { echo "skip: no $program"; exit 77; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
soak=$(dirname "${BASH_SOURCE[0]}")/../../scripts/soak-service
"$soak" --short --work "$work"
result=$work/service-soak.json
jq -e '(.kills | length == 6) and .requests.zmq.answered > 0 and .requests.http.answered > 0 and .feedback.trained > 0 and
    ([.calm[].role] | length == 8) and all(.calm[]; .mib[0] > 0)' "$result" >/dev/null

broken() { # JQ PATTERN: the result, so changed, is refused with such words
    jq "$1" "$result" >"$work/changed.json"
    ! "$soak" --judge "$work/changed.json" 2>"$work/said" || { echo "FAILED: takes $1"; exit 1; }
    grep -q "$2" "$work/said" || { cat "$work/said"; exit 1; }
}
"$soak" --judge "$result"
broken '.requests.http.neither = 1' 'http: 1 requests got neither'
broken '.requests.zmq.not_answered_in_calm = 2' 'zmq: 2 requests were not answered'
broken '.feedback.trained += 1' 'does not add up'
broken '.feedback.pushed += 1' 'does not add up'
broken '.calm[0] |= (.samples = 20 | .files = [9, 12])' 'holds more'
broken '.batches.published = 0' 'no version was published'
