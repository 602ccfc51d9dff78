#!/usr/bin/env bash
# Fuzzes one parser under the address and undefined-behaviour sanitizers.
#   fuzz.sh NAME [RUNS] [options]     e.g. fuzz.sh gguf_fuzz 1000000 -max_len=4096
# NAME is a file tests/fuzz/NAME.cpp. New inputs go to build-fuzz/corpus/NAME; one that crashes to build-fuzz/found:
# when it is mended, copy it to tests/fuzz/corpus/NAME, which every test run replays.
# With clang the options are libFuzzer's; where that is missing g++ and tests/fuzz/mutate_main.cpp do, with those it names.
#   TRIREME_FUZZ_JOBS   processes (1), of seeds from TRIREME_FUZZ_SEED + 1 (the time) on, which share the runs
#   TRIREME_FUZZ_CXX    g++: not clang
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?usage: fuzz.sh NAME [RUNS]; NAME is one of $(cd tests/fuzz && ls *_fuzz.cpp | sed 's/\.cpp//' | xargs)}
runs=${2:-1000000}
shift $(($# < 2 ? $# : 2))
jobs=${TRIREME_FUZZ_JOBS:-1}
seed=${TRIREME_FUZZ_SEED:-$(date +%s)}
compiler=${TRIREME_FUZZ_CXX:-clang++}

probe=$(mktemp)
trap 'rm -f "$probe"' EXIT
if [ "$compiler" = clang++ ] &&
  ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
    clang++ -x c++ - -fsanitize=fuzzer,address,undefined -o "$probe" 2>/dev/null; then
  compiler=g++
fi

build=build-fuzz
dictionary=()
if [ "$compiler" = clang++ ]; then
  [ -f "tests/fuzz/$name.dict" ] && dictionary=(-dict="tests/fuzz/$name.dict")
  # malloc_limit_mb: one allocation that a small input should never ask for counts as a crash.
  set -- -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 "${dictionary[@]}" "$@"
else
  build=build-fuzz-gcc
  export ASAN_OPTIONS=max_allocation_size_mb=512:${ASAN_OPTIONS:-}
fi
cmake -G Ninja -S . -B $build -DCMAKE_CXX_COMPILER="$compiler" -DTRIREME_CUDA=OFF \
  -DTRIREME_SANITIZE=address,undefined -DTRIREME_FUZZ=ON -DTRIREME_TEST_FOLDERS=fuzz -Wno-dev >/dev/null
cmake --build $build --target "$name" -j "${TRIREME_BUILD_JOBS:-2}"
[ "$runs" -gt 0 ] || exit 0   # it was only to be built
mkdir -p "build-fuzz/corpus/$name" build-fuzz/found
fuzz() {   # RUNS [options]
  "$build/tests/$name" -runs="$1" -artifact_prefix=build-fuzz/found/ "${@:2}" "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name"
}
if [ "$jobs" -eq 1 ]; then fuzz "$runs" "$@"; exit; fi

logs=$(mktemp -d)
trap 'rm -rf "$logs" "$probe"' EXIT
pids=()
for ((job = 1; job <= jobs; ++job)); do
  fuzz $(((runs + jobs - 1) / jobs)) -seed="$((seed + job))" "$@" >"$logs/$job" 2>&1 &
  pids+=($!)
done
failed=0
for job in "${!pids[@]}"; do
  wait "${pids[$job]}" || { failed=$((failed + 1)); [ "$failed" -gt 1 ] || tail -40 "$logs/$((job + 1))"; }
done
echo "$name: $jobs processes ($compiler, seeds from $((seed + 1)) on), $(cat "$logs"/* | awk '/number_of_executed_units/ {sum += $NF} END {print sum + 0}') runs, $failed failed, $SECONDS s"
tail -2 "$logs/1"
exit $((failed > 0))
