"""Two test hosts on one machine: each with its own network, pid, ipc, uts and mount namespaces (private /tmp and /dev/shm), joined
by a veth pair. Neither sees the other's processes; what stands for ssh: each runs the command lines that are written to its FIFO.
Needs root, util-linux and iproute2."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time

# Whatever becomes of the test, its hosts go with it.
_UNSHARE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--ipc", "--uts", "--mount", "--fork", "--kill-child"]
_SETUP = ("mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && "
          "mount -t proc proc /proc && hostname {name} && ip link set lo up && touch {ready} && "
          "while read -r line <&3; do sh -c \"$line\" 3<&- & done 3<>{fifo}")


def available():
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "ss", "setpriv", "unshare", "nsenter", "hostname"))):
        return False
    return subprocess.run(_UNSHARE + ["true"], capture_output=True, check=False).returncode == 0


class Host:
    def __init__(self, folder, name, address):
        self.name, self.address, self.folder = name, address, folder
        self.fifo = os.path.join(folder, f"{name}.commands")
        os.mkfifo(self.fifo)
        ready = os.path.join(folder, f"{name}.ready")
        self._init = subprocess.Popen(_UNSHARE + ["sh", "-c", _SETUP.format(name=name, ready=ready, fifo=self.fifo)])
        deadline = time.monotonic() + 10
        while not os.path.exists(ready):
            if time.monotonic() > deadline or self._init.poll() is not None:
                raise RuntimeError(f"test host {name} did not come up")
            time.sleep(0.02)
        with open(f"/proc/{self._init.pid}/task/{self._init.pid}/children", encoding="ascii") as file:
            self.pid = int(file.read())   # pid 1 there, as this process counts

    def enter(self):
        return ["nsenter", "-t", str(self.pid), "--net", "--pid", "--ipc", "--uts", "--mount", "--"]

    def run(self, command, **options):
        return subprocess.run(self.enter() + command, check=options.pop("check", False), **options)

    def popen(self, command, **options):
        return subprocess.Popen(self.enter() + command, **options)

    @contextlib.contextmanager
    def network(self):
        """This thread opens its sockets on the host; they stay there when it has left."""
        setns = ctypes.CDLL(None, use_errno=True).setns
        with open("/proc/thread-self/ns/net", "rb") as own, open(f"/proc/{self.pid}/ns/net", "rb") as there:
            if setns(there.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                setns(own.fileno(), 0)

    def processes(self):
        """Pids, as this process counts them, of what lives on the host."""
        found, own = set(), os.readlink(f"/proc/{self.pid}/ns/pid")
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/pid") == own:
                    with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                        if file.read().rsplit(")", 1)[1].split()[0] != "Z":   # pid 1 there reaps nobody
                            found.add(int(name))
        return found

    def sockets(self):
        """TCP that listens or is connected, and Unix sockets that listen."""
        found = set()
        for options in (["-Htln"], ["-Htn", "state", "established"], ["-Hxl"]):
            text = self.run(["ss", *options], capture_output=True, text=True).stdout
            found |= {" ".join(line.split()) for line in text.splitlines()}
        return found

    def close(self):
        os.kill(self.pid, 9)   # pid 1 of its namespace: everything in it goes too
        self._init.kill()
        self._init.wait()


class TwoHosts:
    """with TwoHosts() as (a, b, agent): `agent` is a script for mpirun's plm_rsh_agent, usable on host a."""

    def __enter__(self):
        # Not under /tmp: each host has its own.
        self.folder = tempfile.mkdtemp(prefix="trireme-hosts-", dir="/var/tmp")
        self.a = Host(self.folder, "hosta", "10.77.0.1")
        self.b = Host(self.folder, "hostb", "10.77.0.2")
        subprocess.run(["nsenter", "-t", str(self.a.pid), "--net", "--", "ip", "link", "add", "wirea", "type", "veth", "peer", "name",
                        "wireb", "netns", str(self.b.pid)], check=True)
        for host, wire in ((self.a, "wirea"), (self.b, "wireb")):
            host.run(["ip", "addr", "add", host.address + "/24", "dev", wire], check=True)
            host.run(["ip", "link", "set", wire, "up"], check=True)
        agent = os.path.join(self.folder, "agent")
        with open(agent, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\nshift\necho \"$*\" >{self.b.fifo}\n")
        os.chmod(agent, 0o755)
        return self.a, self.b, agent

    def link(self, side, state):
        """Cuts ("down") or mends ("up") the wire between the hosts, at the end of host "a" or "b"."""
        host = self.a if side == "a" else self.b
        host.run(["ip", "link", "set", "wire" + side, state], check=True)

    def __exit__(self, *_):
        self.b.close()
        self.a.close()
        shutil.rmtree(self.folder, ignore_errors=True)
