#!/usr/bin/env bash
# The figures of one GPU, a JSON line for each: gpu_figures.sh [FIGURE|GROUP ...]   (default: all of one GPU)
# `four` stands for those of four GPUs of one host, which need about 480 GB on them for the 70B shape.
#   TRIREME     the program (build-gpu/trireme)         RESULTS  the file appended to (benchmarks/results/h200.jsonl)
#   TRIREME_COMMIT  what was built (git's HEAD)         FOLDER   16 GB of checkpoint for first_token (/tmp/trireme-8b)
#   FOLDER_70B  141 GB of checkpoint for first_token_70b (/dev/shm/trireme-70b)
#   FLAGS       more flags for every bench, such as --max-num-seqs 512
# Figures of a group share an engine start. What a run prints goes to standard error.
set -uo pipefail
cd "$(dirname "$0")/.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 NCCL_NVLS_ENABLE=0

declare -A groups=(
  [decode_8b]="8b_decode_bs1_ms 8b_decode_bs32_ms 8b_decode_bs128_ms 8b_decode_bs256_ms host_cpu_per_step_bs256_us
               memory_overhead_gib host_rss_gib"
  [long_8b]="8b_decode_bs32_16k_ms"
  [decode_0.6b]="0.6b_decode_bs1_ms 0.6b_decode_bs256_ms"
  [prefill_8b]="8b_prefill_1x2048_tok_s 8b_prefill_16x2048_tok_s"
  [offline_8b]="8b_offline_1000_1000_tok_s"
  [short_8b]="8b_offline_512_256_tok_s"
  [offline_0.6b]="0.6b_offline_1000_1000_tok_s"
  [kernels]="attention_decode_32x16k_fraction sampling_256x128k_us"
  [profile_8b]="gpu_idle_fraction"
  [first_token]="first_token_8b_s"
  [sums_tp4]="fused_ar_norm_8k_us fused_ar_norm_64k_us fused_ar_norm_256k_us fused_ar_norm_1m_us"
  [decode_8b_tp4]="8b_tp4_decode_bs1_ms 8b_tp4_decode_bs32_ms 8b_tp4_decode_bs256_ms"
  [decode_8b_tp2]="8b_tp2_decode_bs1_ms 8b_tp2_decode_bs32_ms 8b_tp2_decode_bs256_ms"
  [decode_8b_pp2]="8b_pp2_decode_bs256_ms"
  [decode_8b_pp4]="8b_pp4_decode_bs256_ms"
  [decode_70b_tp4]="70b_tp4_decode_bs1_ms 70b_tp4_decode_bs128_ms 70b_tp4_decode_bs256_ms"
  [prefill_70b_tp4]="70b_tp4_prefill_1x2048_tok_s"
  [offline_70b_tp4]="70b_tp4_offline_1000_1000_tok_s"
  [offline_70b_pp4]="70b_pp4_offline_1000_1000_tok_s"
  [offline_70b_tp2pp2]="70b_tp2pp2_offline_1000_1000_tok_s"
  [first_token_70b]="first_token_70b_tp4_s"
)
one="decode_8b decode_0.6b prefill_8b kernels profile_8b long_8b short_8b offline_8b offline_0.6b first_token"
four="sums_tp4 decode_8b_tp4 decode_8b_tp2 decode_8b_pp2 decode_8b_pp4 decode_70b_tp4 prefill_70b_tp4 offline_70b_tp4 offline_70b_pp4 offline_70b_tp2pp2 first_token_70b"

trireme=${TRIREME:-build-gpu/trireme}
build=$(dirname "$trireme")
results=${RESULTS:-benchmarks/results/h200.jsonl}
commit=${TRIREME_COMMIT:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)}
folder=${FOLDER:-/tmp/trireme-8b}
folder_70b=${FOLDER_70B:-/dev/shm/trireme-70b}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
figures="$work/figures.json"
command=()
read -ra more_flags <<<"${FLAGS:-}"

asked=()
for name in "$@"; do
  [[ " four $one $four ${groups[*]} " =~ [[:space:]]"$name"[[:space:]] ]] ||
    { echo "gpu_figures.sh: no figure or group $name; there are: four $one $four ${groups[*]}" >&2; exit 2; }
  if [ "$name" = four ]; then read -ra fours <<<"$four"; asked+=("${fours[@]}"); else asked+=("$name"); fi
