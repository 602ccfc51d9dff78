"""A server of tp 2 x pp 2 across two test hosts, with live streams of every kind, while ranks of either host and the remote daemon
are killed and stopped and the link between the hosts is cut: no stream is lost, every text is that of the unbroken run, an
attempt that is cut off ends by itself, and at the end nothing is left on either host.

    two_hosts_serve_test.py TRIREME [DEATH ...]     TRIREME_LONG_TESTS=1: more deaths, a link cut for 30 s
"""

import contextlib
import os
import re
import signal
import sys
import time

import cli
import hosts
from kill_test import Pair
from server import Server, Stream, mixed_bodies, rank_of

_LONG = os.environ.get("TRIREME_LONG_TESTS") == "1"
_STREAMS = 12
_TOKENS = "trireme_generation_tokens_total"
_CUT_S = 30 if _LONG else 8
_RANKS_GONE_S, _ALL_GONE_S = 5.5, 6.5   # 5 s of a front's silence is what ranks bear; then MPI's daemon has half a second
_SHORT = ("kill rank 0", "kill rank 3", "kill daemon", "cut b")
_ALL = (*_SHORT, "kill rank 1", "kill rank 2", "stop rank 3", "stop rank 0", "stop daemon, kill rank 1", "kill mpirun", "cut a", "stop rank 2, cut b",
        "stop rank 3, cut a")


def bodies():
    return mixed_bodies(_STREAMS, lambda i: 120 + i % 5 * 20)


