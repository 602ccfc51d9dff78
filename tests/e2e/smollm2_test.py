"""Greedy text of SmolLM2 (the real GGUF) against transformers: 20 prompts x 64 tokens, at several tp x pp.

    smollm2_test.py TRIREME [tp,pp ...]        TRIREME_SMOLLM2_GGUF names the file (scripts/fetch_model.sh)
"""

import json
import os
import sys

import cli

_SMALL_GAP = 1e-3   # where the reference's two best are closer than this, the comparison stops


def check(prompt, line, shape):
    if line["prompt_ids"] != prompt["ids"]:
        return [f"{shape} {prompt['text']!r}: prompt ids {line['prompt_ids']} instead of {prompt['ids']}"]
    got, wanted = line["outputs"][0]["token_ids"], prompt["generated"]
    for step, (id_wanted, gap) in enumerate(zip(wanted, prompt["gaps"])):
        if gap < _SMALL_GAP:
            return []
        if step >= len(got) or got[step] != id_wanted:
            return [f"{shape} {prompt['text']!r}: step {step}: got {got[step:step + 4]}, expected {wanted[step:step + 4]} (gap {gap})"]
    return [] if len(got) == len(wanted) else [f"{shape} {prompt['text']!r}: {len(got)} tokens instead of {len(wanted)}"]


def main():
    trireme, shapes = sys.argv[1], [tuple(map(int, shape.split(","))) for shape in sys.argv[2:]] or [(1, 1)]
    model = os.environ.get("TRIREME_SMOLLM2_GGUF", "")
    if not os.path.exists(model):
        print("skipped: TRIREME_SMOLLM2_GGUF does not name the model file (scripts/fetch_model.sh fetches it)")
        return 77
    with open(os.path.join(cli.model("smollm2"), "goldens.json"), encoding="utf-8") as file:
        goldens = json.load(file)
    lines = [{"messages": [{"role": "user", "content": p["text"]}]} if p["chat"] else {"prompt": p["text"]} for p in goldens["prompts"]]
    errors = []
    for tp, pp in shapes:
        results = cli.generate(trireme, ["--model", model, "-tp", tp, "-pp", pp, "--temperature", 0, "--max-new-tokens", goldens["steps"],
                                         "--max-model-len", 1024, "--device", "cpu"], lines)
        for prompt, line in zip(goldens["prompts"], results, strict=True):
            errors += check(prompt, line, f"tp {tp} pp {pp}")
        answer = results[0]["outputs"][0]["text"]
        print(f"tp {tp} pp {pp}: {answer!r}")
        if "Paris" not in answer:
            errors.append("the capital of France is not Paris")
    print("\n".join(errors) or f"{len(lines)} prompts equal transformers' text at {shapes}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
