"""`trireme serve` as a child, and a client of its HTTP API. Standard library only."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

import cli

_PATIENCE = float(os.environ.get("TRIREME_TEST_PATIENCE", "1"))  # every wait is so many times as long (scripts/sanitize.sh)


class Server:
    """Starts on a free port. A context: at its end nothing of it is left. `launcher` is a command before it (taskset, nsenter),
    `folder` where its reports go, `network` a context manager in which sockets reach it."""

    def __init__(self, trireme, model, arguments=(), environment=None, launcher=(), device="cpu", folder=None, network=contextlib.nullcontext):
        self.reports = tempfile.TemporaryDirectory(dir=folder)
        self.network = network
        self.log = tempfile.TemporaryFile("w+", dir=self.reports.name)
        self.out = tempfile.TemporaryFile("w+", dir=self.reports.name)
        command = [*launcher, trireme, "serve", model, "--port", "0", "--device", device, "--report-dir", self.reports.name,
                   *(("--cpu-threads", "1") if device == "cpu" else ()), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.log, text=True,
                                        env={**os.environ, **(environment or {})})
        self.port = self.key = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            for _ in range(2):
                self.signal(signal.SIGTERM)
                time.sleep(0.1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)
            self.signal(signal.SIGKILL)
            self.process.kill()
        self.process.wait()
        self.log.close()
        self.out.close()
        self.reports.cleanup()

    def signal(self, number):
        """To the server itself, below its launcher."""
        for pid in (self.process.pid, *cli.descendants(self.process.pid)):
            if cli.program(pid) == "trireme" and " serve " in cli.command_line(pid):
                os.kill(pid, number)
                return

    def failure_reports(self):
        """The texts of its reports, oldest first."""
        texts = []
        for name in sorted(name for name in os.listdir(self.reports.name) if name.startswith("failure-")):
            with open(os.path.join(self.reports.name, name), encoding="utf-8") as file:
                texts.append(file.read())
        return texts

    def errors(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")

    def output(self):
        return os.pread(self.out.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait_for(self, condition, what, timeout=60):
        deadline = time.monotonic() + timeout * _PATIENCE
        while not (value := condition()):
            if time.monotonic() > deadline or (self.process.poll() is not None and not condition()):
                raise AssertionError(f"no {what} (exit code {self.process.poll()}): {self.errors()[-3000:]}")
            time.sleep(0.02)
        return value

    def wait_listening(self):
        found = self.wait_for(lambda: re.search(r"listening on http://[^ ]*:(\d+)", self.errors()), "listening line")
        self.port = int(found.group(1))
        return self

    def wait_ready(self):
        if self.port is None:
            self.wait_listening()
        self.wait_for(lambda: self.get("/health/ready")[0] == 200, "readiness")
        return self

    # --- requests

    def connect(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        fields = {"Content-Type": "application/json", **(headers or {})}
        if self.key:
            fields["Authorization"] = "Bearer " + self.key
        with self.network():
            connection.connect()
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        return connection

    def call(self, method, path, body=None, headers=None):
        connection = self.connect(method, path, body, headers)
        with contextlib.closing(connection):
            answer = connection.getresponse()
            text = answer.read().decode()
        return answer.status, json.loads(text) if answer.headers.get_content_type() == "application/json" and text else text

    def get(self, path, headers=None):
        return self.call("GET", path, headers=headers)

    def post(self, path, body, headers=None):
        return self.call("POST", path, body, headers)

    def metric(self, name):
        """The sum over a metric's series."""
        text = self.get("/metrics")[1]
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{re.escape(name)}[ {{]", line))

    # --- its engine

    def engine(self):
        """(pid, "rank N" or "mpirun") of what runs now."""
        found = []
        for pid in cli.descendants(self.process.pid):
            line = cli.command_line(pid)
            if line.startswith("mpirun"):
                found.append((pid, "mpirun"))
            elif "trireme engine" in line and cli.alive(pid):
                found.append((pid, f"rank {rank_of(pid)}"))
        return found

    def restarts(self):
        return len(re.findall(r"attempt \d+ starts", self.errors()))

    def wait_back(self, timeout=60):
        """After a restart: the engine that was started last is ready."""
        def is_back():
            text = self.errors()
            return text.rfind("the engine is back") > text.rfind(" starts") and self.get("/health/ready")[0] == 200
        self.wait_for(is_back, "readiness", timeout)


def mixed_bodies(count, max_tokens):
    """Greedy, sampled with penalties and log-probabilities, two choices, beams; some begin alike. `max_tokens` of a number."""
    found = []
    for i in range(count):
        body = {"prompt": f"{'the same beginning of it all ' * (i % 3)}number {i}", "max_tokens": max_tokens(i), "ignore_eos": True}
        body.update(({"temperature": 0},
                     {"temperature": 0.9, "top_p": 0.9, "seed": i, "repetition_penalty": 1.1, "logprobs": 2},
                     {"temperature": 1, "seed": i, "n": 2},
                     {"num_beams": 2 + i % 2, "max_tokens": 40})[i % 4])
        found.append(body)
    return found


def rank_of(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                    return int(entry.split(b"=")[1])
    return -1


class Stream(threading.Thread):
    """One streamed request, read to its end on a thread of its own. After join(): `choices` (index -> text, token ids, reason),
    `problems` (what a stream may not do)."""

    def __init__(self, server, path, body):
        super().__init__(daemon=True)
        self.server, self.path = server, path
        self.body = {**body, "stream": True, "return_token_ids": True, "stream_options": {"include_usage": True}}
        self.choices, self.problems, self.usage = {}, [], None
        self.events = 0

    def run(self):
        try:
            connection = self.server.connect("POST", self.path, self.body)
            with contextlib.closing(connection):
                answer = connection.getresponse()
                if answer.status != 200:
                    self.problems.append(f"status {answer.status}: {answer.read()[:500]}")
                    return
                self.read(answer)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.problems.append(f"{type(error).__name__}: {error}")

    def read(self, answer):
        done = False
        for raw in answer:
            line = raw.decode().rstrip("\n")
            if not line.startswith("data: "):
                continue
            if done:
                self.problems.append(f"after [DONE]: {line}")
            if line == "data: [DONE]":
                done = True
                continue
            self.take(json.loads(line[6:]))
        if not done:
            self.problems.append("the stream was cut")

    def take(self, event):
        if "error" in event:
            self.problems.append(f"error: {event['error']}")
            return
        self.usage = event.get("usage") or self.usage
        for choice in event["choices"]:
            self.events += 1
            mine = self.choices.setdefault(choice["index"], {"text": "", "ids": [], "reason": None})
            if mine["reason"]:
                self.problems.append(f"choice {choice['index']} goes on after its end")
            mine["text"] += choice["delta"].get("content") or "" if "delta" in choice else choice["text"]
            mine["ids"] += choice.get("token_ids") or []
            mine["reason"] = choice["finish_reason"]

    def finished(self, timeout):
        self.join(timeout * _PATIENCE)
        if self.is_alive():
            self.problems.append(f"no end within {timeout * _PATIENCE} s")
        self.problems += [f"choice {index} has no end" for index, choice in self.choices.items() if not choice["reason"]]
        return self