done
[ $# -gt 0 ] || read -ra asked <<<"$one"

wanted() {   # FIGURE GROUP
  local name
  for name in "${asked[@]}"; do [[ $name == "$1" || $name == "$2" ]] && return 0; done
  return 1
}
used=1   # GPUs of the group

# FIGURE UNIT VALUE FLOOR: Python expressions of `f`, the run's figures; `batch(n)` are those of one batch size.
record() {
  wanted "$1" "$group" || return 0
  FIGURE=$1 UNIT=$2 VALUE=$3 FLOOR=$4 GPUS="$used x ${gpu:-no GPU}" COMMIT=$commit COMMAND="${command[*]}" \
    python3 - "$figures" >"$work/line" 2>"$work/why" <<'PYTHON' && tee -a "$results" <"$work/line" || { echo "$1: no figure: $(tail -1 "$work/why")" >&2; failed=1; }
import json, os, sys
f = json.load(open(sys.argv[1])) if os.path.exists(sys.argv[1]) else {}
def batch(size):
    return next(b for b in f.get("batches", [f]) if b["batch_size"] == size)
def rounded(text):
    value = eval(text)
    return None if value is None else float(f"{value:.6g}")
e = os.environ
if eval(e["VALUE"]) is None:
    sys.exit("it was not printed")
print(json.dumps({"figure": e["FIGURE"], "value": rounded(e["VALUE"]), "unit": e["UNIT"], "floor": rounded(e["FLOOR"]),
                  "gpus": e["GPUS"], "commit": e["COMMIT"], "command": e["COMMAND"]}))
PYTHON
}

run() {   # SECONDS COMMAND ...
  local limit=$1
  shift
  command=("$@")
  rm -f "$figures"
  printf '\n$ %s\n' "${command[*]}" >&2
  timeout "$limit" "${command[@]}" >&2 || { echo "exit code $?" >&2; failed=1; }
}

bench() {   # SECONDS KIND MODEL FLAGS ...
  local limit=$1 kind=$2 model=$3
  shift 3
  run "$limit" "$trireme" bench "$kind" "configs/models/$model.json" --load-format dummy --device cuda "$@" \
    ${more_flags[@]+"${more_flags[@]}"} --output-json "$figures"
}

decode="--input-len 448 --output-len 128 --max-model-len 2k --num-iters-warmup 1 --num-iters 3"

# The most memory in use while it runs, less what was in use before, the weights and the KV cache: what else we need.
watch_memory() {
  local used before
  before=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1)
  echo "$before" >"$work/gpu_before"
  while sleep 0.5; do
    used=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1)
    echo "$used" >>"$work/gpu_used"
    # shellcheck disable=SC2009
    for pid in $(ps -eo pid=,args= | awk '/trireme engine/ && !/mpirun|awk/ {print $1}'); do
      awk '/^VmHWM:/ {print $2}' "/proc/$pid/status" 2>/dev/null >>"$work/rss_kib"
    done
  done
}

group_decode_8b() {
  : >"$work/gpu_used"
  : >"$work/rss_kib"
  watch_memory &
  local watcher=$!
  # shellcheck disable=SC2086
  bench 200 latency llama-3.1-8b $decode --batch-size 1,32,128,256
  kill "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null
  local size
  for size in 1 32 128 256; do
    record "8b_decode_bs${size}_ms" ms "batch($size)['decode_step_ms']" "batch($size)['floor_step_ms']"
  done
  record host_cpu_per_step_bs256_us us "batch(256)['host_cpu_us_per_decode_step']" None
  local peak before rss
  peak=$(sort -n "$work/gpu_used" | tail -1)
  before=$(cat "$work/gpu_before" 2>/dev/null)
  rss=$(sort -n "$work/rss_kib" | tail -1)
  record memory_overhead_gib GiB "(${peak:-None} - ${before:-None}) / 1024 - f['memory_bytes'][0] / 2**30" None
  record host_rss_gib GiB "${rss:-None} / 2**20" None
}

