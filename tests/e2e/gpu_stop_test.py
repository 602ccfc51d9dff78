"""A rank is stopped in the middle of a step whose sums and draws go through the GPUs' shared memory. The others' kernels wait for it.
Either the front sees it first, or, with a short TRIREME_PEER_WAIT_MS, the wait runs out: the step is void. Both ways the engine ends
loudly within 2 s, says which rank, step and operation, prints no token of the broken step, and leaves neither processes nor GPU memory.

    gpu_stop_test.py TRIREME [cpu]     cpu: the part that needs no GPU, for the test itself

Skipped with fewer than two GPUs; with TRIREME_SHARE_GPUS=1 two ranks take turns on one.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

import cli

_SHARED = os.environ.get("TRIREME_SHARE_GPUS") == "1"
_STEP = 25 if _SHARED else 600   # steps enough for a few beats, one in 100 ms
_WAIT_MS = 800 if _SHARED else 300
_TOKENS, _LIMIT_S, _SLACK_MIB = 1900, 2.0, 64


def gpu_memory():
    """MiB in use by GPU; empty without any."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return [int(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]
    except (OSError, subprocess.CalledProcessError):
        return []


def run(trireme, ranks, device, reports, environment, model):
    """(exit code, output by line, errors with the moment of each line, when the stopped rank was seen stopped, pids)."""
    command = [trireme, "generate", "--output-format", "json", "--device", device, "--peer-sampling", "-tp", str(ranks), "--model", model, "--prompts", "-",
               "--max-restarts", "0", "--report-dir", reports, "--ignore-eos", "--temperature", "0", "--max-new-tokens", str(_TOKENS)]
    if device == "cpu":
        command += ["--cpu-threads", "1"]
    with tempfile.TemporaryFile("w+", dir=reports) as out, tempfile.TemporaryFile("w+", dir=reports) as err:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True, env={**os.environ, **environment})
        process.stdin.write("hello\n" * 6)
        process.stdin.close()
        stopped, pids, deadline = None, set(), time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            pids |= {pid for pid in cli.descendants(process.pid) if "trireme engine" in cli.command_line(pid)}
            if stopped is None and any(state_of(pid) == "T" for pid in pids):
                stopped = time.monotonic()
            time.sleep(0.01)
        ended = time.monotonic()
        if process.poll() is None:
            process.kill()
        process.wait()
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), ended - stopped if stopped else None, pids


def state_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def ids_of(output):
    return [[choice["token_ids"] for choice in json.loads(line).get("choices", [])] for line in output.splitlines()]


def leftovers(pids, before):
    """What is still there 10 s later."""
    deadline = time.monotonic() + 10
    while True:
        alive = [pid for pid in pids if cli.alive(pid)]
        memory = gpu_memory()
        grown = [now - then for now, then in zip(memory, before) if now - then > _SLACK_MIB]
        if not alive and not grown:
            return []
        if time.monotonic() > deadline:
            return [f"left behind: processes {alive}, MiB of GPU memory {grown}"]
        time.sleep(0.1)


def check(trireme, ranks, device, fault, wait_ms, model, folder):
    before = gpu_memory() if device == "cuda" else []
    environment = {"TRIREME_FAULT": fault, **({"TRIREME_PEER_WAIT_MS": str(wait_ms)} if wait_ms else {})}
    code, output, err, elapsed, pids = run(trireme, ranks, device, folder, environment, model)
    what, errors = f"{fault}{f', waits of {wait_ms} ms' if wait_ms else ''}", []
    if code == 0:
        errors.append(f"{what}: exit code 0")
    if elapsed is None or elapsed > _LIMIT_S:
        errors.append(f"{what}: ended {elapsed} s after the stop")
    if wait_ms:
        lines = re.findall(r"step \d+ is void: tensor-parallel rank 1 did not come to a sum or a draw in time", err)
    else:
        lines = re.findall(r"rank 1 on [^\n]*step \d+, last operation [^\n]*stopped[^\n]*", err)
    if not lines:
        errors.append(f"{what}: no line names rank, step and operation: {err[-1500:]}")
    names = [name for name in os.listdir(folder) if name.startswith("failure-")]
    if not names:
        errors.append(f"{what}: no report")
    for name in names:
        os.remove(os.path.join(folder, name))
    if any(choice for choices in ids_of(output) for choice in choices if len(choice) >= _TOKENS):
        errors.append(f"{what}: an answer is whole: {output[:300]}")
    errors += leftovers(pids, before)
    print(f"{what}: ended {elapsed or -1:.2f} s after the stop: {lines[:1]}", flush=True)
    return errors


def main():
    trireme, device = os.path.abspath(sys.argv[1]), "cpu" if sys.argv[2:] == ["cpu"] else "cuda"
    gpus = len(gpu_memory())
    ranks = 2 if device == "cpu" or (_SHARED and gpus == 1) else gpus
    if ranks < 2:
        print("skipped: needs two GPUs")
        return 77
    model = cli.model("tiny-llama" if device == "cpu" else "tiny-llama-bf16")
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        errors += check(trireme, ranks, device, f"1:step{_STEP}:stop", 0, model, folder)
        errors += check(trireme, ranks, device, f"1:sampling:stop:{_STEP}", 0, model, folder)
        if device == "cuda":
            errors += check(trireme, ranks, device, f"1:step{_STEP}:stop", _WAIT_MS, model, folder)
            errors += check(trireme, ranks, device, f"1:sampling:stop:{_STEP}", _WAIT_MS, model, folder)
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
