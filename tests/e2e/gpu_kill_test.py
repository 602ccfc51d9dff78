"""An 8B shape on all GPUs of this machine (tensor parallel, dummy weights), many live streams, while ranks and mpirun are killed and
stopped: no stream is lost, no token is missing or comes twice. Prints how long the streams paused.

    gpu_kill_test.py TRIREME [KILLS STOPS STREAMS]     default 3 1 128; 10 5 128 is the long version. Skipped without a GPU.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import cli
from server import Server, Stream

_TOKENS, _PROMPT = 400, 128


def count_gpus():
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout.count("GPU ")
    except (OSError, subprocess.CalledProcessError):
        return 0


def make_model(folder):
    """The shape of Llama-3.1-8B with a tiny model's tokenizer."""
    shutil.copy(os.path.join(cli.SOURCE, "configs", "models", "llama-3.1-8b.json"), os.path.join(folder, "config.json"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = os.path.join(cli.model("tiny-llama"), name)
        if os.path.exists(path):
            shutil.copy(path, folder)


class TimedStream(Stream):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.times = []

    def take(self, event):
        self.times.append(time.monotonic())
        super().take(event)


class Client(threading.Thread):
    """One stream after the other until `enough` is set."""

    def __init__(self, server, number, enough):
        super().__init__(daemon=True)
        self.server, self.number, self.enough = server, number, enough
        self.streams = []

    def run(self):
        dice = random.Random(self.number)
        while not self.enough.is_set():
            body = {"prompt": [dice.randrange(3, 128000) for _ in range(_PROMPT)], "max_tokens": _TOKENS, "ignore_eos": True,
                    "temperature": 0 if self.number % 2 else 0.8, "seed": dice.randrange(1 << 30)}
            stream = TimedStream(self.server, "/v1/completions", body)
            self.streams.append(stream)
            stream.run()
            if stream.problems:
                return

    def problems(self):
        for number, stream in enumerate(self.streams):
            counts = [len(choice["ids"]) for choice in stream.choices.values()]
            found = list(stream.problems)
            if counts != [_TOKENS]:
                found.append(f"{counts} tokens instead of {_TOKENS}")
            if stream.usage and stream.usage["completion_tokens"] != _TOKENS:
                found.append(f"usage says {stream.usage}")
            yield from (f"client {self.number}, stream {number}: {problem}" for problem in found)


def newest_token(crew):
    return max((client.streams[-1].times[-1:] or [0])[0] if client.streams else 0 for client in crew)


def strike(server, crew, dice, what):
    """Returns when the engine is back and tokens flow again: what came earlier would hit an attempt that still starts."""
    pid, name = dice.choice(server.engine())
    before, now = server.restarts(), time.monotonic()
    os.kill(pid, what)
    server.wait_for(lambda: server.restarts() > before, "restart", 30)
    seen = time.monotonic() - now
    server.wait_back(120)
    ready = time.monotonic()
    server.wait_for(lambda: newest_token(crew) > ready, "token", 60)
    return f"{what.name} {name}", now, seen, ready - now


def pause(times, start):
    """From `start` to the first token after the longest silence that begins within 3 s."""
    silence, end = 0, start
    for before, after in zip(times, times[1:]):
        if start - 0.5 <= before <= start + 3 and after - before > silence:
            silence, end = after - before, after
    return end - start


def main():
    gpus = count_gpus()
    if gpus == 0:
        print("skipped: no GPU here")
        return 77
    trireme = os.path.abspath(sys.argv[1])
    kills, stops, clients = [int(word) for word in sys.argv[2:5]] if len(sys.argv) > 4 else (3, 1, 128)
    dice, enough, errors, done = random.Random(int(os.environ.get("TRIREME_TEST_SEED", "1"))), threading.Event(), [], []
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder)
        arguments = ["--load-format", "dummy", "-tp", gpus, "--max-model-len", "2k", "--max-num-seqs", clients, "--disable-access-log"]
        with Server(trireme, folder, arguments, device="cuda") as server:
            server.wait_ready()
            crew = [Client(server, number, enough) for number in range(clients)]
            for client in crew:
                client.start()
            server.wait_for(lambda: newest_token(crew) > 0, "token", 60)
            time.sleep(3)
            actions = [signal.SIGKILL] * kills + [signal.SIGSTOP] * stops
            dice.shuffle(actions)
            for what in actions:
                done.append(strike(server, crew, dice, what))
                time.sleep(3)
            enough.set()
            for client in crew:
                client.join(120)
                errors += client.problems()
            server.process.send_signal(signal.SIGTERM)
            if server.process.wait(timeout=30) != 0:
                errors.append(f"exit code {server.process.returncode}: {server.errors()[-2000:]}")
            if errors:
                print(server.errors()[-3000:])
    times = sorted(moment for client in crew for stream in client.streams for moment in stream.times)
    for name, start, seen, ready in done:
        print(f"{name}: new attempt after {seen:.2f} s, ready after {ready:.2f} s, next token after {pause(times, start):.2f} s")
    streams = sum(len(client.streams) for client in crew)
    print("\n".join(errors[:40]))
    print(json.dumps({"gpus": gpus, "kills": kills, "stops": stops, "clients": clients, "streams": streams, "errors": len(errors)}))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
