#!/usr/bin/env python3
"""Makes tests/checkpoint/golden/rope.json and rope.bin: RoPE frequencies as transformers computes them.

    python scripts/goldens/make_rope_goldens.py        (needs torch, transformers 5)

"cases": a config.json's text, the length it is asked about, the array of its frequencies and the factor of cos and
sin (layout of arrays: golden_file.py). The figures are those of published models where they exist.
"""

import json
import pathlib

import transformers
from golden_file import GoldenFile
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "checkpoint" / "golden"
_COMMON = dict(hidden_size=512, num_attention_heads=4, intermediate_size=64, num_hidden_layers=1, vocab_size=100,
               bos_token_id=0, eos_token_id=1, pad_token_id=None)
_LONG = [1.0 + 0.37 * i * i for i in range(48)]
_SHORT = [1.0 + 0.01 * i for i in range(48)]


def _rope(rope_type, theta=10000.0, **figures):
    return dict(rope_parameters=dict(rope_type=rope_type, rope_theta=theta, **figures))


_CASES = [  # name, config class, keys, length
    ("linear", "LlamaConfig", dict(max_position_embeddings=4096) | _rope("linear", factor=4.0), 16384),
    ("dynamic within", "LlamaConfig", dict(max_position_embeddings=2048) | _rope("dynamic", factor=4.0), 2048),
    ("dynamic beyond", "LlamaConfig", dict(max_position_embeddings=2048) | _rope("dynamic", factor=4.0), 6000),
    ("llama3", "LlamaConfig", dict(max_position_embeddings=131072) | _rope(
        "llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192), 131072),
    ("yarn of Qwen", "Qwen3Config", dict(max_position_embeddings=40960) | _rope(
        "yarn", 1000000.0, factor=4.0, original_max_position_embeddings=32768), 131072),
    ("yarn of DeepSeek", "LlamaConfig", dict(max_position_embeddings=163840) | _rope(
        "yarn", factor=40.0, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=1.0,
        mscale_all_dim=0.707), 163840),
    ("yarn untruncated", "LlamaConfig", dict(max_position_embeddings=131072) | _rope(
        "yarn", 150000.0, factor=32.0, original_max_position_embeddings=4096, beta_fast=32.0, beta_slow=1.0,
        truncate=False, attention_factor=1.25), 131072),
    ("longrope short", "Phi3Config", dict(max_position_embeddings=131072, original_max_position_embeddings=4096) | _rope(
        "longrope", partial_rotary_factor=0.75, short_factor=_SHORT, long_factor=_LONG), 4096),
    ("longrope long", "Phi3Config", dict(max_position_embeddings=131072, original_max_position_embeddings=4096) | _rope(
        "longrope", partial_rotary_factor=0.75, short_factor=_SHORT, long_factor=_LONG), 131072),
]


def main():
    goldens, cases = GoldenFile(), []
    for name, kind, keys, length in _CASES:
        config = getattr(transformers, kind)(**(_COMMON | keys))
        architecture = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__
        init = ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]]
        frequencies, factor = init(config, "cpu", seq_len=length)
        text = json.dumps(_COMMON | keys | dict(architectures=[architecture], head_dim=config.hidden_size // 4))
        cases.append({"name": name, "config": text, "length": length, "attention_factor": factor,
                      "frequencies": goldens.add(name, frequencies.numpy())})
    goldens.write(_FOLDER / "rope", {"cases": cases})


if __name__ == "__main__":
    main()
