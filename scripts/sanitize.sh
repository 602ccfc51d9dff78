#!/usr/bin/env bash
# Builds and runs, under sanitizers, the tests of what takes bytes from elsewhere or runs on threads of its own.
#   sanitize.sh asan|tsan [ctest arguments]     e.g. sanitize.sh tsan -R serve
# asan: addresses, leaks and undefined behaviour; tsan: data races. A finding fails its test. Of other people's
# libraries MPI's alone are excused (tests/*.supp).
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?usage: sanitize.sh asan|tsan [ctest arguments]}
shift

cmake --preset "$preset" -DTRIREME_TEST_FOLDERS="base;protocol;coordinator;gateway;launcher;fuzz;e2e" -Wno-dev >/dev/null
cmake --build "build-$preset" -j "${TRIREME_BUILD_JOBS:-$(nproc)}"
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=0
exec ctest --test-dir "build-$preset" --output-on-failure --no-tests=error "$@"
