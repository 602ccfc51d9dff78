"""A server that is short of processor time is slow, not dead: 4 CPU ranks with steady streams beside 16 busy processes. Nobody
may be called dead, silent or hung: 0 restarts, 0 reports, and every answer is that of the first round.

    false_alarm_test.py TRIREME [MINUTES [BUSY [CORES]]]     TRIREME_LONG_TESTS=1: 60 minutes
    CORES: for taskset, of server and busy processes together; default: one core, on which all of them compete
"""

import contextlib
import os
import random
import subprocess
import sys
import time

import cli
from server import Server, Stream

_STREAMS = 4
_ROUND_TIMEOUT_S = 900


def bodies(tokens):
    return [({"prompt": "hello world", "temperature": 0}, {"prompt": "a b c", "temperature": 1, "seed": 5},
             {"prompt": "1 2 3", "temperature": 0.9, "seed": 7, "n": 2}, {"prompt": "x y " * 100, "temperature": 0})[i % 4]
            | {"max_tokens": tokens, "ignore_eos": True} for i in range(_STREAMS)]


def one_round(server, tokens):
    streams = [Stream(server, "/v1/completions", body) for body in bodies(tokens)]
    for stream in streams:
        stream.start()
    problems = []
    for number, stream in enumerate(streams):
        stream.finished(_ROUND_TIMEOUT_S)
        problems += [f"stream {number}: {problem}" for problem in stream.problems]
    return [stream.choices for stream in streams], problems


@contextlib.contextmanager
def busy_processes(count, cores):
    # A session each: Linux shares a core out by session (autogroup) where that is on.
    busy = [subprocess.Popen(["taskset", "-c", cores, sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main():
    trireme = os.path.abspath(sys.argv[1])
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 60 if os.environ.get("TRIREME_LONG_TESTS") == "1" else 0.5
    busy = int(sys.argv[3]) if len(sys.argv) > 3 else 16
    cores = sys.argv[4] if len(sys.argv) > 4 else str(random.choice(sorted(os.sched_getaffinity(0))))
    errors, rounds, longest, tokens = [], 0, 0.0, 8
    with busy_processes(busy, cores), \
            Server(trireme, cli.model("tiny-llama"), ["-tp", "2", "-pp", "2", "--disable-access-log"], launcher=["taskset", "-c", cores]) as server:
        start = time.monotonic()
        server.wait_listening()
        server.wait_for(lambda: server.get("/health/ready")[0] == 200, "readiness", 600)
        ready = time.monotonic() - start
        expected, deadline = None, start + 60 * minutes
        while not errors and (rounds == 0 or time.monotonic() < deadline):
            begin = time.monotonic()
            choices, errors = one_round(server, tokens)
            longest = max(longest, time.monotonic() - begin)
            expected = expected or choices
            if choices != expected:
                errors.append(f"round {rounds}: another text")
            rounds += 1
            if server.restarts() or server.failure_reports():
                errors.append(f"round {rounds}: a false alarm")
        elapsed = time.monotonic() - start
        if errors:
            print(server.errors()[-3000:])
            print("\n".join(server.failure_reports()[:3]))
        print(f"{elapsed / 60:.1f} minutes on core(s) {cores} beside {busy} busy processes: ready after {ready:.1f} s, {rounds} rounds of "
              f"{_STREAMS} streams x {tokens} tokens, the slowest {longest:.1f} s, {server.restarts()} restarts, {len(server.failure_reports())} reports")
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
