"""Runs the trireme program as a user would, for the end-to-end tests. Standard library only."""

import glob
import json
import os
import subprocess

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def model(name):
    return os.path.join(SOURCE, "tests", "models", name)


def generate(trireme, arguments, lines=None, timeout=300, check=True):
    """`trireme generate --output-format json`; `lines` are JSONL prompts for standard input. Returns the output lines."""
    command = [trireme, "generate", "--output-format", "json", *map(str, arguments)]
    text = None
    if lines is not None:
        command += ["--prompts", "-"]
        text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def temporary_files(roots=("/tmp", "/dev/shm")):
    """What a run may leave behind: names of ours and of MPI's directly below the temporary folders."""
    return {os.path.join(root, name) for root in roots for name in os.listdir(root) if is_ours(name)}


def ownerless_directories(root="/dev/shm"):
    """Attempts' directories whose front is gone; those of other runs on this machine have theirs."""
    found = set()
    for path in glob.glob(os.path.join(root, "trireme-" + "[0-9a-f]" * 12)):
        try:
            with open(os.path.join(path, "front"), encoding="ascii") as file:
                owner = int(file.read())
        except (OSError, ValueError):
            owner = 0
        if os.path.isdir(path) and not alive(owner):
            found.add(path)
    return found


def is_ours(name):
    return any(word in name for word in ("trireme", "ompi", "openmpi", "vader", "pmix", "orte", "nccl"))


def descendants(pid):
    """Pids of a process's children, theirs, and so on."""
    found = []
    for task in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(task, encoding="ascii") as file:
                children = [int(child) for child in file.read().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def program(pid):
    """The name of the file that it runs."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
