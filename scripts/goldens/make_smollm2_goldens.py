#!/usr/bin/env python3
"""Makes tests/models/smollm2/goldens.json: what transformers generates from SmolLM2-135M-Instruct.Q4_1.gguf.

    python scripts/goldens/make_smollm2_goldens.py FILE.gguf    (torch, transformers 5, gguf, accelerate, jinja2)

The weights are dequantized with gguf.quants.dequantize, the q and k rows put back into Hugging Face's order,
and the model runs in float32 with eager attention. goldens.json:
  "file", "sha256"   of the GGUF
  "steps": 64
  "prompts": 20 entries:
    "chat"       true: "text" is one user message, rendered with the file's own chat template
    "text"       the prompt or the message
    "rendered"   for chat prompts: the text that is tokenized
    "ids"        the prompt's ids
    "generated"  greedy ids, 64 or fewer: the last one is then an end-of-sequence id
    "gaps"       difference of the two largest logits at each step (compare ids up to the first gap under 1e-3)
    "answer"     the generated text without special tokens
    "lead_logits"  [[id, logit], ...] the five largest logits after the prompt
"""

import hashlib
import pathlib
import sys

import gguf
import numpy
import torch
import transformers
from golden_file import compact_json

_OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "models" / "smollm2" / "goldens.json"
_STEPS = 64
_CHAT = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Name three colours of the rainbow.",
    "Explain what a compiler does.",
    "How many legs does a spider have?",
    "Translate 'good morning' into Spanish.",
    "Give me a recipe for pancakes.",
    "What is 12 + 30?",
    "Write a Python function that reverses a string.",
    "Why is the sky blue?",
    "Tell me a short story about a lighthouse keeper.",
    "List the planets of the solar system, in order.",
]
_PLAIN = [
    "The quick brown fox",
    "Once upon a time there was",
    "def fibonacci(n):\n",
    "In 1969, the first people to walk on the Moon",
    "To be, or not to be, that is",
    "1, 2, 3, 4, 5, 6,",
    "Water boils at a temperature of",
    "La capitale de la France est",
]
# GGUF's names, Hugging Face's names below model.layers.N.
_LAYER_NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def hugging_face_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{suffix}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_LAYER_NAMES[part]}.{suffix}"


def unpermute(rows, heads):
    """GGUF orders a head's rows as pairs (0, half, 1, half + 1, ...); Hugging Face as two halves."""
    head_dim = rows.shape[0] // heads
    pairs = rows.reshape(heads, head_dim // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def read_weights(reader, heads, kv_heads):
    state = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        values = values.reshape(tuple(reversed([int(dim) for dim in tensor.shape])))
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            values = unpermute(values, heads if ".attn_q." in tensor.name else kv_heads)
        state[hugging_face_name(tensor.name)] = torch.from_numpy(numpy.ascontiguousarray(values))
    return state


def load_model(path):
    reader = gguf.GGUFReader(path)
    config = transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    state = read_weights(reader, config.num_attention_heads, config.num_key_value_heads)
    config.tie_word_embeddings = "lm_head.weight" not in state
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    compare_with_transformers(path, model)
    return model.eval()


def compare_with_transformers(path, model):
    """transformers has a GGUF loader of its own: both must have read the same numbers."""
    other = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    theirs = other.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name]), name


@torch.no_grad()
def greedy(model, ids, eos):
    generated, gaps, lead, cache, step = [], [], None, None, torch.tensor([ids])
    while len(generated) < _STEPS:
        out = model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        top = torch.topk(out.logits[0, -1], 5)
        lead = lead or [[int(index), round(float(value), 4)] for index, value in zip(top.indices, top.values)]
        generated.append(int(top.indices[0]))
        gaps.append(round(float(top.values[0] - top.values[1]), 5))
        if generated[-1] == eos:
            break
        step = top.indices[:1].view(1, 1)
    return generated, gaps, lead


def main():
    torch.set_num_threads(2)
    path = pathlib.Path(sys.argv[1]).resolve()
    model = load_model(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    entries = []
    for chat, text in [(True, text) for text in _CHAT] + [(False, text) for text in _PLAIN]:
        entry = {"chat": chat, "text": text}
        if chat:
            message = [{"role": "user", "content": text}]
            entry["rendered"] = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        entry["ids"] = tokenizer(entry.get("rendered", text), add_special_tokens=False).input_ids
        entry["generated"], entry["gaps"], entry["lead_logits"] = greedy(model, entry["ids"], tokenizer.eos_token_id)
        entry["answer"] = tokenizer.decode(entry["generated"], skip_special_tokens=True)
        print(f"{text!r} -> {entry['answer']!r}, smallest gap {min(entry['gaps'])}", flush=True)
        entries.append(entry)
    document = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "steps": _STEPS,
                "prompts": entries}
    _OUT.parent.mkdir(parents=True, exist_ok=True)
    _OUT.write_text(compact_json(document) + "\n")


if __name__ == "__main__":
    main()
