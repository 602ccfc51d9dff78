"""64 live streams on 4 CPU ranks while ranks, rank 0 and mpirun are killed and stopped, at random and at named points (before
the first dial, while loading, while replaying, while a server that was told to end drains): no stream is lost, no token is missing
or comes twice, and every text is that of the unbroken run. Says how soon a stop was seen and the engine was ready again.

    serve_kill_test.py TRIREME [KILLS STOPS [STREAMS]]     TRIREME_LONG_TESTS=1: 200 and 100; TRIREME_TEST_SEED chooses the deaths
"""

import itertools
import os
import random
import signal
import sys
import time

import cli
from server import Server, Stream, mixed_bodies

_MODEL = cli.model("tiny-llama")
_STREAMS = int(sys.argv[4]) if len(sys.argv) > 4 else 64
_LONGER = max(1, 48 // _STREAMS)   # few streams are soon done, and the strikes must find them alive
_ROUND = 4       # strikes of a round of streams
_SESSION = 8     # strikes of one server
_AFTERMATH = ("dial", "load", "step0", "join", "ready", "step1", "step3", "sampling")  # what kills the attempt after a strike
_TOKENS = "trireme_generation_tokens_total"


def bodies():
    return mixed_bodies(_STREAMS, lambda i: (150 + i % 7 * 25) * _LONGER)


def wanted_tokens(body):
    return body["max_tokens"] * body.get("n", 1)


class Session:
    """The deaths of one server: strikes from outside, and kills at named points of the attempt that follows every third of them.
    Never two of those in a row: three ends before an attempt is ready end the program."""

    def __init__(self, kinds, points):
        self.strikes, self.faults, attempt = [], [], 1
        for number, kind in enumerate(kinds):
            attempt += 1
            planted = number % 3 == 1 and number + 1 < len(kinds)   # the last strike falls into the drain
            if planted:
                point = next(points)
                rank = number % (2 if point == "sampling" else 4)   # ranks 0 and 1 are the last stage
                self.faults.append(f"{rank}:{point}:kill@{attempt}")
                attempt += 1
            self.strikes.append((kind, planted))
        self.faults.append(f"1:drain:kill@{attempt}")


class Tally:
    def __init__(self):
        self.kills = self.stops = self.planted = 0
        self.seen, self.ready = [], []   # seconds: from a stop to its restart, from a restart to the engine's readiness


def quantiles(values):
    values = sorted(values)
    if not values:
        return "(none)"
    middle, high = values[(len(values) - 1) // 2], values[-(-99 * len(values) // 100) - 1]
    return f"{middle:.2f} s (median), {high:.2f} s (p99), {values[-1]:.2f} s (longest)"


def strike(server, dice, kind, planted, tally, draining=False):
    """Kills or stops something of the engine and waits until the engine is back; returns what was done."""
    engine = server.wait_for(lambda: len(found := server.engine()) >= 5 and found, "engine", 20)
    before = server.restarts()
    pid, name = dice.choice(engine)
    start = time.monotonic()
    os.kill(pid, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
    server.wait_for(lambda: server.restarts() > before, "restart", 20)
    restarted = time.monotonic()
    if kind == "kill":
        tally.kills += 1
    else:
        tally.stops += 1
        tally.seen.append(restarted - start)
    if planted:
        server.wait_for(lambda: server.restarts() > before + 1, "restart after a planted death", 30)
        tally.planted += 1
    if not draining:   # then it is never ready again
        server.wait_back()
        if not planted:   # a second start in a row waits for a second
            tally.ready.append(time.monotonic() - restarted)
    return f"{kind} {name}{' and the next attempt' if planted else ''}{' while draining' if draining else ''}"


def run(server, strikes, dice, tally, last=False):
    """A round of streams, and strikes spread over it; with `last` the server is told to end before the last strike."""
    wanted = bodies()
    first, tokens = server.metric(_TOKENS), sum(map(wanted_tokens, wanted))
    streams = [Stream(server, "/v1/completions", body) for body in wanted]
    for stream in streams:
        stream.start()
    done = []
    for number, (kind, planted) in enumerate(strikes):
        goal = first + tokens * (number + dice.uniform(0.1, 0.7)) / (len(strikes) + 1)
        server.wait_for(lambda goal=goal: server.metric(_TOKENS) >= goal, "progress", 120)
        draining = last and number + 1 == len(strikes)
        if draining:
            server.process.send_signal(signal.SIGTERM)
        done.append(strike(server, dice, kind, planted, tally, draining))
    for stream in streams:
        stream.finished(120)
    errors = []
    for number, (stream, body) in enumerate(zip(streams, wanted)):
        errors += [f"stream {number}: {problem}" for problem in stream.problems]
        counts = [len(choice["ids"]) for choice in stream.choices.values()]
        if "num_beams" not in body and counts != [body["max_tokens"]] * body.get("n", 1):
            errors.append(f"stream {number}: {counts} tokens instead of {body['max_tokens']} each")
    return [stream.choices for stream in streams], errors, done


def run_session(trireme, session, dice, expected, tally):
    errors = []
    arguments = ["-tp", "2", "-pp", "2", "--max-num-seqs", "128", "--disable-access-log", "--shutdown-timeout", "120"]
    with Server(trireme, _MODEL, arguments, environment={"TRIREME_FAULT": ";".join(session.faults)}) as server:
        server.wait_ready()
        if not expected:
            choices, errors, _ = run(server, [], dice, tally)
            expected += choices
        for begin in range(0, len(session.strikes), _ROUND):
            strikes = session.strikes[begin:begin + _ROUND]
            start = time.monotonic()
            choices, problems, done = run(server, strikes, dice, tally, begin + _ROUND >= len(session.strikes))
            problems += [f"stream {i}: another text" for i, (got, wanted) in enumerate(zip(choices, expected)) if got != wanted]
            print(f"{', '.join(done)}: {len(problems)} problems, {time.monotonic() - start:.1f} s", flush=True)
            errors += problems
        if server.process.wait(timeout=30) != 0:
            errors.append(f"exit code {server.process.returncode}")
        tally.planted += 1   # at the drain's last plan
        if errors:
            print(f"TRIREME_FAULT={';'.join(session.faults)}\n{server.errors()[-3000:]}")
    return errors


def main():
    trireme = os.path.abspath(sys.argv[1])
    long = os.environ.get("TRIREME_LONG_TESTS") == "1"
    kills, stops = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (200, 100) if long else (6, 2)
    dice = random.Random(os.environ.get("TRIREME_TEST_SEED", "1"))
    before = cli.ownerless_directories()
    kinds = ["kill"] * kills + ["stop"] * stops
    dice.shuffle(kinds)
    tally, expected, errors, points = Tally(), [], [], itertools.cycle(_AFTERMATH)
    while kinds and not errors:
        session, kinds = Session(kinds[:_SESSION], points), kinds[_SESSION:]
        errors += run_session(trireme, session, dice, expected, tally)
    time.sleep(2)   # janitors look on for a second
    left = cli.ownerless_directories() - before
    errors += [f"left behind: {name}" for name in sorted(left)]
    print("\n".join(errors[:40]))
    print(f"{tally.kills} kills, {tally.stops} stops and {tally.planted} planted deaths beside {_STREAMS} streams, {len(errors)} errors")
    print(f"a stop is seen after {quantiles(tally.seen)}; ready again after {quantiles(tally.ready)}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
