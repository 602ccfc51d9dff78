#!/usr/bin/env python3
"""Makes tests/models/tiny-*: seeded tiny checkpoints as Hugging Face writes them, and what transformers says of them.

    python scripts/goldens/make_model_goldens.py [name ...]        (needs torch, transformers 5, tokenizers, numpy)

tests/models/NAME/
  config.json, generation_config.json, model.safetensors (or two shards and an index), [tokenizer.json,
  tokenizer_config.json, chat_template.jinja]
  goldens.json, goldens.bin     computed by transformers in float32 with eager attention, no cache

goldens.json:
  "model", "vocab_size", "file": "goldens.bin", "arrays": {name: {dtype, shape, offset}}  (layout: golden_file.py)
  "prompts": one entry each of 1, 2, 15, 16, 17, 31, 33, 64, 100, 257, 511, 513, 700 random ids (tiny_families.py: fewer):
    "ids"            the prompt
    "last_logits"    array name: f32 [vocab_size], logits after the prompt's last token
    "logprobs"       for some: array name: f32 [length - 1], element i is log P(ids[i + 1] | ids[0..i])
    "greedy"         for some: the greedy continuation, 48 or 64 ids, end-of-sequence ids treated like any other
    "greedy_gaps"    array name: f32 of that length, the difference of the two largest logits at each of those steps
  Prompts with a continuation are drawn so that no gap is under 0.005 and no end-of-sequence id occurs in it.
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers
from golden_file import GoldenFile
from safetensors.torch import save_file
from tiny_families import FAMILIES
from tiny_tokenizer import train_tokenizer

_ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "models"
_DEFAULTS = dict(
    lengths=[1, 2, 15, 16, 17, 31, 33, 64, 100, 257, 511, 513, 700], logprob_lengths={17, 100, 513, 700},
    greedy_lengths={1, 2, 16, 17, 33, 100, 257, 513}, greedy_steps=48, final_norm=1.0, nested=False)
_MIN_GAP = 0.005
_MAX_BFLOAT16_ERROR = 0.03  # of a -bf16 model's log-probabilities

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + '\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")


def llama(**overrides):
    keys = dict(vocab_size=515, bos_token_id=0, eos_token_id=1, hidden_act="silu", rms_norm_eps=1e-5,
                attention_bias=False, mlp_bias=False, initializer_range=0.02)
    return transformers.LlamaConfig(**(keys | overrides))


def randomize(model, seed, projection_std, head_std, final_norm=1.0):
    """Norm weights near 1, biases small, projections wide enough that logits differ clearly between tokens.

    Tied models get small embeddings, or each token would predict itself, and a larger final norm instead.
    """
    generator = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type.startswith("gemma")  # its norms multiply by 1 + weight
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            is_norm_weight = name.endswith("weight")
            is_final = name in ("model.norm.weight", "transformer.ln_f.weight")
            scale = final_norm if is_final else 1.0
            weight = (noise * 0.15 + 1.0) * scale
            parameter.data = weight - float(gemma) if is_norm_weight else noise * 0.1
        elif "lm_head" in name or "embed_tokens" in name or "wte" in name:
            parameter.data = noise * head_std
        else:
            parameter.data = noise * projection_std


MODELS = {
    "tiny-llama": dict(
        config=llama(hidden_size=144, intermediate_size=200, num_hidden_layers=5, num_attention_heads=9,
                     num_key_value_heads=3, head_dim=16, max_position_embeddings=2048, tie_word_embeddings=False),
        dtype=torch.float32, seed=11, projection_std=0.1, head_std=0.2, shards=1, old_spelling=True,
        tokenizer=dict(vocab_size=515, special_tokens=["<|begin_of_text|>", "<|end_of_text|>"], style="llama3",
                       bos="<|begin_of_text|>"), template="tokenizer_config"),
    "tiny-llama3": dict(
        config=llama(hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
                     num_key_value_heads=2, head_dim=32, max_position_embeddings=2048, tie_word_embeddings=True,
                     rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                          high_freq_factor=4.0, original_max_position_embeddings=64)),
        dtype=torch.bfloat16, seed=22, projection_std=0.2, head_std=0.08, final_norm=3.0, shards=2, old_spelling=False,
        tokenizer=dict(vocab_size=512, special_tokens=["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
                       style="llama3", bos="<|begin_of_text|>"), template="file"),
    "tiny-gpt2": dict(
        config=transformers.GPT2Config(vocab_size=515, n_positions=1024, n_embd=96, n_layer=4, n_head=6, n_inner=136,
                                       bos_token_id=0, eos_token_id=0),
        dtype=torch.float32, seed=33, projection_std=0.2, head_std=0.08, final_norm=3.0, shards=1, old_spelling=False,
        tokenizer=dict(vocab_size=515, special_tokens=["<|endoftext|>"], style="gpt2"), template=None),
    # For GPUs, which compute in bfloat16: weights that are bfloat16 already and logits of the size real models have, so
    # that rounding stays well below the tolerance (transformers' own bfloat16 run is within 0.03 of its float32 run).
    "tiny-llama-bf16": dict(
        config=llama(hidden_size=144, intermediate_size=200, num_hidden_layers=5, num_attention_heads=9,
                     num_key_value_heads=3, head_dim=16, max_position_embeddings=1024, tie_word_embeddings=False),
        dtype=torch.bfloat16, seed=44, projection_std=0.05, head_std=0.06, shards=1, old_spelling=False,
        tokenizer=dict(vocab_size=515, special_tokens=["<|begin_of_text|>", "<|end_of_text|>"], style="llama3",
                       bos="<|begin_of_text|>"), template=None),
    "tiny-gpt2-bf16": dict(
        config=transformers.GPT2Config(vocab_size=515, n_positions=1024, n_embd=96, n_layer=4, n_head=6, n_inner=136,
                                       bos_token_id=0, eos_token_id=0),
        dtype=torch.bfloat16, seed=55, projection_std=0.08, head_std=0.05, final_norm=1.5, shards=1, old_spelling=False,
        tokenizer=dict(vocab_size=515, special_tokens=["<|endoftext|>"], style="gpt2"), template=None),
} | FAMILIES


def write_weights(model, folder, shards, prefix=""):
    """Writes one safetensors file, or two and their index, cut in the middle of the parameter list."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    state = {prefix + name: value for name, value in state.items()}
    names = sorted(state)
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[len(names) * shard // shards: len(names) * (shard + 1) // shards]
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
    total = sum(value.numel() * value.element_size() for value in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_config(folder, spec):
    """config.json as transformers 5 writes it, or with the keys of transformers 4 in its place."""
    spec["config"].architectures = [transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(spec["config"])].__name__]
    spec["config"].dtype = spec["dtype"]
    spec["config"].save_pretrained(folder)
    if not spec["old_spelling"]:
        return
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.44.0"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def nest_config(folder):
    """The config as multimodal Gemma 3 checkpoints of transformers 4 have it: figures in text_config, old spelling."""
    path = folder / "config.json"
    text = json.loads(path.read_text())
    rope = text.pop("rope_parameters")
    text |= {"rope_theta": rope["full_attention"].pop("rope_theta"), "rope_scaling": rope["full_attention"],
             "rope_local_base_freq": rope["sliding_attention"]["rope_theta"], "sliding_window_pattern": 3}
    text.pop("layer_types")
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
             "torch_dtype": text.pop("dtype"), "eos_token_id": [text.pop("eos_token_id")], "text_config": text}
    path.write_text(json.dumps(outer, indent=2, sort_keys=True) + "\n")


