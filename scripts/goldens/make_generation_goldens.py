#!/usr/bin/env python3
"""Makes tests/models/generation/NAME.json for tiny-llama, tiny-gpt2 and their -bf16 models: what transformers' generate gives for beam search and for
everything that changes which ids may be drawn.

    python scripts/goldens/make_generation_goldens.py [name ...]      (needs torch, transformers 5, tokenizers)

transformers 5 in float32 on the CPU with eager attention and its cache; see generation_oracle.py. The file:
  "model"
  "prompts"   lists of ids; some share their beginnings
  "cases"     one entry each, with the request's fields where they differ from the default:
    "name"; "prompt": index; "eos": end-of-sequence ids; "max_new_tokens", "min_new_tokens"
    "beam_width", "n" (num_return_sequences), "length_penalty", "early_stopping": false, true or "never"
    "repetition_penalty", "no_repeat_ngram_size", "bad_words": [[id ...] ...], "logit_bias": [[id, value] ...]
    "allowed_token_ids", "stop": strings
    "outputs": [[id ...] ...] without the prompt, the end id included; "scores": of beams (sequences_scores)
    "gap": the closest decision of the run (generation_oracle.py)
Without "beam_width" a case is greedy. A case's prompt and its ids are drawn anew until its gap is at least 0.0005, which
is far above float32's rounding of these scores (about 0.00001), and until what it is about matters: its outputs differ
from those of the same case without the feature; of the three ways of early stopping at least two differ in one of all their
beam_width beams (not always with penalty 0 and width 2, where that hardly ever happens).
The -bf16 models are for GPUs, whose rounding is coarser: a few short cases with gaps of at least 0.1 (beams: 0.005).
"""

import json
import pathlib
import random
import sys

import torch
import transformers
from generation_oracle import Oracle
from golden_file import compact_json

_ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "models"
_MIN_GAP = 0.0005
_TRIES = 600  # of a case
_PROMPT_LENGTHS = [1, 2, 3, 5, 8, 13, 15, 16, 17, 21, 31, 32, 33, 40, 47]
_BEAMS = {"beam_width": 4, "n": 2}
_FEATURES = ["repetition_penalty", "no_repeat_ngram_size", "bad_words", "min_new_tokens", "logit_bias",
             "allowed_token_ids", "stop"]


