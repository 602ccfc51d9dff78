#!/usr/bin/env bash
# Builds and runs, under sanitizers, the tests of what takes bytes from elsewhere or runs on threads of its own: protocol,
# coordinator, gateway, launcher, the corpora of tests/fuzz, and a whole server (tests/e2e/serve_test.py). CPU only.
#   sanitize.sh [asan|tsan|all] [ctest arguments]     e.g. sanitize.sh tsan -R serve_job     (default: all of those tests)
# asan: addresses, leaks and undefined behaviour; tsan: data races; all: both at the same time.
# Prints what was found, then a line for each; exit code 1 after any finding or failed test. Every process writes what it finds
# to build-asan/findings, so that nothing is lost where a server starts a rank again; the rest is in build-asan/sanitize.log.
# Of other people's libraries MPI's alone are excused (tests/*.supp). Needs g++ or clang, CMake, ninja, GoogleTest, MPI.
#   TRIREME_TARGETS     what to build (all), e.g. "codec_test link_test": the other tests are left out
#   TRIREME_BUILD_JOBS  compilers at once (all cores)     TRIREME_TEST_JOBS  tests at once (a quarter of them, 16 at most)
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
which=all
case ${1:-all} in asan|tsan|all) which=${1:-all}; shift $(($# > 0)) ;; -*) ;; *) sed -n '4,5p' "$0" >&2; exit 2 ;; esac
cores=$(nproc)
build_jobs=${TRIREME_BUILD_JOBS:-$cores}
test_jobs=${TRIREME_TEST_JOBS:-$((cores > 64 ? 16 : (cores + 3) / 4))}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Sanitizers want memory where address randomization of 32 bits may have put something else: it is switched off where
# a program does not start with it.
prefix_for() {   # SANITIZERS: prints the command that tests run under; fails where nothing helps
  local program=$work/probe-${1%%,*}
  echo 'int main() {}' | "${CXX:-c++}" -x c++ -fsanitize="$1" -o "$program" - || return
  local works=1
  for _ in {1..10}; do "$program" || { works=0; break; }; done
  [ $works = 1 ] && { echo env; return; }
  setarch "$(uname -m)" -R "$program" && echo "setarch $(uname -m) -R"
}

# The search for leaks needs ptrace, which some containers forbid.
leaks_are_found() {
  echo 'int* kept; int main() { kept = new int[9]; kept = nullptr; }' | "${CXX:-c++}" -x c++ -fsanitize=address -o "$work/leak" - || return
  [[ $("$@" "$work/leak" 2>&1) == *"detected memory leaks"* ]]
}

# Open MPI unloads its plug-ins at the end, so that nobody could tell whose what they leave behind is: they stay loaded.
keep_libraries() {
  echo 'int dlclose(void* library) { return library == 0; }' | "${CC:-cc}" -x c -shared -fPIC -o "$work/keep_libraries.so" -
}

# Tests whose programs TRIREME_TARGETS left out, or that did not build, as a pattern. CTest knows no command of a program
# that is not there; a test in Python has the path among its arguments.
unbuilt_tests() {   # BUILD
  ctest --test-dir "$1" --show-only=json-v1 2>/dev/null | python3 -c '
import json, os, sys
def missing(words):
    return not words or any(word.startswith(sys.argv[1] + "/") and not os.path.exists(word) for word in words)
names = [test["name"] for test in json.load(sys.stdin)["tests"] if missing(test.get("command"))]
print("^(" + "|".join(names or ["none"]) + ")$")' "$PWD/$1"
}

run() {   # asan|tsan [ctest arguments]
  local name=$1 build=build-$1 sanitizers=address,undefined log=$PWD/build-$1/sanitize.log prefix began=$SECONDS status=0
  shift
  [ "$name" = tsan ] && sanitizers=thread
  rm -rf "$build/findings"
  mkdir -p "$build/findings"
  : >"$log"
  prefix=$(prefix_for "$sanitizers" 2>>"$log") || { echo "$name: no program runs with -fsanitize=$sanitizers: $(tail -1 "$log")"; return 1; }
  cmake --preset "$name" -DTRIREME_TEST_FOLDERS="base;protocol;coordinator;gateway;launcher;fuzz;e2e" -Wno-dev >>"$log" 2>&1 ||
    { echo "$name: cmake failed: $(grep -A3 'CMake Error' "$log" | head -8)"; return 1; }
  # What does not build is named, and its tests are missed; the others run.
  # shellcheck disable=SC2086
  cmake --build "$build" -j "$build_jobs" ${TRIREME_TARGETS:+--target $TRIREME_TARGETS} -- -k 0 >>"$log" 2>&1 ||
    { status=1; echo "$name: the build failed"; grep -E ' error: |^FAILED' "$log" | cut -c1-200 | head -10; }
  local built=$((SECONDS - began)) leaks=1 unbuilt
  unbuilt=$(unbuilt_tests "$build")
  # shellcheck disable=SC2086
  [ "$name" = tsan ] || leaks_are_found $prefix || { leaks=0; echo "$name: leaks are not looked for: this machine forbids ptrace"; }
  local report=log_path=$PWD/$build/findings/report
  export ASAN_OPTIONS=$report:verify_asan_link_order=0:detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=$leaks
  export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0
  export UBSAN_OPTIONS=$report:halt_on_error=1:print_stacktrace=1
  export TSAN_OPTIONS=$report:suppressions=$PWD/tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=0
  export TRIREME_TEST_PATIENCE=5
  test() { LD_PRELOAD=$work/keep_libraries.so $prefix ctest --test-dir "$build" -E "$unbuilt" --output-on-failure --no-tests=error "$@" >>"$log" 2>&1 || status=1; }
  if [ $# -gt 0 ]; then
    test "$@"
  else
    test -L unit -j "$test_jobs"
    [ ! -x "$build/trireme" ] || test -R '^e2e_serve_test$'
  fi
  local found
  found=$(find "$build/findings" -type f -size +0 | wc -l)
  if [ "$found" -gt 0 ]; then
    status=1
    echo "$name: $found findings"
    cat "$build"/findings/* | grep -E '^SUMMARY|runtime error' | sort | uniq -c | sort -rn | head -20
    head -40 "$(find "$build/findings" -type f -size +0 | head -1)"
  fi
  grep -E '\*\*\*(Failed|Timeout|Exception)|Not Run' "$log" | sort -u | head -20
  grep -E '\[  FAILED  \]|Failure$|AssertionError' "$log" | sort -u | head -20
  echo "$name: $found findings; $(grep -E 'tests passed' "$log" | xargs); built in $built s, all in $((SECONDS - began)) s"
  return $status
}

keep_libraries || { echo "no C compiler: set CC" >&2; exit 1; }
[ "$which" != all ] && { run "$which" "$@"; exit; }
run asan "$@" >"$work/asan" &
run tsan "$@" >"$work/tsan"
status=$?
wait $! || status=1
cat "$work/asan" "$work/tsan"
exit $status
