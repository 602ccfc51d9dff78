#!/usr/bin/env bash
# Builds, tests and measures on a GPU machine in one call (10 minutes): gpu_check.sh [build|test|ranks|bench|memcheck|racecheck ...]
# memcheck and racecheck run the kernel tests under compute-sanitizer (minutes on one GPU); ranks: worlds of 2 and 4.
# Nothing is downloaded. Results also go to $OUT when that is set.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
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

# CUDA 13.0's racecheck ends in internal errors in hopper_linear and wide_linear; that of 13.5 does not (Python package
# nvidia-cuda-sanitizer-api): TRIREME_SANITIZER names another compute-sanitizer than the PATH's.
export TRIREME_SANITIZER=${TRIREME_SANITIZER:-compute-sanitizer}

# TOOL LIMIT_S TEST=FILTER: one test program under compute-sanitizer. cuBLAS's kernels (nvjet_*) are not ours to check.
sanitize_one() {
  local tool=$1 limit=$2 test=$3 began=$SECONDS
  printf -- '--- %s %s\n' "$tool" "$test"
  CUDA_VISIBLE_DEVICES=$((${slot:-0} % gpus)) timeout "$limit" "$TRIREME_SANITIZER" --tool "$tool" --error-exitcode 9 --print-limit 4 \
    --kernel-name-exclude kns=nvjet "build-gpu/tests/${test%%=*}" --gtest_filter="${test#*=}" --gtest_brief=1 2>&1 |
    grep -v '^$' | tail -20 | cut -c1-200
  printf 'exit code %s after %s s\n' "${PIPESTATUS[0]}" $((SECONDS - began))
}
export -f sanitize_one
export gpus

# TOOL LIMIT_S TEST=FILTER ...: some at a time on each GPU, since the tool keeps a processor busier than the GPU.
sanitize() {
  local tool=$1 limit=$2
  shift 2
  # shellcheck disable=SC2016
  printf '%s\n' "$@" | xargs -d '\n' -P $((gpus * 5)) --process-slot-var=slot -I TEST \
    bash -c 'report=$(sanitize_one "$@"); printf "%s\n" "$report"' _ "$tool" "$limit" TEST | tee "$out/$tool.txt"
}

# Not ManySteps: three threads queue twenty steps each, whose kernels wait for each other, and under the tool the waits of 10 s run out.
# It holds up launches, presumably: single steps pass.
if [[ " $steps " == *" memcheck "* ]]; then
  section "memcheck"
  large='*LargeTiles*:*FewRows*:*EveryHeadDim*'
  sanitize memcheck 150 'fused_linear_test=Cuda*EveryWarpgroup*' 'fused_linear_test=Cuda*EveryWide*' \
    'fused_linear_test=Cuda*-*EveryWarpgroup*:*EveryWide*' "attention_test=Cuda*LargeTiles*:Cuda*FewRows*:Cuda*EveryHeadDim*" \
    'shard_sampler_test=*Cuda*' 'rope_append_test=Cuda*' "attention_test=Cuda*-$large" 'linear_test=Cuda*' 'norm_test=Cuda*' \
    'elementwise_test=Cuda*' 'step_test=Cuda*' 'pinned_copy_test=Cuda*' 'sample_test=Cuda*' \
    'shard_sampler_peers_test=Cuda*-*ManySteps*' 'peer_gather_test=Cuda*' 'fused_all_reduce_test=Cuda*'
fi

if [[ " $steps " == *" racecheck "* ]]; then
  section "racecheck"
  sanitize racecheck 240 'shard_sampler_test=Cuda/*EachCut*' 'fused_linear_test=Cuda*EveryTileAndGridOfWide*' \
    'fused_linear_test=Cuda*EveryTileAndGridOfNarrow*' 'fused_linear_test=Cuda*EveryTileAndGridOf16*' \
    'fused_linear_test=Cuda*EveryTileAndGridOf32*' 'shard_sampler_test=Cuda/*CutsThat*' 'fused_linear_test=Cuda*EveryWarpgroupPair*' \
    'fused_all_reduce_test=Cuda*' 'fused_linear_test=Cuda*EveryWidePair*' \
    'fused_linear_test=Cuda*EveryWarpgroupTile*' 'fused_linear_test=Cuda*WideTilesInRounds*' 'fused_linear_test=Cuda*EveryWideTile*' \
    'attention_test=Cuda*EveryHeadDim*' 'rope_append_test=Cuda*GroupsAndBlockSizes*' \
    'attention_test=Cuda*FewRows*:Cuda*LargeTilesAroundTheirEdges*' 'attention_test=Cuda*ManyDecodeRows*' 'linear_test=Cuda*' \
    'peer_gather_test=Cuda*' 'norm_test=Cuda*' 'elementwise_test=Cuda*' 'step_test=Cuda*' 'sample_test=Cuda*'
fi

# Worlds of 2 and 4 ranks, which take turns on a GPU where there are too few. Four on one GPU take 5.5 ms an operation (36,271 in 200 s):
# a whole model's test wants two GPUs at least.
if [[ " $steps " == *" ranks "* ]]; then
  section "ranks"
  for world in 2 4; do
    [ "$gpus" -ge $world ] || export TRIREME_SHARE_GPUS=1
    tests=('peer_memory_test=*Cuda*' 'peer_sums_test=*Cuda*')
    [ $((2 * gpus)) -lt $world ] || tests+=('identity_test=*CudaGraphs*/0' 'model_golden_test=Cuda*llama_bf16*')
    for test in "${tests[@]}"; do
      began=$SECONDS
      TRIREME_CHECK_REPLICAS=1 TRIREME_TEST_TIMEOUT_S=150 timeout 160 scripts/mpirun_test.sh $world "build-gpu/tests/${test%%=*}" \
        --gtest_filter="${test#*=}" --gtest_brief=1 >"$out/ranks.log" 2>&1
      printf -- '--- %s ranks, %s: exit code %s after %s s\n' $world "$test" $? $((SECONDS - began))
      grep -E 'FAILED|Failure|SKIPPED|PASSED|imed out' "$out/ranks.log" | sort | uniq -c | head -6
    done
  done 2>&1 | tee "$out/ranks.txt"
  TRIREME_SHARE_GPUS=$([ "$gpus" -ge 2 ] && echo 0 || echo 1) timeout 120 python3 tests/e2e/gpu_stop_test.py build-gpu/trireme
fi
section "done"
