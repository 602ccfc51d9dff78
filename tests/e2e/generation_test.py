"""Beams, penalties and bans of SmolLM2 (the real GGUF) against transformers' generate: by flags, and by JSONL keys.

    generation_test.py TRIREME        TRIREME_SMOLLM2_GGUF names the file (scripts/fetch_model.sh)

At tp 1 each setting is a run with its flags; at tp 2, tp 3 and pp 2 all settings are lines of one run, with
Hugging Face's keys.
"""

import json
import os
import sys

import cli

_SCORE_TOLERANCE = 1e-4


def prompt_line(prompt):
    return {"messages": [{"role": "user", "content": prompt["text"]}]} if prompt["chat"] else {"prompt": prompt["text"]}


def check(case, prompt, line, where):
    """What is wrong with one output line: texts."""
    where = f"{where} {prompt['text']!r}"
    if "error" in line:
        return [f"{where}: {line['error']}"]
    if line["prompt_ids"] != prompt["ids"]:
        return [f"{where}: prompt ids {line['prompt_ids']} instead of {prompt['ids']}"]
    got = [output["token_ids"] for output in line["outputs"]]
    if got != case["outputs"]:
        return [f"{where}: got {got}, expected {case['outputs']} (gap {case['gap']})"]
    scores = [output["score"] for output in line["outputs"]] if "scores" in case else []
    wrong = [pair for pair in zip(scores, case.get("scores", [])) if abs(pair[0] - pair[1]) > _SCORE_TOLERANCE]
    return [f"{where}: scores {scores}, expected {case['scores']}"] if wrong else []


def main():
    trireme, model = sys.argv[1], os.environ.get("TRIREME_SMOLLM2_GGUF", "")
    if not os.path.exists(model):
        print("skipped: TRIREME_SMOLLM2_GGUF does not name the model file (scripts/fetch_model.sh fetches it)")
        return 77
    with open(os.path.join(cli.model("smollm2"), "generation.json"), encoding="utf-8") as file:
        goldens = json.load(file)
    prompts, settings, cases = goldens["prompts"], goldens["settings"], goldens["cases"]
    common = ["--model", model, "--temperature", 0, "--max-new-tokens", goldens["steps"], "--max-model-len", 256,
              "--device", "cpu"]
    errors = []
    for number, setting in enumerate(settings):
        mine = [case for case in cases if case["setting"] == number]
        lines = cli.generate(trireme, [*common, *setting["flags"]], [prompt_line(prompts[case["prompt"]]) for case in mine])
        for case, line in zip(mine, lines, strict=True):
            errors += check(case, prompts[case["prompt"]], line, f"tp 1 {' '.join(setting['flags'])}")
    asked = [prompt_line(prompts[case["prompt"]]) | settings[case["setting"]]["keys"] for case in cases]
    for layout in ["-tp", 2], ["-tp", 3], ["-pp", 2]:
        for case, line in zip(cases, cli.generate(trireme, [*common, *layout], asked), strict=True):
            errors += check(case, prompts[case["prompt"]], line, f"{layout} {settings[case['setting']]['keys']}")
    print("\n".join(errors) or f"{len(cases)} outputs equal transformers', by {len(settings)} settings of flags and by JSONL keys")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
