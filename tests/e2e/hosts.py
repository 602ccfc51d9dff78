"""Two test hosts on one machine: each with its own network, pid, ipc, uts and mount namespaces (private /tmp and
/dev/shm), joined by a veth pair. Host b is started from inside host a, so that a process of host a can enter it by
pid, which is what stands for ssh. Needs root, util-linux and iproute2."""

import os
import shutil
import subprocess
import tempfile
import time

_UNSHARE = ["unshare", "--net", "--pid", "--ipc", "--uts", "--mount", "--fork", "--kill-child"]
_SETUP = ("mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && "
          "mount -t proc proc /proc && hostname {name} && ip link set lo up && touch {ready} && exec sleep 1000000")


def available():
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter", "hostname"))):
        return False
    return subprocess.run(_UNSHARE + ["true"], capture_output=True, check=False).returncode == 0


class Host:
    """One host; `outside` is the host it is started from, or None."""

    def __init__(self, folder, name, address, outside=None):
        self.name, self.address, self.folder = name, address, folder
        ready = os.path.join(folder, f"{name}.ready")
        prefix = outside.enter() if outside else []
        self._init = subprocess.Popen(prefix + _UNSHARE + ["sh", "-c", _SETUP.format(name=name, ready=ready)])
        deadline = time.monotonic() + 10
        while not os.path.exists(ready):
            if time.monotonic() > deadline or self._init.poll() is not None:
                raise RuntimeError(f"test host {name} did not come up")
            time.sleep(0.02)
        self.pid = self._sleeper()   # as this process sees it

    def _sleeper(self):
        """The `sleep` at the end of the chain of unshare and nsenter below self._init."""
        pid = self._init.pid
        while True:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                children = file.read().split()
            if not children:
                return pid
            pid = int(children[0])

    def enter(self):
        return ["nsenter", "-t", str(self.pid), "--net", "--pid", "--ipc", "--uts", "--mount", "--"]

    def run(self, command, **options):
        return subprocess.run(self.enter() + command, check=options.pop("check", False), **options)

    def popen(self, command, **options):
        return subprocess.Popen(self.enter() + command, **options)

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
        self.b = Host(self.folder, "hostb", "10.77.0.2", self.a)
        # Host b's first process as host a counts pids: the second last of its NSpid line.
        with open(f"/proc/{self.b.pid}/status", encoding="ascii") as file:
            numbers = next(line for line in file if line.startswith("NSpid:")).split()[1:]
        pid_on_a = numbers[-2]
        self.a.run(["ip", "link", "add", "wirea", "type", "veth", "peer", "name", "wireb"], check=True)
        self.a.run(["ip", "link", "set", "wireb", "netns", pid_on_a], check=True)
        for host, wire in ((self.a, "wirea"), (self.b, "wireb")):
            host.run(["ip", "addr", "add", host.address + "/24", "dev", wire], check=True)
            host.run(["ip", "link", "set", wire, "up"], check=True)
        agent = os.path.join(self.folder, "agent")
        with open(agent, "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\nshift\nexec nsenter -t {pid_on_a} --net --pid --ipc --uts --mount -- sh -c "$*"\n')
        os.chmod(agent, 0o755)
        return self.a, self.b, agent

    def __exit__(self, *_):
        self.b.close()
        self.a.close()
        shutil.rmtree(self.folder, ignore_errors=True)
