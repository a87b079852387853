#!/bin/bash
# The short form of scripts/soak-trainer: every part once, on a tiny network.
set -euo pipefail
command -v mpirun >/dev/null || { echo "skip: no mpirun"; exit 77; }
command -v jq >/dev/null || { echo "skip: no jq"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
soak=$(dirname "${BASH_SOURCE[0]}")/../../scripts/soak-trainer
"$soak" --short --work "$work"
jq -e '.kills == 3 and .different == 0 and all(.faults[]; .same_bits and .said != "NOT FOUND") and
    ([.faults[] | select(.fault | test("no help of mpirun")) | select(.seconds_until_named != null and .seconds_until_named <= .seconds)] | length == 2) and
    .checkpoint.versions > 0 and .audit.ms_each > 0 and .watchdog.ms_a_step > 0 and .idle_rank.share_of_a_core > 0' \
    "$work/trainer-faults.json" >/dev/null
grep -q "^| SIGSTOP of a rank, no help of mpirun | .* | 1 of 1 |$" "$work/trainer-faults.md"
# Nothing is run twice, and another config is not mixed in.
"$soak" --short --work "$work" >"$work/said"
grep -q "kills: done before" "$work/said"
! "$soak" --short --epochs 3 --work "$work" >/dev/null 2>&1 || { echo "FAILED: mixes configs"; exit 1; }
# A run of other bits is told: the script can fail.
rm "$work/ranks.done"
jq '.sha256 = "0"' "$work/reference.json" >"$work/other" && mv "$work/other" "$work/reference.json"
! "$soak" --short --part ranks --work "$work" >"$work/said" || { echo "FAILED: takes other bits for the same"; exit 1; }
grep -q "same bits: false" "$work/said"
