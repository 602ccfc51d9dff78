"""kill -9 of a rank, of mpirun and of the command itself while it generates, on one host or on two: within 5 s
nothing is left, no process and no file, and where the command lives it says in one line which rank died, and where.

    kill_test.py TRIREME one|two
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

import cli
import hosts

_LIMIT_S = 5.0


class OneHost:
    """The same face as hosts.TwoHosts, for this machine as it is."""

    launch = []
    prefix = []

    def files(self):
        return cli.temporary_files()


class Pair:
    def __init__(self, a, b, agent):
        hostfile = os.path.join(a.folder, "hostfile")
        with open(hostfile, "w", encoding="ascii") as file:
            file.write(f"{a.address} slots=2\n{b.address} slots=2\n")
        network = a.address.rsplit(".", 1)[0] + ".0/24"
        self.a, self.b = a, b
        self.prefix = a.enter()
        self.launch = ["--hostfile", hostfile, "--launch-args",
                       f"--mca plm_rsh_agent {agent} --mca btl_tcp_if_include {network} --mca oob_tcp_if_include {network}"]

    def files(self):
        listing = ["sh", "-c", "ls -A /tmp /dev/shm"]
        return {(host.name, line) for host in (self.a, self.b)
                for line in host.run(listing, capture_output=True, text=True).stdout.splitlines() if line and not line.startswith("/")}


def engines(among=None):
    """Pids of rank processes of this test, on all hosts (host namespaces are children of this one)."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and "trireme engine" in cli.command_line(int(name)) and not cli.command_line(int(name)).startswith("mpirun"):
            with contextlib.suppress(OSError, ValueError):
                if cli.alive(int(name)) and os.readlink(f"/proc/{name}/exe").endswith("trireme"):
                    found.append(int(name))
    return found


def rank_of(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                    return int(entry.split(b"=")[1])
    return -1


def start(trireme, place):
    command = [*place.prefix, trireme, "generate", "--output-format", "json", "--device", "cpu", "-tp", "2", "-pp", "2", "--model",
               cli.model("tiny-llama"), "--max-new-tokens", "1900", "--ignore-eos", "--prompts", "-", *place.launch]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdin.write("hello\n" * 16)
    process.stdin.close()
    process.stdin = None
    deadline = time.monotonic() + 40
    while len(engines()) < 4:
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit(f"the engine did not start: {process.communicate()[1][-2000:]}")
        time.sleep(0.05)
    time.sleep(2.5)   # joined, loaded, generating
    if process.poll() is not None:
        raise SystemExit(f"ended before anything was killed: {process.communicate()[1][-2000:]}")
    return process


def front_of(process, prefix):
    """The trireme command itself: below nsenter where that starts it."""
    if not prefix:
        return process.pid
    return next(pid for pid in cli.descendants(process.pid) if "trireme generate" in cli.command_line(pid)
                and os.readlink(f"/proc/{pid}/exe").endswith("trireme"))


def victim_of(name, process, prefix):
    if name == "command":
        return front_of(process, prefix)
    if name == "mpirun":
        return next(pid for pid in cli.descendants(process.pid) if cli.command_line(pid).startswith("mpirun"))
    return next(pid for pid in engines() if rank_of(pid) == int(name.split()[1]))


def gone(place, before):
    return not engines() and not place.files() - before


def check(trireme, place, name):
    before = place.files()
    process = start(trireme, place)
    victim = victim_of(name, process, place.prefix)
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    errors = []
    while not gone(place, before) and time.monotonic() - killed < _LIMIT_S:
        time.sleep(0.05)
    elapsed = time.monotonic() - killed
    if not gone(place, before):
        errors.append(f"{name}: after {elapsed:.1f} s left: processes {engines()}, files {sorted(map(str, place.files() - before))[:5]}")
    try:
        _, stderr = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return [*errors, f"{name}: the command did not end"]
    if process.returncode == 0:
        errors.append(f"{name}: exit code 0")
    lines = [line for line in stderr.replace("\r", "\n").splitlines() if "rank" in line or "mpirun" in line]
    if name.startswith("rank") and not any(name in line and "step" in line for line in lines):
        errors.append(f"{name}: no line names rank, host and step: {stderr[-1500:]!r}")
    print(f"{name}: all gone after {elapsed:.2f} s, exit code {process.returncode}: {lines[-1] if lines else '(silent)'}", flush=True)
    return errors


def main():
    trireme, count = os.path.abspath(sys.argv[1]), sys.argv[2]
    if count == "two" and not hosts.available():
        print("skipped: two test hosts need root and namespaces")
        return 77
    errors = []
    with contextlib.ExitStack() as stack:
        place = Pair(*stack.enter_context(hosts.TwoHosts())) if count == "two" else OneHost()
        for name in ("rank 0", "rank 3", "mpirun", "command"):
            errors += check(trireme, place, name)
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
