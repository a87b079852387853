#!/bin/bash
# Learning from feedback on a GPU, with the host as the GPU (tests/parity/driver_host.c as the plug-in): a CPU's champion is
# fine-tuned and judged there, to the same bits on two ranks and after a kill.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/online_lib.bash"
. "$(dirname "${BASH_SOURCE[0]}")/device.bash"

with_gpu flywheel-online
bare=$work/bare/flywheel-online
tiny_network 8
sed -i "s#\"zoo:lenet\"#\"$work/network.json\", \"precision\": \"fp32\"#; s/synthetic:10:3000:32x32x3/synthetic:10:900:8x8x3/; s/\"batch\": 50/\"batch\": 32/" "$config"

# What becomes of it on the CPU is what becomes of it on the GPU, in other bits.
make_worlds
cpu_sha=$want_sha
online=$work/bin/flywheel-online
gpu=(online "$config" --drain --set model.device=cuda)

world gpu
want 0 "$online" "${gpu[@]}" --run "$run"
says "new champion"
want_sha=$(weights_of "$run" champion)
want_versions=$("$store" ls "$run" --json | grep -o '"version"' | wc -l)
[ "$want_sha" != "$cpu_sha" ] || fail "a GPU with the CPU's bits: it computed nothing"
champion=$run/checkpoints/$(printf 'v%06d' "$(version_of "$run" champion)")
grep -qF "device the host" "$champion/manifest.json" || fail "the fingerprint does not hold the device"
[ "$(stat_of "$run" trained)" = "$want_trained" ] || fail "the gate judged otherwise than on the CPU"
ends_right gpu
echo "ok: fine-tuned on the GPU"

world ranks
want 0 mpirun -np 2 "$online" "${gpu[@]}" --run "$run" --set allreduce.transport=cuda+mpi
ends_right "two ranks"
world nccl # fine-tunes on several batches, over one communicator
FLYWHEEL_HOST_GPUS=2 want 0 mpirun -np 2 "$online" "${gpu[@]}" --run "$run"
[ "$(grep -c "gradients are summed by NCCL of the host" "$work/log")" = 1 ] || fail "GPUs that met more than once, or never"
[ "$(grep -c "new champion" "$work/log")" -gt 1 ] || fail "one batch proves nothing"
ends_right "two ranks over NCCL"
for point in online.letters online.trained; do
    world "$point"
    FLYWHEEL_INJECT=$point=kill want 137 "$online" "${gpu[@]}" --run "$run"
    want 0 "$online" "${gpu[@]}" --run "$run"
    ends_right "killed at $point"
done
echo "ok: the same bits on two ranks, and after kills"

world none
want 78 "$bare" "${gpu[@]}" --run "$run"
says "no libflywheel_cuda.so beside this program"
want 0 "$bare" "${gpu[@]}" --run "$run" --set model.device=auto
says "computing on the CPU: "
want_sha=$cpu_sha
ends_right "auto without a GPU"
echo "ok: without a GPU"
