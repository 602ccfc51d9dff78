"""Whatever dies while `trireme generate` runs, its output is that of the unbroken run: ranks and mpirun killed and stopped,
at named points (TRIREME_FAULT) and at random. A request that kills the engine fails, and only it.

    restart_test.py TRIREME points|random|poison     TRIREME_LONG_TESTS=1: more points, more random deaths
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import cli

_LONG = os.environ.get("TRIREME_LONG_TESTS") == "1"
_MODEL = cli.model("tiny-llama")
_TIMEOUT_S = 120


def prompts(tokens):
    """Greedy, sampled, two choices, penalties, log-probabilities, stop strings, a prefix shared, beams."""
    lines = [{"prompt": "hello world", "temperature": 0, "max_new_tokens": tokens},
             {"prompt": "hello world and more", "temperature": 1, "seed": 11, "max_new_tokens": tokens, "logprobs": 2},
             {"prompt": "the quick brown fox", "temperature": 0.9, "top_p": 0.9, "seed": 5, "n": 2, "max_new_tokens": tokens},
             {"prompt": "a b c", "num_beams": 3, "max_new_tokens": tokens // 4},
             {"prompt": "1 2 3", "temperature": 1, "seed": 3, "repetition_penalty": 1.2, "max_new_tokens": tokens // 2},
             {"prompt": "x y z", "temperature": 1, "seed": 8, "stop": ["e"], "max_new_tokens": tokens},
             {"prompt": "prompt scores of this", "temperature": 0, "prompt_logprobs": 1, "max_new_tokens": tokens // 3},
             {"prompt": "beams again", "num_beams": 2, "num_return_sequences": 2, "max_new_tokens": tokens // 5}]
    for line in lines:
        line.setdefault("ignore_eos", "stop" not in line and "num_beams" not in line)
    return lines


class Run:
    def __init__(self, trireme, shape, lines, fault="", reports=""):
        command = [trireme, "generate", "--output-format", "json", "--device", "cpu", "--cpu-threads", "1", "-tp", str(shape[0]), "-pp",
                   str(shape[1]), "--model", _MODEL, "--prompts", "-", "--report-dir", reports]
        environment = {**os.environ, "TRIREME_FAULT": fault}
        if not fault:
            del environment["TRIREME_FAULT"]
        # Files: a full pipe that nobody reads yet would hold the front up.
        self.out, self.err = tempfile.TemporaryFile("w+", dir=reports), tempfile.TemporaryFile("w+", dir=reports)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self.out, stderr=self.err, text=True, env=environment)
        self.process.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        self.process.stdin.close()
        self.process.stdin = None

    def finish(self):
        late = ""
        try:
            self.process.wait(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)
            late = "\n(it did not end)"
        for file in (self.out, self.err):
            file.seek(0)
        return self.process.returncode, self.out.read(), self.err.read() + late

    def engine(self):
        """(pid, "mpirun" or "rank") of what runs now."""
        found = []
        for pid in cli.descendants(self.process.pid):
            line = cli.command_line(pid)
            if line.startswith("mpirun"):
                found.append((pid, "mpirun"))
            elif "trireme engine" in line and cli.alive(pid):
                found.append((pid, "rank"))
        return found


def restarts(err):
    return len(re.findall(r"attempt \d+ starts", err))


def compare(what, expected, run, least_restarts=1, reason=""):
    code, out, err = run.finish()
    if code != 0 or out != expected:
        return [f"{what}: exit code {code}, output {'differs' if out != expected else 'equal'}: {err[-1500:]}"]
    if restarts(err) < least_restarts:
        return [f"{what}: no restart: {err[-500:]}"]
    if reason not in err:
        return [f"{what}: nobody says {reason}: {err[-500:]}"]
    print(f"{what}: the same output after {restarts(err)} restarts", flush=True)
    return []


def check_points(trireme, folder):
    lines, errors = prompts(40), []
    points = [((2, 1), ["0:dial:kill@1", "1:join:kill@1", "1:load:exit@1", "0:ready:throw@1", "1:step3:kill@1;0:step9:kill@2",
                        "0:sampling:kill:7@1", "1:drain:kill@1", "0:step6:throw@1", "1:step7:throw@1", "1:step6:stop@1"]),
              ((2, 2), ["3:step5:kill@1;2:load:kill@2;0:step4:exit@3"])]
    if _LONG:
        shapes = [(2, 1), (1, 2), (2, 2)]
        points = [((tp, pp), [f"{rank}:{point}:{action}@1" for rank in range(tp * pp)
                              for point in ("dial", "join", "load", "ready", "step0", "step1", "step7", "step20", "drain")
                              for action in ("kill", "stop", "exit", "throw", "hang") if (point, action) not in
                              (("dial", "stop"), ("dial", "hang"), ("dial", "throw"), ("join", "hang"), ("load", "hang"), ("ready", "hang"))])
                  for tp, pp in shapes]
    for shape, faults in points:
        code, expected, err = Run(trireme, shape, lines, reports=folder).finish()
        if code != 0:
            return [f"the unbroken run: exit code {code}: {err[-1000:]}"]
        for fault in faults:
            # A rank that dies when all is done breaks nothing: no restart is needed then.
            errors += compare(f"tp {shape[0]} pp {shape[1]} {fault}", expected, Run(trireme, shape, lines, fault, folder), 0 if "drain" in fault else 1,
                              "a planted failure" if ":throw" in fault else "")
    return errors


def strike(run, dice, deaths):
    """Kills or stops something of the running engine `deaths` times, at random moments; returns what it did."""
    done = []
    while len(done) < deaths and run.process.poll() is None:
        time.sleep(dice.uniform(0.05, 0.9))
        engine = run.engine()
        if not engine:
            continue
        pid, name = dice.choice(engine)
        what = signal.SIGSTOP if dice.random() < 0.25 else signal.SIGKILL
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue
        done.append(f"{what.name} {name}")
        if what == signal.SIGSTOP:
            time.sleep(2.2)   # until it is seen
    return done


def check_random(trireme, folder):
    # Long enough that deaths fall into the work; few enough of them that three in a row cannot fall into starts, which
    # would end the program, and none is laid to a request.
    lines, errors, runs = prompts(400), [], (60 if _LONG else 4)
    seed = int(os.environ.get("TRIREME_TEST_SEED", "1"))
    for shape in ((2, 1), (2, 2)):
        code, expected, err = Run(trireme, shape, lines, reports=folder).finish()
        if code != 0:
            return [f"the unbroken run: exit code {code}: {err[-1000:]}"]
        for number in range(runs):
            dice = random.Random(f"{seed} {shape} {number}")
            run = Run(trireme, shape, lines, reports=folder)
            done = strike(run, dice, 2)
            errors += compare(f"tp {shape[0]} pp {shape[1]} run {number}: {', '.join(done)}", expected, run, 0)
    return errors


def check_poison(trireme, folder):
    lines, errors = prompts(40), []
    code, expected, err = Run(trireme, (2, 1), lines, reports=folder).finish()
    if code != 0:
        return [f"the unbroken run: exit code {code}: {err[-1000:]}"]
    # Request ids are the lines' numbers, from 1: a plain one, one with choices, a beam search.
    for request in (2, 3, 4):
        code, out, err = Run(trireme, (2, 1), lines, f"0:request{request}:kill", folder).finish()
        if code != 1:
            errors.append(f"request {request}: exit code {code}: {err[-1500:]}")
            continue
        for index, (got, wanted) in enumerate(zip(out.splitlines(), expected.splitlines(), strict=True)):
            if index != request - 1 and got != wanted:
                errors.append(f"request {request} is poison, but line {index} differs: {got[:300]}")
            if index == request - 1 and "request_poisoned" not in json.loads(got).get("error", ""):
                errors.append(f"request {request} did not fail: {got[:300]}")
        print(f"request {request}: it alone fails, after {restarts(err)} restarts", flush=True)
    reports = os.listdir(folder)
    if not 0 < len(reports) <= 20:
        errors.append(f"{len(reports)} reports are kept")
    newest = max(os.path.join(folder, name) for name in reports)
    with open(newest, encoding="utf-8") as file:
        text = file.read()
    if not all(word in text for word in ("cause: rank_", "suspects: ", "rank 0 on ", "mpirun's last lines")):
        errors.append(f"a report lacks something: {text}")
    return errors


def main():
    trireme, what = os.path.abspath(sys.argv[1]), sys.argv[2]
    before = cli.temporary_files()
    with tempfile.TemporaryDirectory() as folder:
        errors = {"points": check_points, "random": check_random, "poison": check_poison}[what](trireme, folder)
    left, deadline = cli.temporary_files() - before, time.monotonic() + 10
    while left and time.monotonic() < deadline:   # others on this machine have theirs for a while
        time.sleep(0.2)
        left &= cli.temporary_files()
    if left:
        errors.append(f"left behind: {sorted(left)[:5]}")
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