group_long_8b() {
  bench 240 latency llama-3.1-8b --input-len 16320 --output-len 384 --max-model-len 17k --batch-size 32 \
    --num-iters-warmup 0 --num-iters 1
  record 8b_decode_bs32_16k_ms ms "batch(32)['decode_step_ms']" "batch(32)['floor_step_ms']"
}

group_decode_0.6b() {
  # shellcheck disable=SC2086
  bench 120 latency qwen3-0.6b $decode --batch-size 1,256
  record 0.6b_decode_bs1_ms ms "batch(1)['decode_step_ms']" "batch(1)['floor_step_ms']"
  record 0.6b_decode_bs256_ms ms "batch(256)['decode_step_ms']" "batch(256)['floor_step_ms']"
}

group_prefill_8b() {
  bench 120 latency llama-3.1-8b --input-len 2048 --output-len 1 --max-model-len 2100 --batch-size 1,16 \
    --num-iters-warmup 1 --num-iters 3
  record 8b_prefill_1x2048_tok_s tok/s "2048 / batch(1)['avg_latency']" None
  record 8b_prefill_16x2048_tok_s tok/s "16 * 2048 / batch(16)['avg_latency']" None
}

offline() {   # FIGURE MODEL PROMPTS INPUT OUTPUT FLAGS ...
  local figure=$1
  bench 240 throughput "$2" --num-prompts "$3" --input-len "$4" --output-len "$5" --max-model-len 2k "${@:6}"
  record "$figure" tok/s "f['output_tokens_per_second']" \
    "f['output_tokens_per_second'] * f['elapsed_time'] / f['floor_seconds'] if f.get('floor_seconds') else None"
}
group_offline_8b() { offline 8b_offline_1000_1000_tok_s llama-3.1-8b 768 1000 1000; }
group_short_8b() { offline 8b_offline_512_256_tok_s llama-3.1-8b 1024 512 256; }
group_offline_0.6b() { offline 0.6b_offline_1000_1000_tok_s qwen3-0.6b 768 1000 1000; }

# Lines of the benchmark: NAME TIME us ... (FRACTION % of the limit).
kernel_line() {   # FILTER PATTERN
  command=("$build/benchmarks/kernels_bench" "$1")
  printf '\n$ %s\n' "${command[*]}" >&2
  timeout 120 "${command[@]}" 2>&1 | tee >(cat >&2) | grep -E "$2" | tail -1
}
group_kernels() {
  local line
  if wanted attention_decode_32x16k_fraction kernels; then
    command=("$build/benchmarks/kernels_bench" "attention decode 32 x 16384")
    line=$(kernel_line "${command[1]}" '^attention decode 32 x 16384 ')
    record attention_decode_32x16k_fraction 1 "$(sed -nE 's/.*\( *([0-9.]+) % of the limit.*/\1 \/ 100/p' <<<"$line" | grep . || echo None)" 1.0
  fi
  if wanted sampling_256x128k_us kernels; then
    command=("$build/benchmarks/samples_bench")
    printf '\n$ %s\n' "${command[*]}" >&2
    line=$(timeout 120 "${command[@]}" 2>&1 | tee >(cat >&2) | grep '^sampling_256x128k_us ')
    record sampling_256x128k_us us "${line##* }" None
  fi
}

group_profile_8b() {
  bench 150 latency llama-3.1-8b --input-len 448 --output-len 128 --max-model-len 2k --batch-size 256 \
    --num-iters-warmup 1 --num-iters 1 --profile "${OUT:-$work}/profile-8b-bs256.json"
  record gpu_idle_fraction 1 "f['device_idle_fraction']" None
}

