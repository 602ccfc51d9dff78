#!/usr/bin/env bash
# From a fresh machine to an answer: installs what is missing, builds the program, fetches a small real model and
# streams an answer from it across two ranks.   quickstart.sh ["Your question"]
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh
cmake --preset release -DTRIREME_TESTS=OFF -Wno-dev >/dev/null
cmake --build build --target trireme -- --quiet
model=$(scripts/fetch_model.sh)

echo "build/trireme generate -tp 2 --chat --model $model" >&2
exec build/trireme generate -tp 2 --device auto --chat --max-new-tokens 128 --temperature 0 --model "$model" \
  "${1:-What is the capital of France?}"
