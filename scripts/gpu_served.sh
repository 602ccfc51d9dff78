#!/usr/bin/env bash
# What a server brings beside the same work offline: 512 tokens in, 256 out, greedy, dummy weights, prompts as ids.
#   gpu_served.sh serve FLAGS STREAMS:REQUESTS ...   one server, started with FLAGS; each load from a process and with prompts of its own
#   gpu_served.sh throughput FLAGS REQUESTS          `bench throughput` of the same lengths
#   e.g. gpu_served.sh serve "--max-num-seqs 1024 --mixed-prefill-tokens 0" 256:1024 1024:2048
#   TRIREME  the program (build-gpu/trireme)   MODEL  a config.json (configs/models/llama-3.1-8b.json)   DEVICE  cuda
#   SEED     of the first load's prompts (the clock); more by one for each further load
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 NCCL_NVLS_ENABLE=0
trireme=${TRIREME:-build-gpu/trireme}
config=${MODEL:-configs/models/llama-3.1-8b.json}
device=${DEVICE:-cuda}
seed=${SEED:-$(date +%s)}
lengths="--random-input-len 512 --random-output-len 256"
port=18431
work=$(mktemp -d)
server=
stop_server() {
  [ -n "$server" ] && kill -TERM "$server" 2>/dev/null && timeout 20 tail --pid="$server" -f /dev/null
  server=
}
trap 'stop_server; rm -rf "$work"' EXIT

# The config's model with a made-up byte-level BPE tokenizer of as many ids: all words of two, three and four letters.
make_model() {
  mkdir -p "$work/model"
  cp "$config" "$work/model/config.json"
  python3 - "$work/model" <<'PYTHON'
import itertools, json, string, sys
folder = sys.argv[1]
size = json.load(open(f"{folder}/config.json"))["vocab_size"]
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]   # bytes that stand for themselves; the others follow
others = [byte for byte in range(256) if byte not in printable]
words = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
merges = []
for length in (2, 3, 4):
    for letters in itertools.product(string.ascii_lowercase, repeat=length):
        if len(words) == size - 2:
            break
        word = "".join(letters)
        words.append(word)
        merges.append(f"{word[:-1]} {word[-1]}")
special = ["<|begin_of_text|>", "<|end_of_text|>"]
added = [{"id": len(words) + i, "content": text, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
          "normalized": False} for i, text in enumerate(special)]
byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
json.dump({"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
           "decoder": byte_level,
           "model": {"type": "BPE", "vocab": {word: i for i, word in enumerate(words)}, "merges": merges, "byte_fallback": False,
                     "fuse_unk": False, "ignore_merges": False, "unk_token": None, "dropout": None}},
          open(f"{folder}/tokenizer.json", "w"))
json.dump({"eos_token": special[1], "bos_token": special[0]}, open(f"{folder}/tokenizer_config.json", "w"))
PYTHON
}

serve() {   # FLAGS STREAMS:REQUESTS ...
  local flags=$1 load
  shift
  make_model || return
  local vocabulary
  vocabulary=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["vocab_size"])' "$config")
  # shellcheck disable=SC2086
  "$trireme" serve "$work/model" --load-format dummy --device "$device" --max-model-len 2k --port $port --disable-access-log $flags >"$work/server" 2>&1 &
  server=$!
  for load in "$@"; do
    echo "\$ trireme serve MODEL $flags; bench serve --max-concurrency ${load%:*} --num-prompts ${load#*:} --seed $seed"
    # shellcheck disable=SC2086
    timeout 200 "$trireme" bench serve --port $port --ready-check-timeout-sec 100 --disable-tqdm --token-ids $lengths --ignore-eos \
      --random-vocab-size "$vocabulary" --seed "$seed" --max-concurrency "${load%:*}" --num-prompts "${load#*:}" --metric-percentiles 50,90,99,99.9 >"$work/load" 2>&1 ||
      { echo "failed:"; tail -3 "$work/load"; tail -5 "$work/server"; }
    grep -E 'requests:|Failed|duration|Output token throughput|(Mean|Median|P9[0-9.]*) (TTFT|ITL)|prefix cache' "$work/load" |
      sed -E 's/ {2,}/ /g' | paste -sd'|'
    seed=$((seed + 1))
  done
  stop_server
}

throughput() {   # FLAGS REQUESTS
  echo "\$ trireme bench throughput $config $1 --num-prompts $2"
  # shellcheck disable=SC2086
  timeout 200 "$trireme" bench throughput "$config" --load-format dummy --device "$device" --max-model-len 2k --num-prompts "$2" \
    ${lengths//random-/} $1 2>&1 | grep -E 'Throughput|Memory floor|Host CPU|rror'
}

case ${1:-} in
  serve|throughput) [ $# -ge 3 ] && { "$@"; exit; } ;;
esac
sed -n '2,8p' "$0" >&2
exit 2
