#!/usr/bin/env python3
"""Makes tests/models/smollm2/generation.json: SmolLM2's beams, penalties and bans, as transformers' generate gives them.

    python scripts/goldens/make_smollm2_generation_goldens.py FILE.gguf  (torch, transformers 5, gguf, accelerate, jinja2)

The model is read as make_smollm2_goldens.py says, the runs are those of generation_oracle.py. The file:
  "settings"   what is asked for: "flags" of `trireme generate`, the same as "keys" of a JSONL line (Hugging Face's names)
  "prompts"    "chat", "text" as in goldens.json, and "ids"
  "cases"      "setting", "prompt": indices; "outputs": [[id ...] ...], "scores" of beams; "gap"
Each setting has the first 10 prompts whose gap is at least 0.001, so that no rounding error turns an id.
"""

import pathlib
import sys

import torch
import transformers
from generation_oracle import Oracle
from golden_file import compact_json
from make_smollm2_goldens import _CHAT, _PLAIN, load_model

_OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "models" / "smollm2" / "generation.json"
_STEPS, _PROMPTS, _MIN_GAP = 24, 10, 0.001
_BAD_WORDS = ["the", "is"]
# Keys of a case (make_generation_goldens.py) -> keys of a JSONL line and flags, where the names differ.
_KEYS = {"beam_width": "num_beams", "n": "num_return_sequences", "bad_words": "bad_words_ids"}


def settings(tokenizer):
    """Fields of cases; the ids of " of" and of " and" are drawn more and less often."""
    word = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    bad_words = [ids for bad in _BAD_WORDS for ids in (word(bad), word(" " + bad))]
    bias = [[word(" of")[0], -6.0], [word(" and")[0], 3.0], [word(".")[0], 1.5]]
    return [
        {},
        {"beam_width": 4, "n": 2, "length_penalty": 1.2, "early_stopping": True},
        {"repetition_penalty": 1.2},
        {"beam_width": 4, "no_repeat_ngram_size": 2, "early_stopping": "never"},
        {"beam_width": 3, "bad_words": bad_words, "repetition_penalty": 1.1},
        {"beam_width": 4, "min_new_tokens": 20, "length_penalty": 0.5},
        {"logit_bias": bias},
    ]


def flags(fields):
    """bad_words as texts: the program makes the same ids of them."""
    result = []
    for name, value in fields.items():
        if name == "bad_words":
            result += [part for word in _BAD_WORDS for part in ("--bad-words", word)]
        elif name == "logit_bias":
            result += ["--logit-bias", ",".join(f"{token}={bias}" for token, bias in value)]
        else:
            result += ["--" + name.replace("_", "-"), str(value).lower()]
    return result


def keys(fields):
    result = {_KEYS.get(name, name): value for name, value in fields.items()}
    if "logit_bias" in result:
        result["logit_bias"] = {str(token): bias for token, bias in result["logit_bias"]}
    return result


def main():
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    path = pathlib.Path(sys.argv[1]).resolve()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    oracle = Oracle(load_model(path), tokenizer)
    prompts = []
    for chat, text in [pair for both in zip([(False, t) for t in _PLAIN], [(True, t) for t in _CHAT]) for pair in both]:
        message = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True) if chat else text
        prompts.append({"chat": chat, "text": text, "ids": tokenizer(rendered, add_special_tokens=False).input_ids})
    cases, all_settings = [], settings(tokenizer)
    for number, fields in enumerate(all_settings):
        clear = 0
        for index, prompt in enumerate(prompts):
            case = fields | {"max_new_tokens": _STEPS, "eos": [tokenizer.eos_token_id]}
            result = oracle.run(prompt["ids"], case)
            print(flags(fields), prompt["text"], result["gap"], repr(tokenizer.decode(result["outputs"][0])), flush=True)
            if result["gap"] >= _MIN_GAP and clear < _PROMPTS:
                cases.append({"setting": number, "prompt": index} | result)
                clear += 1
            if clear == _PROMPTS:
                break
        assert clear == _PROMPTS, fields
    document = {"steps": _STEPS, "settings": [{"flags": flags(one), "keys": keys(one)} for one in all_settings],
                "prompts": prompts, "cases": cases}
    _OUT.write_text(compact_json(document) + "\n")
    _OUT.chmod(0o644)


if __name__ == "__main__":
    main()