def write_tokenizer(folder, spec):
    tokenizer = train_tokenizer(**spec["tokenizer"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = spec["tokenizer"]["special_tokens"]
    eos = special[min(1, len(special) - 1)]  # GPT-2 has one token for both
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": eos,
              "clean_up_tokenization_spaces": False, "model_max_length": 2048}
    if spec["template"] == "tokenizer_config":
        config["chat_template"] = _CHAT_TEMPLATE
    elif spec["template"] == "file":
        config["chat_template"] = "this one loses against chat_template.jinja"
        (folder / "chat_template.jinja").write_text(_CHAT_TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_checkpoint(name, spec):
    folder = _ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_config(folder, spec)
    model = transformers.AutoModelForCausalLM.from_config(spec["config"], attn_implementation="eager")
    randomize(model, spec["seed"], spec["projection_std"], spec["head_std"], spec["final_norm"])
    write_weights(model.to(spec["dtype"]), folder, spec["shards"])
    tokenizer = spec["tokenizer"]
    eos = [1, 2] if tokenizer and "<|eot_id|>" in tokenizer["special_tokens"] else spec["config"].eos_token_id
    generation = {"bos_token_id": spec["config"].bos_token_id, "eos_token_id": eos}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    if tokenizer:
        write_tokenizer(folder, spec)
    return folder


@torch.no_grad()
def greedy(model, ids, steps):
    """Without a cache: every step recomputes the whole sequence."""
    ids, gaps = list(ids), []
    for _ in range(steps):
        top = torch.topk(model(torch.tensor([ids]), use_cache=False, logits_to_keep=1).logits[0, -1], 2)
        ids.append(int(top.indices[0]))
        gaps.append(float(top.values[0] - top.values[1]))
    return ids[-steps:], gaps


def draw_prompt(model, spec, length, generator, forbidden):
    """A random prompt; with a greedy continuation that no rounding error can turn, where one is wanted."""
    for _ in range(50):
        ids = torch.randint(3, model.config.vocab_size, (length,), generator=generator).tolist()
        if length not in spec["greedy_lengths"]:
            return ids, None, None
        continuation, gaps = greedy(model, ids, spec["greedy_steps"])
        if min(gaps) >= _MIN_GAP and not set(continuation) & forbidden:
            print(f"  {length}: smallest gap {min(gaps):.4f}, {len(set(continuation))} different ids", flush=True)
            return ids, continuation, gaps
    raise SystemExit(f"no prompt of {length} ids has a clear continuation: choose another model seed")


@torch.no_grad()
def write_goldens(name, folder, spec):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    goldens, prompts = GoldenFile(), []
    generator = torch.Generator().manual_seed(spec["seed"] + 1000)
    eos = model.generation_config.eos_token_id
    forbidden = set(eos if isinstance(eos, list) else [eos])
    for number, length in enumerate(spec["lengths"]):
        ids, continuation, gaps = draw_prompt(model, spec, length, generator, forbidden)
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        entry = {"ids": ids, "last_logits": goldens.add(f"last_logits/{number}", logits[-1].numpy())}
        if length in spec["logprob_lengths"]:
            logprobs = torch.log_softmax(logits.double(), -1)[:-1].gather(1, torch.tensor(ids)[1:, None])[:, 0]
            entry["logprobs"] = goldens.add(f"logprobs/{number}", logprobs.numpy())
        if continuation is not None:
            entry |= {"greedy": continuation, "greedy_gaps": goldens.add(f"greedy_gaps/{number}", gaps)}
        prompts.append(entry)
    print(f"  logits: std {logits[-1].std():.2f}, max {logits[-1].abs().max():.2f}")
    goldens.write(folder / "goldens", {"model": name, "vocab_size": model.config.vocab_size, "prompts": prompts})
    return model


@torch.no_grad()
def check_bfloat16(folder, model):
    """That transformers' own bfloat16 run, on what the goldens hold, is well within what our GPU run is held to."""
    rounded = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
    worst = 0.0
    for prompt in json.loads((folder / "goldens.json").read_text())["prompts"]:
        ids = torch.tensor([prompt["ids"]])
        error = torch.stack([torch.log_softmax(run(ids, use_cache=False).logits[0].double(), -1)
                             for run in (model, rounded)]).diff(dim=0)[0].abs()
        worst = max(worst, float(error[-1].max()))
        if "logprobs" in prompt:
            worst = max(worst, float(error[:-1].gather(1, ids[0, 1:, None]).max()))
    print(f"  bfloat16: largest log-probability error {worst:.4f}")
    if worst > _MAX_BFLOAT16_ERROR:
        raise SystemExit(f"{folder.name}: over {_MAX_BFLOAT16_ERROR}: choose smaller logits")


def main():
    torch.set_num_threads(2)
    for name in sys.argv[1:] or MODELS:
        print(name, flush=True)
        spec = _DEFAULTS | MODELS[name]
        folder = write_checkpoint(name, spec)
        model = write_goldens(name, folder, spec)
        if name.endswith("-bf16"):
            check_bfloat16(folder, model)
        if spec["nested"]:
            write_weights(model.to(spec["dtype"]), folder, spec["shards"], "language_model.")
            nest_config(folder)
        for file in folder.iterdir():
            file.chmod(0o644)
        print(f"  {sum(file.stat().st_size for file in folder.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
