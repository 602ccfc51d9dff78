#!/usr/bin/env python3
"""Makes tests/runtime/golden/sampling.json and sampling.bin: exact distributions to draw from.

    python scripts/goldens/make_sampling_goldens.py        (needs torch, transformers 5)

transformers builds its own list of processors and warpers (generate()'s order) and applies it in float64 to three
rows of float32 logits: one like a language model's, one nearly flat, one peaked. Presence and frequency penalties
are not in transformers; they are vLLM's formula, as a custom processor (generate() puts those after its own
processors, before its warpers).
  "defaults"   of a setting's fields: everything off
  "settings"   what is asked, the history (prompt, then drawn ids) and the lists
  "beams"      the same for beam search: the processors run on log_softmax, no warpers
  arrays       logits [rows, vocab]; probabilities [settings, rows, vocab]; beam_ids, beam_values, beam_logprobs
               [beams, rows, 32]: the best by processed log-probability (id -1: -inf), and the raw log-probability
Every setting is checked to lie clear of its borders: other float32 rounding keeps the same ids.
"""

import pathlib
import types

import numpy
import torch
from golden_file import GoldenFile
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "runtime" / "golden"
_VOCAB, _TOP = 512, 32
_PROMPT = [3, 17, 17, 80, 121, 200, 305, 306, 411, 500]
_DRAWN = [17, 44, 44, 44, 121, 260, 307, 307, 466, 509]

_DEFAULTS = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0, "penalize_prompt": 1, "prompt": [], "drawn": [],
    "bias_ids": [], "bias_values": [], "suppressed": [], "allowed": [],
}  # fmt: skip
_HISTORY = {"prompt": _PROMPT, "drawn": _DRAWN}


def _even_ids():
    return list(range(0, _VOCAB, 2))


_SETTINGS = {
    "temperature 0.7": {"temperature": 0.7},
    "temperature 1.5": {"temperature": 1.5},
    "temperature tiny": {"temperature": 0.002},
    "top-k 1": {"top_k": 1},
    "top-k 5": {"top_k": 5},
    "top-k 50, warm": {"top_k": 50, "temperature": 1.2},
    "top-p 0.1": {"top_p": 0.1},
    "top-p 0.9, cool": {"top_p": 0.9, "temperature": 0.8},
    "top-p 0.999": {"top_p": 0.999},
    "min-p 0.05": {"min_p": 0.05},
    "min-p 0.5, warm": {"min_p": 0.5, "temperature": 1.3},
    "typical 0.2": {"typical_p": 0.2},
    "typical 0.95": {"typical_p": 0.95},
    "all cuts": {"temperature": 0.9, "top_k": 100, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.9},
    "all cuts, top-k within the candidates": {"top_k": 40, "top_p": 0.8, "min_p": 0.05, "typical_p": 0.8},
    "penalties": {"repetition_penalty": 1.3, "presence_penalty": 0.6, "frequency_penalty": 0.35, **_HISTORY},
    "penalties without the prompt, top-p": {
        "repetition_penalty": 1.8, "presence_penalty": -0.4, "frequency_penalty": -0.2, "penalize_prompt": 0,
        "top_p": 0.9, **_HISTORY,
    },
    "bias, suppressed ids": {
        "bias_ids": [7, 44, 121, 300, 450], "bias_values": [2.5, -1.5, 4.0, -100.0, 1.25],
        "suppressed": [0, 5, 121, 333], "temperature": 1.1,
    },
    "allowed ids, top-k": {"allowed": _even_ids(), "top_k": 70},
    "everything": {
        "temperature": 1.4, "top_k": 120, "top_p": 0.97, "min_p": 0.01, "typical_p": 0.9, "repetition_penalty": 1.2,
        "presence_penalty": 0.3, "frequency_penalty": 0.2, "bias_ids": [6, 44, 260], "bias_values": [1.5, 3.0, -2.0],
        "suppressed": [2, 44], "allowed": _even_ids(), **_HISTORY,
    },
}  # fmt: skip

_BEAMS = {
    "plain": {},
    "repetition": {"repetition_penalty": 1.4, **_HISTORY},
    "bias above 0, repetition": {
        "repetition_penalty": 1.3, "bias_ids": [17, 44, 90, 121], "bias_values": [15.0, 12.5, -3.0, 9.0], **_HISTORY,
    },
    "suppressed ids": {"suppressed": [1, 9, 44, 121, 260], "bias_ids": [10], "bias_values": [0.75]},
    "fewer allowed than asked": {"allowed": list(range(5, _VOCAB, 25))},
    "all": {
        "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.25, "bias_ids": [17, 300],
        "bias_values": [2.0, 3.0], "suppressed": [4, 80], "allowed": _even_ids() + [17, 121, 307], **_HISTORY,
    },
    "without the prompt": {
        "repetition_penalty": 1.5, "presence_penalty": -0.5, "frequency_penalty": -0.1, "penalize_prompt": 0,
        **_HISTORY,
    },
}  # fmt: skip


class CountPenalties(LogitsProcessor):
    """vLLM: logits -= frequency_penalty * count + presence_penalty * (count > 0), over the drawn ids."""

    def __init__(self, setting):
        self._counts = torch.bincount(torch.tensor(setting["drawn"], dtype=torch.int64), minlength=_VOCAB).double()
        self._setting = setting

    def __call__(self, input_ids, scores):
        frequency, presence = self._setting["frequency_penalty"], self._setting["presence_penalty"]
        return scores - frequency * self._counts - presence * (self._counts > 0)


