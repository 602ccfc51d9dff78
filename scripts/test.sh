#!/usr/bin/env bash
# Builds everything and runs every test. GPU instances skip with a message where there is no GPU.
#   test.sh [ctest arguments]     e.g. test.sh -R scheduler
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh --tests
cmake --preset "${TRIREME_PRESET:-release}" -DTRIREME_TESTS=ON -Wno-dev
cmake --build build
TRIREME_SMOLLM2_GGUF=$(scripts/fetch_model.sh)
export TRIREME_SMOLLM2_GGUF
exec ctest --test-dir build --output-on-failure --no-tests=error -j "$(nproc)" "$@"
