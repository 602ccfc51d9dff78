#!/usr/bin/env bash
# Builds, tests and measures on a GPU machine in one call (10 minutes): gpu_check.sh [build|test|bench ...]
# Nothing is downloaded. Results also go to $OUT when that is set.
set -uo pipefail
cd "$(dirname "$0")/.."
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
steps=${*:-build test bench}
out=${OUT:-/tmp/trireme-gpu-check}
mkdir -p "$out"
gpus=$(nvidia-smi -L | wc -l)

section() { printf '\n=== %s (%s s)\n' "$1" "$SECONDS"; }

if [[ " $steps " == *" build "* ]]; then
  section "build"
  cmake -S . -B build-gpu -G Ninja -DTRIREME_TESTS=ON -Wno-dev >"$out/configure.log" 2>&1 || { tail -20 "$out/configure.log"; exit 1; }
  timeout 420 cmake --build build-gpu >"$out/build.log" 2>&1 || { grep -E 'error|FAILED' "$out/build.log" | head -40; exit 1; }
  build-gpu/trireme --version
fi

if [[ " $steps " == *" test "* ]]; then
  section "test on $gpus GPUs"
  timeout 240 ctest --test-dir build-gpu -j 4 --timeout 100 -R "${TRIREME_GPU_TESTS:-kernel|_test|golden|communicator}" \
    >"$out/test.log" 2>&1
  grep -E 'Failed|Timeout|tests passed|\*\*\*' "$out/test.log" | head -40
  grep -rhE 'FAILED|Failure' build-gpu/Testing/Temporary/LastTest.log 2>/dev/null | sort | uniq -c | head -40
fi

if [[ " $steps " == *" bench "* ]]; then
  section "bench"
  scripts/gpu_bench.sh "$gpus" 2>&1 | tee "$out/bench.txt"
fi
section "done"
