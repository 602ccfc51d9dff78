"""kill -9 of a rank, of mpirun and of the command itself while it generates without restarts, on one host or on two: within 5 s
nothing is left, no process and no file, and where the command lives it says in one line which rank died, and where.

    kill_test.py TRIREME one|two [victim ...]
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import cli
import hosts

_LIMIT_S = 5.0


class OneHost:
    """The same face as hosts.TwoHosts, for this machine as it is."""

    launch = []
    prefix = []

    def __init__(self, trireme):
        # A path of its own tells this test's ranks from anybody else's.
        self.folder = tempfile.TemporaryDirectory(prefix="trireme-e2e-")
        self.trireme = trireme
        self.model = shutil.copytree(cli.model("tiny-llama"), os.path.join(self.folder.name, "tiny-llama"))

    def files(self):
        return cli.temporary_files()


class Pair:
    def __init__(self, a, b, agent, trireme):
        # Program and model may lie under /tmp, which is each host's own.
        self.trireme = shutil.copy(trireme, os.path.join(a.folder, "trireme"))
        self.model = shutil.copytree(cli.model("tiny-llama"), os.path.join(a.folder, "tiny-llama"))
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
                for line in host.run(listing, capture_output=True, text=True).stdout.splitlines() if cli.is_ours(line)}


def engines(place):
    """Pids of this test's rank processes on all hosts, as seen from here (the hosts' namespaces are below this one)."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        line = cli.command_line(int(name))
        if "trireme engine" in line and place.model in line and cli.alive(int(name)):
            with contextlib.suppress(OSError):
                if os.path.basename(os.readlink(f"/proc/{name}/exe")) == "trireme":
                    found.append(int(name))
    return found


def rank_of(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                    return int(entry.split(b"=")[1])
    return -1


def start(place):
    command = [*place.prefix, place.trireme, "generate", "--output-format", "json", "--device", "cpu", "-tp", "2", "-pp", "2", "--model",
               place.model, "--max-restarts", "0", "--max-new-tokens", "1900", "--ignore-eos", "--prompts", "-", *place.launch]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdin.write("hello\n" * 16)
    process.stdin.close()
    process.stdin = None
    deadline = time.monotonic() + 40
    while len(engines(place)) < 4:
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
                and os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "trireme")


def victim_of(name, process, place):
    if name == "command":
        return front_of(process, place.prefix)
    if name == "mpirun":
        return next(pid for pid in cli.descendants(process.pid) if cli.command_line(pid).startswith("mpirun"))
    return next(pid for pid in engines(place) if rank_of(pid) == int(name.split()[1]))


def gone(place, before):
    return not engines(place) and not place.files() - before


def check(place, name):
    before = place.files()
    process = start(place)
    victim = victim_of(name, process, place)
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    errors = []
    while not gone(place, before) and time.monotonic() - killed < _LIMIT_S:
        time.sleep(0.05)
    elapsed = time.monotonic() - killed
    if not gone(place, before):
        errors.append(f"{name}: after {elapsed:.1f} s left: processes {engines(place)}, files {sorted(map(str, place.files() - before))[:5]}")
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
        place = Pair(*stack.enter_context(hosts.TwoHosts()), trireme) if count == "two" else OneHost(trireme)
        for name in sys.argv[3:] or ("rank 0", "rank 3", "mpirun", "command"):
            errors += check(place, name)
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
