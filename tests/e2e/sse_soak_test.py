"""2,000 streams open at every moment, some of which their clients leave half-way: no error, and afterwards no KV block, no
file and no memory is missing.

    sse_soak_test.py TRIREME [SECONDS]     60 s, and 10 minutes with TRIREME_LONG_TESTS=1
"""

import json
import os
import random
import re
import resource
import selectors
import socket
import sys
import time

import cli
from server import Server

_MODEL = cli.model("tiny-llama")
_STREAMS = 2000
_TOKENS = (20, 60)       # of a stream: at least, at most
_LEAVERS = 0.05          # of the streams, cut by their clients before the end
_MEMORY_GROWTH = 0.01    # of the resident memory, from the second third to the last


class OpenStream:
    """One request on a connection of its own, read as far as the loop asks."""

    def __init__(self, port, number, dice):
        self.tokens = dice.randint(*_TOKENS)
        self.leaves_at = dice.randrange(1, self.tokens) if dice.random() < _LEAVERS else None
        body = json.dumps({"prompt": f"stream {number}", "max_tokens": self.tokens, "ignore_eos": True, "stream": True,
                           "seed": number, "return_token_ids": True, "stream_options": {"include_usage": True}})
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket.send((f"POST /v1/completions HTTP/1.1\r\nHost: soak\r\nConnection: close\r\nContent-Type: application/json\r\n"
                          f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        self.head = b""      # the answer's first bytes
        self.tail = b""      # the last bytes: an event's end may be cut, and the stream's end is judged
        self.events = 0

    def read(self):
        """False: it is over."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        if len(self.head) < 64:
            self.head += data[:64]
        self.events += (self.tail[-5:] + data).count(b"data: ")  # and not the comments of one that waits
        self.tail = (self.tail + data)[-1024:]
        return self.leaves_at is None or self.events < self.leaves_at

    def problem(self):
        if b" 200 " not in self.head.split(b"\r\n")[0]:
            return f"answered with {(self.head + self.tail)[:300]}"
        if self.leaves_at is not None and self.events >= self.leaves_at:
            return None
        usage = re.search(rb'"completion_tokens":(\d+)', self.tail)
        whole = self.tail.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and usage and int(usage.group(1)) == self.tokens
        if not whole or self.events != self.tokens + 2:  # one event per token, the usage, [DONE]
            return f"{self.events} events of a stream of {self.tokens} tokens, which ends in {self.tail[-300:]}"
        return None


class Soak:
    def __init__(self, server):
        self.server, self.dice = server, random.Random(7)
        self.selector = selectors.DefaultSelector()
        self.started = self.ended = self.left = self.events = 0
        self.problems = []

    def open(self):
        stream = OpenStream(self.server.port, self.started, self.dice)
        self.started += 1
        self.selector.register(stream.socket, selectors.EVENT_READ, stream)

    def close(self, stream):
        self.selector.unregister(stream.socket)
        stream.socket.close()
        self.ended += 1
        self.left += stream.leaves_at is not None
        self.events += stream.events
        if problem := stream.problem():
            self.problems.append(problem)

    def step(self, reopen):
        for key, _ in self.selector.select(1):
            if key.data.read():
                continue
            self.close(key.data)
            if reopen:
                self.open()

    def run(self, seconds, sample):
        for _ in range(_STREAMS):
            self.open()
        begin = next_sample = time.monotonic()
        while (now := time.monotonic()) < begin + seconds and not self.problems:
            self.step(reopen=True)
            if now >= next_sample:
                sample(now - begin)
                next_sample = now + seconds / 60
        while self.started > self.ended and not self.problems and time.monotonic() < begin + seconds + 120:
            self.step(reopen=False)
        if self.started > self.ended:
            self.problems.append(f"{self.started - self.ended} streams have no end")


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def used_blocks(server):
    text = server.get("/metrics")[1]
    blocks = {state: float(value) for state, value in re.findall(r'^trireme_kv_blocks\{.*state="(\w+)".*\} (\S+)$', text, re.M)}
    return blocks["total"] - blocks["free"] - blocks["cached"]


def growth(samples, seconds):
    """Of the mean of the last third over the second one."""
    def mean(begin, end):
        part = [size for at, size in samples if begin <= at < end]
        return sum(part) / len(part)

    return mean(seconds * 2 / 3, seconds * 2) / mean(seconds / 3, seconds * 2 / 3) - 1


def soak(server, seconds):
    front = server.process.pid
    processes = {front: "the front", **{pid: name for pid, name in server.engine() if name != "mpirun"}}
    files = {pid: open_files(pid) for pid in processes}
    memory = {pid: [] for pid in processes}
    open_requests = []

    def sample(at):
        for pid in processes:
            memory[pid].append((at, resident_bytes(pid)))
        open_requests.append(server.get("/load")[1]["server_load"])

    run = Soak(server)
    run.run(seconds, sample)
    if run.problems:
        return run.problems[:3]
    problems = []
    print(f"{run.ended} streams, {run.left} left by their clients, {run.events} events ({run.events / seconds:.0f}/s); "
          f"open, by the server's count: {min(open_requests[1:])} to {max(open_requests)}", flush=True)
    try:
        server.wait_for(lambda: server.get("/load")[1]["server_load"] == 0, "end of all requests", 10)
        server.wait_for(lambda: server.metric("trireme_requests_running") == 0 and used_blocks(server) == 0, "return of all KV blocks", 10)
        for pid, name in processes.items():
            server.wait_for(lambda pid=pid: open_files(pid) <= files[pid], f"return of all files of {name}", 10)
    except AssertionError as error:
        problems.append(str(error))
    for pid, name in processes.items():
        grown = growth(memory[pid], seconds)
        print(f"{name}: {files[pid]} files before, {open_files(pid)} after; {memory[pid][-1][1] / 1e6:.1f} MB resident, "
              f"{grown * 100:+.2f} % from the second third to the last", flush=True)
        if grown > _MEMORY_GROWTH:
            problems.append(f"{name} grows: {[round(size / 1e6, 1) for _, size in memory[pid]]} MB")
    if server.restarts():
        problems.append(f"{server.restarts()} restarts")
    return problems


def main():
    trireme = os.path.abspath(sys.argv[1])
    default = 600 if os.environ.get("TRIREME_LONG_TESTS") else 60
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else default
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))  # a shell's: the server raises its own
    with Server(trireme, _MODEL, ["--max-num-seqs", 512, "--max-model-len", 256, "--num-gpu-blocks-override", 4096, "--disable-access-log"]) as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        server.wait_ready()
        problems = soak(server, seconds)
        if problems:
            print("\n".join(problems), server.errors()[-2000:], sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
