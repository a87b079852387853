#!/bin/bash
# What cmake/Cuda.cmake says of a CUDA that is missing or too old, with folders that only look like one: a build without the
# plug-in goes on, and one that was told to have it ends, for the same reason.
set -euo pipefail
command -v cmake >/dev/null || { echo "skip: no cmake"; exit 77; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/tests/integration/fail.bash"
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/tree" "$work/cuda"/{bin,include,lib}
cat >"$work/tree/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.20)
project(found C)
include($root/cmake/Cuda.cmake)
CMAKE
printf '#!/bin/sh\nexit 1\n' >"$work/cuda/bin/nvcc"
chmod +x "$work/cuda/bin/nvcc"
for name in cudart_static.a cudnn.so.9 cublasLt.so.12 nccl.so.2; do touch "$work/cuda/lib/lib$name"; done
touch "$work/cuda/include/cublasLt.h"
has() { # CUDA CUDNN NCCL, as headers write them
    echo "#define CUDART_VERSION $1" >"$work/cuda/include/cuda_runtime_api.h"
    printf '#define CUDNN_MAJOR %d\n#define CUDNN_MINOR %d\n' "${2%.*}" "${2#*.}" >"$work/cuda/include/cudnn_version.h"
    printf '#define NCCL_MAJOR %d\n#define NCCL_MINOR %d\n' "${3%.*}" "${3#*.}" >"$work/cuda/include/nccl.h"
}
configure() { # CODE OPTION...
    rm -rf "$work/build"
    want "$1" env CUDA_HOME="$work/cuda" cmake -G Ninja -S "$work/tree" -B "$work/build" "${@:2}"
}
missing() { # TEXT OPTION...
    configure 0 "${@:2}"
    says "-- GPU plug-in: not built: $1"
    configure 1 -DFLYWHEEL_CUDA=ON "${@:2}"
    tr -s ' \n' ' ' <"$log" | grep -qF "GPU plug-in: $1" || fail "does not end with: $1"
}

has 12040 9.1 2.20
missing "no nvcc (CUDA 12 or newer; set CUDACXX or CUDA_HOME)" -DCMAKE_CUDA_COMPILER=
has 11080 9.1 2.20
missing "CUDA 11.8 with"
has 12040 8.9 2.20
missing "no cuDNN 9 (found: $work/cuda/lib/libcudnn.so.9 8.9; set CUDNN_HOME)"
has 12040 9.1 2.10
missing "no NCCL 2.18 or newer (found: $work/cuda/lib/libnccl.so.2 2.10; set NCCL_HOME)"
configure 0 -DFLYWHEEL_CUDA=OFF
! grep -q "GPU plug-in" "$log" || fail "it looked though it was told not to"
echo "a CUDA that is missing or too old is named"
