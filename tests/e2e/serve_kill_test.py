"""64 live streams on 4 CPU ranks while ranks, rank 0 and mpirun are killed and stopped at random: no stream is lost, no token is
missing or comes twice, and every text is that of the unbroken run.

    serve_kill_test.py TRIREME [ROUNDS]     TRIREME_LONG_TESTS=1: 40 rounds, TRIREME_TEST_SEED chooses the deaths
"""

import os
import random
import signal
import sys
import time

import cli
from server import Server, Stream

_MODEL = cli.model("tiny-llama")
_STREAMS = 64
_DEATHS = 2  # of a round; three in a row within starts would end the program
_TOKENS = "trireme_generation_tokens_total"


def bodies():
    """Greedy, sampled with penalties and log-probabilities, two choices, beams; some begin alike."""
    found = []
    for i in range(_STREAMS):
        body = {"prompt": f"{'the same beginning of it all ' * (i % 3)}number {i}", "max_tokens": 150 + i % 7 * 25, "ignore_eos": True}
        body.update(({"temperature": 0},
                     {"temperature": 0.9, "top_p": 0.9, "seed": i, "repetition_penalty": 1.1, "logprobs": 2},
                     {"temperature": 1, "seed": i, "n": 2},
                     {"num_beams": 2 + i % 2, "max_tokens": 40})[i % 4])
        found.append(body)
    return found


def wanted_tokens(body):
    return body["max_tokens"] * body.get("n", 1)


def strike(server, dice, streams, deaths, tokens):
    """Deaths spread over the work, the next one once the engine is back; returns what was done."""
    first, done = server.metric(_TOKENS), []
    for number in range(deaths):
        goal = first + tokens * (number + dice.uniform(0.2, 0.9)) / (deaths + 1)
        while server.metric(_TOKENS) < goal and any(stream.is_alive() for stream in streams):
            time.sleep(0.01)
        engine = server.engine()
        if not engine:
            continue
        pid, name = dice.choice(engine)
        what = signal.SIGSTOP if dice.random() < 0.2 else signal.SIGKILL
        before = server.restarts()
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue
        done.append(f"{what.name} {name}")
        server.wait_for(lambda before=before: server.restarts() > before, "restart", 20)
    return done


def run(server, dice=None):
    wanted = bodies()
    streams = [Stream(server, "/v1/completions", body) for body in wanted]
    for stream in streams:
        stream.start()
    done = strike(server, dice, streams, _DEATHS, sum(map(wanted_tokens, wanted))) if dice else []
    for stream in streams:
        stream.finished(120)
    errors = []
    for number, (stream, body) in enumerate(zip(streams, wanted)):
        errors += [f"stream {number}: {problem}" for problem in stream.problems]
        counts = [len(choice["ids"]) for choice in stream.choices.values()]
        if "num_beams" not in body and counts != [body["max_tokens"]] * body.get("n", 1):
            errors.append(f"stream {number}: {counts} tokens instead of {body['max_tokens']} each")
    return [stream.choices for stream in streams], errors, done


def main():
    trireme = os.path.abspath(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 40 if os.environ.get("TRIREME_LONG_TESTS") == "1" else 6
    seed, errors, deaths = int(os.environ.get("TRIREME_TEST_SEED", "1")), [], 0
    with Server(trireme, _MODEL, ["-tp", "2", "-pp", "2", "--max-num-seqs", "128", "--disable-access-log"]) as server:
        server.wait_ready()
        expected, errors, _ = run(server)
        for number in range(rounds if not errors else 0):
            start = time.monotonic()
            choices, problems, done = run(server, random.Random(f"{seed} {number}"))
            problems += [f"stream {i}: another text" for i, (got, wanted) in enumerate(zip(choices, expected)) if got != wanted]
            deaths += len(done)
            print(f"round {number}: {', '.join(done)}: {len(problems)} problems, {time.monotonic() - start:.1f} s", flush=True)
            errors += [f"round {number}: {problem}" for problem in problems]
            if server.get("/load")[1]["server_load"] != 0:
                errors.append(f"round {number}: requests are left over")
        server.process.send_signal(signal.SIGTERM)
        if server.process.wait(timeout=20) != 0:
            errors.append(f"exit code {server.process.returncode}: {server.errors()[-2000:]}")
        if errors:
            print(server.errors()[-3000:])
    print("\n".join(errors[:40]))
    print(f"{rounds} rounds of {_STREAMS} streams, {deaths} deaths, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