class Processors(GenerationMixin):
    """Enough of a model for generate()'s own list."""

    config = types.SimpleNamespace(is_encoder_decoder=False)

    def of(self, setting, sampling):
        length = len(setting["prompt"]) + len(setting["drawn"])
        config = GenerationConfig(
            do_sample=sampling, num_beams=1, num_return_sequences=1, temperature=setting["temperature"],
            top_k=setting["top_k"] or None, top_p=setting["top_p"], typical_p=setting["typical_p"],
            min_p=setting["min_p"] or None, repetition_penalty=setting["repetition_penalty"],
        )  # fmt: skip
        if setting["bias_ids"]:
            pairs = zip(setting["bias_ids"], setting["bias_values"])
            config.sequence_bias = [[[token], bias] for token, bias in pairs]
        if setting["suppressed"]:  # half as end tokens that may not come yet, half as bad words
            config._eos_token_tensor = torch.tensor(setting["suppressed"][::2])
            config.min_new_tokens = 1
            config.bad_words_ids = [[token] for token in setting["suppressed"][1::2]]
        return self._get_logits_processor(
            config,
            input_ids_seq_length=length,
            prefix_allowed_tokens_fn=(lambda *_: setting["allowed"]) if setting["allowed"] else None,
            logits_processor=LogitsProcessorList([CountPenalties(setting)]) if setting["drawn"] else None,
            # transformers skips the prompt by the number of its ids, as an attention mask's left padding
            model_kwargs=None if setting["penalize_prompt"] else {"attention_mask": prompt_mask(setting, length)},
        )


def prompt_mask(setting, length):
    return (torch.arange(length) >= len(setting["prompt"])).long()[None]


def as_float32(setting):
    return {key: float(numpy.float32(value)) if isinstance(value, float) else value for key, value in setting.items()}


def complete(setting):
    return as_float32({**_DEFAULTS, **setting})


def apply(setting, scores, sampling):
    ids = torch.tensor([setting["prompt"] + setting["drawn"]], dtype=torch.int64)
    return Processors().of(setting, sampling)(ids, scores[None].clone())[0]


def distribution(setting, logits):
    return torch.softmax(apply(setting, logits, True), dim=-1)


def check_clear_of_borders(name, setting, logits):
    kept = distribution(setting, logits) > 0
    for factor in (1 - 2e-6, 1 + 2e-6):
        for key in ("top_p", "min_p", "typical_p"):
            if setting[key] in (0, 1):
                continue
            moved = dict(setting, **{key: setting[key] * factor})
            assert torch.equal(distribution(moved, logits) > 0, kept), f"{name}: {key} lies on a border"
    assert torch.equal(distribution(setting, logits * (1 + 1e-6)) > 0, kept), f"{name}: lies on a border"


def make_logits():
    generator = torch.Generator().manual_seed(20)
    deviations = torch.tensor([[1.6], [0.02], [4.0]])
    logits = torch.randn(3, _VOCAB, generator=generator) * deviations
    for row in logits:
        ordered = row.sort().values
        assert (ordered[1:] - ordered[:-1]).min() > 0, "ties"
    return logits


def add_draws(golden, rows):
    probabilities = []
    for name, setting in _SETTINGS.items():
        for row in rows:
            check_clear_of_borders(name, complete(setting), row)
            probabilities.append(distribution(complete(setting), row))
    golden.add("probabilities", torch.stack(probabilities).reshape(len(_SETTINGS), len(rows), _VOCAB).numpy())


def add_beams(golden, rows):
    ids, values, raw = [], [], []
    for name, setting in _BEAMS.items():
        for row in rows:
            logprobs = torch.log_softmax(row, dim=-1)
            best = apply(complete(setting), logprobs, False).sort(descending=True)
            found = best.values[: _TOP + 1]
            gaps = (found[:-1] - found[1:])[found[1:] > -torch.inf]
            assert gaps.min() > 2e-6, f"{name}: ties"
            ids.append(torch.where(found[:_TOP] > -torch.inf, best.indices[:_TOP], -1))
            values.append(found[:_TOP])
            raw.append(torch.where(found[:_TOP] > -torch.inf, logprobs[best.indices[:_TOP]], -torch.inf))
    shape = (len(_BEAMS), len(rows), _TOP)
    golden.add("beam_ids", torch.stack(ids).reshape(shape).numpy(), "<i4")
    golden.add("beam_values", torch.stack(values).reshape(shape).numpy())
    golden.add("beam_logprobs", torch.stack(raw).reshape(shape).numpy())


def main():
    golden = GoldenFile()
    logits = make_logits()
    golden.add("logits", logits.numpy())
    add_draws(golden, logits.double())
    add_beams(golden, logits.double())
    document = {
        "vocab": _VOCAB,
        "rows": len(logits),
        "defaults": _DEFAULTS,
        "settings": [{"name": name, **as_float32(setting)} for name, setting in _SETTINGS.items()],
        "beams": [{"name": name, **as_float32(setting)} for name, setting in _BEAMS.items()],
    }
    _FOLDER.mkdir(parents=True, exist_ok=True)
    golden.write(_FOLDER / "sampling", document)


if __name__ == "__main__":
    main()