class CaseMaker:
    def __init__(self, name, seed, min_gap=_MIN_GAP):
        self.min_gap = min_gap
        folder = _ROOT / name
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                                  attn_implementation="eager")
        self.oracle = Oracle(model, transformers.AutoTokenizer.from_pretrained(folder))
        self.vocab_size, self.random = model.config.vocab_size, random.Random(seed)
        self.prompts, self.cases = [], []
        shared = self.random_ids(40)
        for length in _PROMPT_LENGTHS:
            self.prompts += [self.random_ids(length), (shared[:length * 2 // 3] + self.random_ids(length))[:length]]
        for index in range(8):  # what comes next has come before: for the bans of n-grams
            self.prompts.append(self.repeating(2 + index % 3))

    def random_ids(self, count):
        return [self.random.randrange(3, self.vocab_size) for _ in range(count)]

    def repeating(self, count):
        tail, middle, following = self.random_ids(count), self.random_ids(10), 3
        for _ in range(4):
            prompt = tail + [following] + middle + tail
            following = self.oracle.run(prompt, {"max_new_tokens": 1})["outputs"][0][0]
        return tail + [following] + middle + tail

    # What a case may have; each looks at what the case gives without it.

    def eos(self, plain, case):
        row = self.random.choice(plain["outputs"])
        return [self.random.choice(row) for _ in range(self.random.choice((1, 1, 2)))]

    def early_eos(self, prompt, width):
        """Ids with which beams of low rank end early, while better ones run on."""
        length = self.random.choice((1, 1, 2, 2, 3, 4, 6))
        rows = self.oracle.run(prompt, {"beam_width": width, "n": width, "max_new_tokens": length})["outputs"]
        return sorted({row[-1] for row in self.random.sample(rows, self.random.choice((1, 2, 2)))})

    def repetition_penalty(self, plain, case):
        return self.random.choice((1.1, 1.3, 2.0, 0.8))

    def no_repeat_ngram_size(self, plain, case):
        return self.random.choice((1, 2, 3))

    def bad_words(self, plain, case):
        words = []
        for row in plain["outputs"][:2] + plain["outputs"][:1]:
            start, length = self.random.randrange(len(row)), self.random.choice((1, 1, 2, 2, 3))
            words.append(row[start:start + length])
        ends = [[token] for token in case.get("eos", [])]
        return [word for word in words if word not in ends]

    def min_new_tokens(self, plain, case):
        return min(len(plain["outputs"][0]) + self.random.randrange(1, 6), case["max_new_tokens"])

    def logit_bias(self, plain, case):
        pushed_down = self.random.sample(plain["outputs"][0], min(2, len(plain["outputs"][0])))
        pushed_up = self.random_ids(4)
        values = {token: -self.random.choice((1.5, 4.0, 100.0)) for token in pushed_down}
        values |= {token: self.random.choice((0.75, 2.5, 3.0)) for token in pushed_up}
        return [[token, value] for token, value in values.items()]

    def allowed_token_ids(self, plain, case):
        allowed = set(self.random_ids(self.random.choice((45, 80, 200)))) | set(case.get("eos", []))
        return sorted(allowed)

    def stop(self, plain, case):
        """A few plain letters from the middle of an output, that the prompt's end cannot be the beginning of."""
        text = self.oracle.tokenizer.decode(self.random.choice(plain["outputs"]))
        start, length = self.random.randrange(max(1, len(text))), self.random.choice((1, 2, 2, 3, 4))
        return [text[start:start + length]]

    def valid(self, case, prompt):
        for string in case.get("stop", []):
            if not string or not all(char.isascii() and (char.isalnum() or char == " ") for char in string):
                return False
            if string[0] in self.oracle.tokenizer.decode(prompt[-8:]):
                return False
        return True

    def draw(self, name, case, features, matters):
        """Adds a case with all `features` that `matters`: a function of (its result, results without one feature)."""
        for _ in range(_TRIES):
            index = self.random.randrange(len(self.prompts))
            prompt, full = self.prompts[index], dict(case)
            for feature in features:
                full[feature] = getattr(self, feature)(self.oracle.run(prompt, full), full)
                if not full[feature]:
                    break
            if not all(full.get(feature) for feature in features) or not self.valid(full, prompt):
                continue
            result = self.oracle.run(prompt, full)
            if result["gap"] < self.min_gap:
                continue
            without = [{key: value for key, value in full.items() if key != feature} for feature in features]
            if matters(result, [self.oracle.run(prompt, other) for other in without]):
                return self.add(name, index, full, result)
        raise SystemExit(f"no clear case for {name}")

    def add(self, name, prompt, case, result):
        print(f"{len(self.cases)} {name}: gap {result['gap']}, run {self.oracle.runs}", flush=True)
        self.cases.append({"name": name, "prompt": prompt} | case | result)

    def draw_stopping(self, case):
        """The three ways of early stopping over one prompt with end ids."""
        width = case["beam_width"]
        for attempt in range(_TRIES):
            index = self.random.randrange(len(self.prompts))
            case["max_new_tokens"] = self.random.randrange(8, 25)
            prompt = self.prompts[index]
            eos = self.early_eos(prompt, width)
            if case["length_penalty"] == 0:  # only beams that end again and again make a difference
                case["logit_bias"] = [[token, self.random.choice((2.0, 4.0, 6.0, 8.0))] for token in eos]
            full = [case | {"eos": eos, "early_stopping": stopping} for stopping in (False, True, "never")]
            every = [self.oracle.run(prompt, one | {"n": width}) for one in full]
            if min(result["gap"] for result in every) < self.min_gap:
                continue
            differ = len({json.dumps(result["outputs"]) for result in every}) > 1
            if not differ and attempt < _TRIES // 4:
                continue
            results = [self.oracle.run(prompt, one) for one in full]
            for one, result in zip(full, results):
                self.add(f"beams {width} penalty {case['length_penalty']} stopping {one['early_stopping']} n {case['n']}",
                         index, one, result)
            return
        raise SystemExit(f"no clear case for {case}")

    def make(self):
        for width in (2, 3, 4, 5):
            for penalty in (0.0, 0.6, 1.0, 1.4):
                for n in range(1, min(width, 3) + 1):
                    self.draw_stopping({"beam_width": width, "length_penalty": penalty, "n": n})
        every = lambda result, others: all(result["outputs"] != other["outputs"] for other in others)
        for features in ([], ["eos"]):
            for count in (8, 16, 24):
                self.draw(f"greedy {count} {' '.join(features)}".strip(), {"max_new_tokens": count}, features, every)
        for name in _FEATURES:
            for kind, base in (("greedy", {}), ("beams", _BEAMS), ("beams", _BEAMS | {"early_stopping": True})):
                features = ["eos", name] if name == "min_new_tokens" or (base and name != "stop") else [name]
                for count in (12, 20):
                    self.draw(f"{kind} {name}", {"max_new_tokens": count} | base, features, every)
        for size in (1, 2, 3):
            for kind, base in (("greedy", {}), ("beams", _BEAMS)):
                self.draw(f"{kind} no_repeat_ngram_size {size}",
                          {"max_new_tokens": 24, "no_repeat_ngram_size": size} | base, [],
                          lambda result, others: True)
        self.make_mixed()

    def make_coarse(self):
        """For GPUs: greedy and beams alone, and with each feature that does not need another one."""
        matters = lambda result, others: all(result["outputs"] != other["outputs"] for other in others)
        for features in ([], ["repetition_penalty"], ["bad_words"], ["logit_bias"], ["allowed_token_ids"]):
            for kind, base, gap in (("greedy", {}, 0.1), ("beams", {"beam_width": 3, "n": 2}, 0.005)):
                self.min_gap = gap
                for count in (4, 6):
                    self.draw(" ".join([kind, *features]), {"max_new_tokens": count} | base, features, matters)

    def make_mixed(self):
        """Two or three features and all of them at once; at least one of them matters."""
        some = lambda result, others: any(result["outputs"] != other["outputs"] for other in others)
        for number in range(16):
            features = ["eos"] + self.random.sample(_FEATURES, 2 + number % 2)
            base = _BEAMS | {"early_stopping": self.random.choice((False, True, "never"))} if number % 2 else {}
            self.draw(f"{'beams' if base else 'greedy'} {' + '.join(features[1:])}", {"max_new_tokens": 20} | base,
                      features, some)
        for base in ({}, _BEAMS, {"beam_width": 5, "n": 3, "length_penalty": 0.6, "early_stopping": "never"}):
            self.draw(f"{'beams' if base else 'greedy'} with everything", {"max_new_tokens": 24} | base,
                      ["eos", *_FEATURES], some)


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for seed, name in enumerate(("tiny-llama", "tiny-gpt2", "tiny-llama-bf16", "tiny-gpt2-bf16")):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        maker = CaseMaker(name, 4000 + seed)
        (maker.make_coarse if name.endswith("bf16") else maker.make)()
        path = _ROOT / "generation" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(compact_json({"model": name, "prompts": maker.prompts, "cases": maker.cases}) + "\n")
        path.chmod(0o644)
        print(f"{name}: {len(maker.cases)} cases, {maker.oracle.runs} runs, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
