#!/usr/bin/env bash
# Fuzzes one parser under the address and undefined-behaviour sanitizers.
#   fuzz.sh NAME [RUNS] [libFuzzer options]     e.g. fuzz.sh gguf_fuzz 1000000 -max_len=4096
# NAME is a file tests/fuzz/NAME.cpp. New inputs go to build-fuzz/corpus/NAME; one that crashes to build-fuzz/found:
# when it is mended, copy it to tests/fuzz/corpus/NAME, which every test run replays.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?usage: fuzz.sh NAME [RUNS]; NAME is one of $(cd tests/fuzz && ls *_fuzz.cpp | sed 's/\.cpp//' | xargs)}
runs=${2:-1000000}
shift $(($# < 2 ? $# : 2))

probe=$(mktemp)
trap 'rm -f "$probe"' EXIT
if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
  clang++ -x c++ - -fsanitize=fuzzer,address,undefined -o "$probe" 2>/dev/null; then
  echo "clang with libFuzzer is missing. Run this once:" >&2
  echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends clang libclang-rt-14-dev" >&2
  exit 1
fi

cmake -G Ninja -S . -B build-fuzz -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DTRIREME_CUDA=OFF \
  -DTRIREME_SANITIZE=address,undefined -DTRIREME_FUZZ=ON -DTRIREME_TEST_FOLDERS=fuzz -Wno-dev >/dev/null
cmake --build build-fuzz --target "$name" -j "${TRIREME_BUILD_JOBS:-2}"
mkdir -p "build-fuzz/corpus/$name" build-fuzz/found
dictionary=()
[ -f "tests/fuzz/$name.dict" ] && dictionary=(-dict="tests/fuzz/$name.dict")
# malloc_limit_mb: one allocation that a small input should never ask for counts as a crash.
exec "build-fuzz/tests/$name" -runs="$runs" -artifact_prefix=build-fuzz/found/ -timeout=10 -rss_limit_mb=2048 \
  -malloc_limit_mb=512 -print_final_stats=1 "${dictionary[@]}" "$@" "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name"
