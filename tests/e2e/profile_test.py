"""`--profile FILE`: a Chrome trace with the spans of every rank, and the parts of a step in the report and its JSON.

    profile_test.py TRIREME
"""

import json
import os
import subprocess
import sys
import tempfile

import cli

_STEPS = 8


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command}\nexit code {done.returncode}\n{done.stderr[-3000:]}")
    return done


def check_trace(path, ranks, where):
    with open(path, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    errors = [f"{where}: {event}" for event in spans if event["dur"] < 0 or event["ts"] < 0]
    if {event["pid"] for event in spans} != set(range(ranks)):
        errors.append(f"{where}: spans of ranks {sorted({event['pid'] for event in spans})}, not of {ranks}")
    for rank in range(ranks):
        names = [event["name"] for event in spans if event["pid"] == rank]
        wanted = {"linear", "rope_append_attention", "all_reduce_sum", "execute"}
        if rank == 0:
            wanted |= {"schedule", "submit", "wait", "emit", "encode"}
        errors += [f"{where}: no span {name!r} of rank {rank}" for name in wanted - set(names)]
        if names.count("execute") != _STEPS:
            errors.append(f"{where}: {names.count('execute')} steps of rank {rank}, not {_STEPS}")
    if os.path.exists(path + ".parts"):
        errors.append(f"{where}: {path}.parts is still there")
    return errors


def main():
    trireme = sys.argv[1]
    errors = []
    model = [cli.model("tiny-llama"), "--device", "cpu", "--cpu-threads", 1, "-tp", 2, "--max-model-len", 128]
    with tempfile.TemporaryDirectory() as folder:
        profile = ["--profile", os.path.join(folder, "trace.json"), "--profile-skip", 3, "--profile-steps", _STEPS]
        figures_path = os.path.join(folder, "figures.json")
        done = run([trireme, "bench", "latency", *model, *profile, "--input-len", 20, "--output-len", 24, "--batch-size",
                    "2,3", "--num-iters", 2, "--num-iters-warmup", 1, "--output-json", figures_path])
        errors += check_trace(profile[1], 2, "bench latency")
        with open(figures_path, encoding="utf-8") as file:
            figures = json.load(file)
        if [batch["batch_size"] for batch in figures["batches"]] != [2, 3]:
            errors.append(f"batches {figures['batches']}")
        for batch in figures["batches"]:
            if not (batch["host_engine_us_per_step"] > 0 and batch["host_worker_us_per_step"] > 0):
                errors.append(f"host time per step: {batch}")
        for rank, part in enumerate(figures["profile"]):
            total = sum(part["parts_ms"].values()) + part["idle_ms"]
            if part["rank"] != rank or part["decode_steps"] != _STEPS or abs(total - part["step_ms"]) > 1e-6:
                errors.append(f"profile {part}")
        for text in "Batch size: 3", "Host CPU per step: ", "Profile of rank 1: 8 steps", "  attention ":
            if text not in done.stdout:
                errors.append(f"{text!r} is not in the report:\n{done.stdout}")

        profile[1] = os.path.join(folder, "generate.json")
        done = run([trireme, "generate", *model, "Once upon", *profile, "--max-new-tokens", 30, "--ignore-eos"])
        errors += check_trace(profile[1], 2, "generate")
        if "Profile of rank 0: 8 steps" not in done.stderr:
            errors.append(f"generate says nothing of the profile: {done.stderr}")
    print("\n".join(errors) or "traces hold every rank; reports and figures their parts")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
