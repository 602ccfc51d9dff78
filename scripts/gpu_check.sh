#!/usr/bin/env bash
# Builds, tests and measures on a GPU machine in one call (10 minutes): gpu_check.sh [build|test|bench|memcheck|racecheck ...]
# memcheck and racecheck run the kernel tests under compute-sanitizer, the tests dealt out over the GPUs (minutes on one).
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
# TOOL LIMIT_S TEST=FILTER ...: a lane of tests for each GPU. Of racecheck's reports those inside cuBLAS's kernels (nvjet_*) are not ours.
sanitize() {
  local tool=$1 limit=$2 gpu i test
  shift 2
  local tests=("$@")
  for ((gpu = 0; gpu < gpus; ++gpu)); do
    for ((i = gpu; i < ${#tests[@]}; i += gpus)); do
      test=${tests[i]}
      printf -- '--- %s %s\n' "$tool" "$test"
      CUDA_VISIBLE_DEVICES=$gpu timeout "$limit" compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 4 \
        "build-gpu/tests/${test%%=*}" --gtest_filter="${test#*=}" --gtest_brief=1 2>&1 | grep -v '^$' | tail -20 | cut -c1-200
      printf 'exit code %s\n' "${PIPESTATUS[0]}"
    done >"$out/$tool-$gpu.txt" 2>&1 &
  done
  wait
  cat "$out/$tool"-*.txt
}

if [[ " $steps " == *" memcheck "* ]]; then
  section "memcheck"
  large='*LargeTiles*:*FewRows*:*EveryHeadDim*'
  sanitize memcheck 120 "attention_test=Cuda*LargeTiles*:Cuda*FewRows*:Cuda*EveryHeadDim*" 'fused_linear_test=Cuda*' \
    'shard_sampler_test=*Cuda*' 'rope_append_test=Cuda*' "attention_test=Cuda*-$large" 'linear_test=Cuda*' 'norm_test=Cuda*' \
    'elementwise_test=Cuda*' 'step_test=Cuda*' 'pinned_copy_test=Cuda*' 'sample_test=Cuda*' 'shard_sampler_peers_test=Cuda*' \
    'peer_gather_test=Cuda*'
fi

if [[ " $steps " == *" racecheck "* ]]; then
  section "racecheck"
  sanitize racecheck 120 'attention_test=Cuda*FewRows*:Cuda*LargeTilesAroundTheirEdges*' 'fused_linear_test=Cuda*EveryWarpgroup*' \
    'attention_test=Cuda*ManyDecodeRows*' 'fused_linear_test=Cuda*EveryWide*' 'rope_append_test=Cuda*GroupsAndBlockSizes*' 'norm_test=Cuda*OddShapes*'
fi
section "done"
