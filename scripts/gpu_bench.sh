#!/usr/bin/env bash
# The figures of benchmarks/results/ for this machine: gpu_bench.sh GPUS. Prints what the program prints.
set -uo pipefail
cd "$(dirname "$0")/.."
trireme=${TRIREME:-build-gpu/trireme}
gpus=${1:-1}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | sort | uniq -c
"$trireme" --version

latency() {   # MODEL BATCH TP PP
  local command=("$trireme" bench latency --device cuda --model "configs/models/$1.json" --load-format dummy -tp "$3" -pp "$4" --input-len 448
                 --output-len 128 --batch-size "$2" --num-iters-warmup 1 --num-iters 3 --max-model-len 2k)
  printf '\n$ %s\n' "${command[*]}"
  timeout 150 "${command[@]}" 2>&1 | tail -25
}

latency llama-3.1-8b 1 1 1
latency llama-3.1-8b 32 1 1
if [ "$gpus" -ge 2 ]; then
  latency llama-3.1-8b 1 2 1
  latency llama-3.1-8b 32 1 2
  latency llama-3.1-70b 1 2 1
  latency llama-3.1-70b 32 2 1
fi
if [ "$gpus" -ge 4 ]; then
  latency llama-3.1-8b 1 4 1
  latency llama-3.1-70b 1 4 1
  latency llama-3.1-70b 32 4 1
  latency llama-3.1-70b 32 2 2
fi