# From exec to the first byte of the answer, with the page cache warm: the second start.
first_token() {   # FIGURE FOLDER FLAGS ...
  local figure=$1 folder=$2
  shift 2
  echo '{"prompt_token_ids": [1, 2, 3, 4, 5, 6, 7, 8]}' >"$work/prompt.jsonl"
  command=("$trireme" generate "$folder" --device cuda --skip-tokenizer-init --prompts "$work/prompt.jsonl"
           --max-model-len 2k --max-new-tokens 4 --ignore-eos --temperature 0 "$@")
  local times
  times=$(timeout 150 python3 - "${command[@]}" <<'PYTHON'
import subprocess, sys, time
for start in range(2):
    began = time.monotonic()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
    first = process.stdout.read(1)
    took = time.monotonic() - began
    process.stdout.read()
    if process.wait() != 0 or not first:
        sys.exit("the program failed")
    print(took)
PYTHON
  )
  record "$figure" s "$(tail -1 <<<"$times" | grep . || echo None)" None
}

group_first_token() {
  if [ ! -e "$folder/config.json" ]; then
    printf '\n$ %s\n' "$build/gpu_load_bench $folder" >&2
    timeout 200 "$build/gpu_load_bench" "$folder" >&2
  fi
  first_token first_token_8b_s "$folder"
}

# Of rank 0's lines: "fused_ar_norm_8k_us 3.35  nccl_ar_norm_8k_us 8.55 ...".
group_sums_tp4() {
  used=4
  command=(scripts/mpirun_test.sh 4 "$build/benchmarks/all_reduce_bench")
  printf '\n$ %s\n' "${command[*]}" >&2
  local size
  timeout 90 "${command[@]}" 2>&1 | tee "$work/sums" >&2
  for size in 8k 64k 256k 1m; do
    record "fused_ar_norm_${size}_us" us \
      "$(awk -v name="fused_ar_norm_${size}_us" '$1 == name {print $2; found = 1} END {if (!found) print "None"}' "$work/sums")" None
  done
}

decode_over() {   # NAME MODEL SIZES GPUS FLAGS ...
  used=$4
  # shellcheck disable=SC2086
  bench 200 latency "$2" $decode --batch-size "$3" "${@:5}"
  local size
  for size in ${3//,/ }; do
    record "$1_decode_bs${size}_ms" ms "batch($size)['decode_step_ms']" "batch($size)['floor_step_ms']"
  done
}
group_decode_8b_tp4() { decode_over 8b_tp4 llama-3.1-8b 1,32,256 4 -tp 4; }
group_decode_8b_tp2() { decode_over 8b_tp2 llama-3.1-8b 1,32,256 2 -tp 2; }
group_decode_8b_pp2() { decode_over 8b_pp2 llama-3.1-8b 256 2 -pp 2; }
group_decode_8b_pp4() { decode_over 8b_pp4 llama-3.1-8b 256 4 -pp 4; }
group_decode_70b_tp4() { decode_over 70b_tp4 llama-3.1-70b 1,128,256 4 -tp 4; }

group_prefill_70b_tp4() {
  used=4
  bench 120 latency llama-3.1-70b -tp 4 --input-len 2048 --output-len 1 --max-model-len 2100 --batch-size 1 \
    --num-iters-warmup 1 --num-iters 3
  record 70b_tp4_prefill_1x2048_tok_s tok/s "2048 / batch(1)['avg_latency']" None
}

offline_70b() {   # LAYOUT FLAGS ...
  used=4
  local layout=$1
  shift
  offline "70b_${layout}_offline_1000_1000_tok_s" llama-3.1-70b 512 1000 1000 --max-num-seqs 512 "$@"
}
group_offline_70b_tp4() { offline_70b tp4 -tp 4; }
group_offline_70b_pp4() { offline_70b pp4 -pp 4; }
group_offline_70b_tp2pp2() { offline_70b tp2pp2 -tp 2 -pp 2; }

group_first_token_70b() {
  used=4
  if [ ! -e "$folder_70b/model.safetensors.index.json" ]; then
    printf '\n$ %s\n' "$build/gpu_load_bench $folder_70b 141.2 configs/models/llama-3.1-70b.json files" >&2
    timeout 300 "$build/gpu_load_bench" "$folder_70b" 141.2 configs/models/llama-3.1-70b.json files >&2
  fi
  first_token first_token_70b_tp4_s "$folder_70b" -tp 4
}

failed=0
for group in $one $four; do
  used=1
  for figure in ${groups[$group]}; do
    if wanted "$figure" "$group"; then
      "group_$group"
      break
    fi
  done
done
exit $failed