def is_janitor(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            return file.read() == "trireme-janitor\n"
    return False


class Cluster:
    """The two hosts, and what of the server lives where."""

    def __init__(self, pair, wires):
        self.pair, self.wires = pair, wires
        self.before = self.everything()

    def everything(self):
        found = {("file", *entry) for entry in self.pair.files()}
        for host in (self.pair.a, self.pair.b):
            found |= {(host.name, "process", pid) for pid in host.processes()}
            found |= {(host.name, "socket", line) for line in host.sockets()}
        return found

    def left(self):
        return {(*entry, cli.command_line(entry[2])) if entry[1] == "process" else entry for entry in self.everything() - self.before}

    def ranks_on_b(self):
        return [pid for pid in self.pair.b.processes() if "trireme engine" in cli.command_line(pid) and not is_janitor(pid)]

    def left_on_b(self):
        """Without the janitor, which looks on for a second."""
        name = self.pair.b.name
        return {entry for entry in self.left() if entry[:2] == ("file", name)
                or entry[:2] == (name, "process") and not is_janitor(entry[2])}

    def find(self, name):
        """The pid of "rank N", "daemon" or "mpirun"."""
        for pid in self.pair.a.processes() | self.pair.b.processes():
            line = cli.command_line(pid)
            if name.startswith("rank"):
                if cli.program(pid) == "trireme" and "trireme engine" in line and rank_of(pid) == int(name.split()[1]):
                    return pid
            elif cli.program(pid) in {"daemon": ("orted", "prted"), "mpirun": ("orterun", "mpirun", "prterun", "prun")}[name]:
                return pid
        raise AssertionError(f"no {name}")


def strike(cluster, death):
    for part in death.split(", "):
        action, name = part.split(" ", 1)
        if action != "cut":
            os.kill(cluster.find(name), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


def cut(cluster, server, side, restarts, ends_itself):
    """The link is down for _CUT_S; returns problems."""
    problems = []
    cluster.wires.link(side, "down")
    start = time.monotonic()
    try:
        server.wait_for(lambda: server.restarts() > restarts, "restart", 20)
        print(f"  seen after {time.monotonic() - start:.2f} s", flush=True)
        for what, present, limit in (("ranks", cluster.ranks_on_b, _RANKS_GONE_S), ("anything", cluster.left_on_b, _ALL_GONE_S)):
            while ends_itself and present() and time.monotonic() - start < _CUT_S:
                time.sleep(0.02)
            gone = time.monotonic() - start
            if ends_itself:
                print(f"  no {what} on the host that was cut off after {gone:.2f} s", flush=True)
            if ends_itself and gone > limit:
                problems.append(f"{what} on the host that was cut off for {gone:.1f} s: {sorted(map(str, present()))[:5]}")
        time.sleep(max(0.0, start + _CUT_S - time.monotonic()))
        if "host hostb (10.77.0.2) does not answer" not in server.errors():
            problems.append("no line says that the host is out of reach")
    finally:
        cluster.wires.link(side, "up")
    return problems


def check(cluster, server, death, expected):
    """One round of streams; `death` strikes in the middle of it (None: nothing does)."""
    wanted = bodies()
    first, restarts = server.metric(_TOKENS), server.restarts()
    reports = len(server.failure_reports())
    streams = [Stream(server, "/v1/completions", body) for body in wanted]
    begin = time.monotonic()
    for stream in streams:
        stream.start()
    problems = []
    if death:
        goal = first + 0.3 * sum(body["max_tokens"] * body.get("n", 1) for body in wanted)
        server.wait_for(lambda: server.metric(_TOKENS) >= goal, "progress", 60)
        start = time.monotonic()
        strike(cluster, death)
        if "cut" in death:
            problems += cut(cluster, server, death[-1], restarts, "stop rank 2" not in death)
            start = time.monotonic()
        else:
            server.wait_for(lambda: server.restarts() > restarts, "restart", 20)
            print(f"  seen after {time.monotonic() - start:.2f} s", flush=True)
        server.wait_back()
        print(f"  ready after {time.monotonic() - start:.2f} s", flush=True)
        problems += check_reports(server.failure_reports()[reports:], death)
    for number, stream in enumerate(streams):
        stream.finished(180)
        problems += [f"stream {number}: {problem}" for problem in stream.problems]
    choices = [stream.choices for stream in streams]
    if expected:
        problems += [f"stream {number}: another text" for number, (got, one) in enumerate(zip(choices, expected)) if got != one]
    print(f"{death or 'unbroken'}: {time.monotonic() - begin:.1f} s, {len(problems)} problems", flush=True)
    return choices, [f"{death}: {problem}" for problem in problems]


def check_ranks(text):
    """Every rank: host, pid, phase, step, last operation."""
    lines = re.findall(r"^  rank (\d) on (\w+) \(pid \d+[^)]*\), \w+, step -?\d+, last operation ", text, re.MULTILINE)
    return lines == [("0", "hosta"), ("1", "hosta"), ("2", "hostb"), ("3", "hostb")]


def check_reports(reports, death):
    if len(reports) != 1:
        return [f"{len(reports)} reports of one failure: {reports}"]
    text, problems = reports[0], []
    if not check_ranks(text):
        problems.append(f"the report does not name every rank, host, pid, phase, step and operation: {text}")
    victim = None if "cut" in death else re.search(r"rank \d", death)   # cut off: whichever of that host
    if victim and not re.search(rf"^summary: .*{victim.group(0)} on host", text, re.MULTILINE):
        problems.append(f"the report names another culprit: {text}")
    return problems


def check_live_report(server):
    before = len(server.failure_reports())
    server.signal(signal.SIGUSR2)
    server.wait_for(lambda: len(server.failure_reports()) > before, "live report", 5)
    text = server.failure_reports()[-1]
    return [] if "cause: live" in text and check_ranks(text) else [f"the live report lacks something: {text}"]


def run(pair, wires, deaths):
    cluster, errors = Cluster(pair, wires), []
    arguments = ["-tp", "2", "-pp", "2", "--disable-access-log", *pair.launch]
    with Server(pair.trireme, pair.model, arguments, launcher=pair.prefix, folder=pair.a.folder, network=pair.a.network) as server:
        try:
            server.wait_ready()
            expected, errors = check(cluster, server, None, None)
            errors += check_live_report(server)
            for death in deaths:
                errors += check(cluster, server, death, expected)[1]
            server.signal(signal.SIGTERM)
            if server.process.wait(timeout=30) != 0:
                errors.append(f"exit code {server.process.returncode}")
        except AssertionError as error:
            errors.append(str(error))
        if errors:
            print(server.errors()[-5000:])
    deadline = time.monotonic() + 5
    while (left := cluster.left()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return errors + [f"left behind: {entry}" for entry in sorted(map(str, left))[:10]]


def main():
    trireme = os.path.abspath(sys.argv[1])
    if not hosts.available():
        print("skipped: two test hosts need root and namespaces")
        return 77
    deaths = sys.argv[2:] or (_ALL if _LONG else _SHORT)
    with contextlib.ExitStack() as stack:
        wires = hosts.TwoHosts()
        pair = Pair(*stack.enter_context(wires), trireme)
        errors = run(pair, wires, deaths)
    print("\n".join(errors))
    print(f"{len(deaths)} deaths on two hosts, {_STREAMS} streams each, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
