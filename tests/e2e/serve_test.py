"""`trireme serve` as its clients see it: loading, answers, streams, keys, hang-ups, a rank's death, the end.

    serve_test.py TRIREME
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import cli
from server import Server, Stream

_MODEL = cli.model("tiny-llama")
_SLOW_LOAD = {"TRIREME_FAULT": "0:load:stop@1"}  # the first attempt never gets ready: "loading" for certain


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_start(server):
    """What is answered before the engine is ready; then its restart makes it so."""
    server.wait_listening()
    status, body = server.get("/health/ready")
    check(status == 503 and body["status"] in ("starting", "loading"), f"ready while loading: {status} {body}")
    check(server.get("/health/live")[0] == 200 and server.get("/health")[0] == 200, "health while loading")
    check(server.get("/v1/models")[0] == 503, "models while loading")
    status, body = server.post("/v1/completions", {"prompt": "hello"})
    check(status == 503 and "loading" in body["error"]["message"], f"a completion while loading: {status} {body}")
    server.wait_ready()
    check("tensor parallel 2" in server.output() and f":{server.port}/v1" in server.output(), f"the box: {server.output()}")


def check_answers(server):
    status, body = server.post("/v1/completions", {"prompt": "hello world", "max_tokens": 8, "temperature": 0, "ignore_eos": True})
    check(status == 200 and body["usage"]["completion_tokens"] == 8 and body["choices"][0]["finish_reason"] == "length", body)
    stream = Stream(server, "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "temperature": 0,
                                                    "ignore_eos": True})
    stream.run()
    check(not stream.problems and len(stream.choices[0]["ids"]) == 9 and stream.usage["completion_tokens"] == 9,
          f"a streamed chat: {stream.problems} {stream.choices} {stream.usage}")
    status, whole = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "temperature": 0,
                                                         "ignore_eos": True})
    check(whole["choices"][0]["message"]["content"] == stream.choices[0]["text"], "a chat's stream is its whole")
    status, body = server.get("/v1/models")
    check(status == 200 and body["data"][0]["id"] == _MODEL and body["data"][0]["max_model_len"] == 2048, body)
    check("<html" in server.get("/")[1], "the page")
    status, text = server.get("/metrics")
    check(status == 200 and "vllm:num_requests_running" in text and 'trireme_ready{' in text, text[:500])
    check(server.metric("trireme_generation_tokens_total") == 26, f"tokens: {server.metric('trireme_generation_tokens_total')}")
    check(server.metric("trireme_requests_admitted_total") == 3, "admitted")
    check(server.get("/no/such/path")[0] == 404 and server.call("DELETE", "/v1/models")[0] == 405, "unknown paths and methods")


def check_hang_up(server):
    connection = server.connect("POST", "/v1/completions", {"prompt": "a", "max_tokens": 2000, "stream": True, "ignore_eos": True})
    answer = connection.getresponse()
    answer.readline()
    check(server.get("/load")[1]["server_load"] == 1, "it is counted")
    connection.sock.shutdown(socket.SHUT_RDWR)
    answer.close()
    connection.close()
    server.wait_for(lambda: server.get("/load")[1]["server_load"] == 0, "end of what was left", 5)
    server.wait_for(lambda: server.metric("trireme_requests_running") == 0, "end of it in the engine", 10)
    text = server.get("/metrics")[1]
    check(any('finished_reason="abort"' in line and line.endswith(" 1") for line in text.splitlines()), "an abort is counted")


def check_death(server):
    """A rank is killed in mid-stream: the streams go on, and their texts are those of the unbroken run."""
    bodies = [{"prompt": f"number {i}", "max_tokens": 1200, "ignore_eos": True, "seed": i, "temperature": i % 3 * 0.5, "n": 1 + i % 2}
              for i in range(6)]

    tokens, total = "trireme_generation_tokens_total", sum(1200 * body["n"] for body in bodies)

    def received(streams):  # by the clients, whatever the server counts
        return sum(len(choice["ids"]) for stream in streams for choice in list(stream.choices.values()))

    def run(victim):
        first = server.metric(tokens)
        streams = [Stream(server, "/v1/completions", body) for body in bodies]
        for stream in streams:
            stream.start()
        if victim:
            pid = next(pid for pid, name in server.engine() if name == victim)
            server.wait_for(lambda: received(streams) > 100, "tokens")
            os.kill(pid, signal.SIGKILL)
            check(received(streams) < total, "all was done before the rank died")
        for stream in streams:
            stream.finished(60)
            check(not stream.problems, f"{victim}: {stream.problems}")
        check(server.metric(tokens) == first + total, "a token is missing or counted twice")
        return [stream.choices for stream in streams]

    before = server.restarts()
    unbroken = run(None)
    check(run("rank 1") == unbroken, "a rank's death changed a text")
    server.wait_for(lambda: server.restarts() == before + 1, "one restart", 5)
    check(server.metric("trireme_engine_restarts_total") == before + 1, "restarts in the metrics")


def check_keys(trireme):
    with tempfile.NamedTemporaryFile("w") as keys:
        keys.write("old\n")
        keys.flush()
        with Server(trireme, _MODEL, ["--api-key-file", keys.name, "--metrics-key", "m"]) as server:
            server.wait_ready()
            check(server.get("/v1/models")[0] == 401 and server.get("/metrics")[0] == 401, "no key")
            check(server.get("/metrics", {"Authorization": "Bearer m"})[0] == 200, "the metrics' key")
            check(server.get("/v1/models", {"Authorization": "Bearer old"})[0] == 200, "a key")
            keys.seek(0)
            keys.write("new\n")
            keys.flush()
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(lambda: server.get("/v1/models", {"Authorization": "Bearer new"})[0] == 200, "the new key", 5)
            check(server.get("/v1/models", {"Authorization": "Bearer old"})[0] == 401, "the old key is out")
            check_second_signal(server)


def check_second_signal(server):
    server.key = "new"
    stream = Stream(server, "/v1/completions", {"prompt": "a", "max_tokens": 2000, "ignore_eos": True})
    stream.start()
    server.wait_for(lambda: stream.events > 3, "tokens")
    server.process.send_signal(signal.SIGTERM)
    server.wait_for(lambda: "shutting down" in server.errors(), "the drain")
    server.process.send_signal(signal.SIGTERM)
    check(server.process.wait(timeout=5) == 143, f"exit code {server.process.returncode}")
    stream.join(5)
    check("shutting down" in str(stream.problems), f"the stream's last word: {stream.problems}")


def check_drain(server):
    stream = Stream(server, "/v1/completions", {"prompt": "a", "max_tokens": 400, "ignore_eos": True, "temperature": 0})
    stream.start()
    server.wait_for(lambda: stream.events > 3, "tokens")
    server.process.send_signal(signal.SIGTERM)
    server.wait_for(lambda: server.get("/health/ready")[1]["status"] == "draining", "draining", 5)
    status, body = server.post("/v1/completions", {"prompt": "a"})
    check(status == 503 and "shutting down" in body["error"]["message"], f"a request while draining: {status} {body}")
    stream.finished(60)
    check(not stream.problems and len(stream.choices[0]["ids"]) == 400, f"the drained stream: {stream.problems}")
    check(server.process.wait(timeout=20) == 0, f"exit code {server.process.returncode}: {server.errors()[-2000:]}")


def check_poison(trireme):
    """A request that kills the engine fails with a code of its own; the next one is answered."""
    with Server(trireme, _MODEL, ["-tp", "2"], {"TRIREME_FAULT": "0:request1:kill"}) as server:
        server.wait_ready()
        status, body = server.post("/v1/completions", {"prompt": "a", "max_tokens": 3})
        check(status == 500 and body["error"]["code"] == "request_poisoned", f"{status} {body}")
        check(server.post("/v1/completions", {"prompt": "a", "max_tokens": 3})[0] == 200, "the next request")


def check_refusals(trireme):
    def refused(arguments, code, words):
        done = subprocess.run([trireme, "serve", *arguments], capture_output=True, text=True, timeout=20, check=False)
        check(done.returncode == code and words in done.stderr and len(done.stderr.splitlines()) == 1, f"{arguments}: {done}")

    refused([_MODEL, "--device", "cpu", "--no-such-flag"], 2, "--no-such-flag")
    refused([_MODEL, "--device", "cpu", "--lora-modules", "x"], 2, "adapters are not served")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        refused([_MODEL, "--device", "cpu", "--port", str(taken.getsockname()[1])], 1, "in use")


def check_outer_mpirun(trireme):
    """Under an outer mpirun it serves all the same; a rank's death ends it, with 70."""
    with Server(trireme, _MODEL, ["-tp", "2"], launcher=["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"]) as server:
        server.wait_ready()
        status, body = server.post("/v1/completions", {"prompt": "hello", "max_tokens": 4})
        check(status == 200 and body["usage"]["completion_tokens"] <= 4, body)
        victim = next(pid for pid in cli.descendants(server.process.pid) if "serve" in cli.command_line(pid) and
                      "OMPI_COMM_WORLD_RANK=1" in open(f"/proc/{pid}/environ", encoding="ascii", errors="replace").read())
        os.kill(victim, signal.SIGKILL)
        check(server.process.wait(timeout=20) != 0, "it goes on without a rank")
        return server.process.returncode


def main():
    trireme = os.path.abspath(sys.argv[1])
    before = cli.temporary_files()
    start = time.monotonic()

    def passed(name):
        print(f"{time.monotonic() - start:5.1f} s  {name}", flush=True)

    check_refusals(trireme)
    passed("refusals")
    with Server(trireme, _MODEL, ["-tp", "2"], _SLOW_LOAD) as server:
        for name, part in (("start", check_start), ("answers", check_answers), ("hang-up", check_hang_up), ("death", check_death),
                           ("drain", check_drain)):
            part(server)
            passed(name)
    check_keys(trireme)
    passed("keys, reload, second signal")
    check_poison(trireme)
    passed("poison")
    passed(f"outer mpirun, exit code {check_outer_mpirun(trireme)}")
    left, deadline = cli.temporary_files() - before, time.monotonic() + 10
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left &= cli.temporary_files()
    check(not left, f"left behind: {sorted(left)[:5]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
