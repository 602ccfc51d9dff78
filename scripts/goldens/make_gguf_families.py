#!/usr/bin/env python3
"""Makes tests/checkpoint/golden/families: one tiny random model per GGUF family, as transformers saves it
(NAME/model.safetensors, NAME/config.json) and as PyPI gguf writes it (NAME.gguf).

    python scripts/goldens/make_gguf_families.py        (needs torch, transformers 5, gguf)

Tensor names come from gguf's own map. As llama.cpp's converter does: llama's q and k rows become pairs, Gemma's norm
weights get their one, GPT-2's matrices are transposed, everything 1-D is F32. qwen2-split-0000N-of-00003.gguf is qwen2
in three parts.
"""

import pathlib
import shutil

import gguf
import numpy
import torch
import transformers

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "checkpoint" / "golden" / "families"
_COMMON = dict(vocab_size=24, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
               num_key_value_heads=1, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None)
_GEMMA = dict(_COMMON, head_dim=8, query_pre_attn_scalar=8, sliding_window=32)
_YARN = dict(rope_type="yarn", rope_theta=1000000.0, factor=4.0, original_max_position_embeddings=64)
_LONG = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.25, 1.5, 2.0],
             long_factor=[1.0, 2.0, 4.0, 8.0], original_max_position_embeddings=32)
_FAMILIES = {
    "llama": transformers.LlamaConfig(**_COMMON, rms_norm_eps=1e-5),
    "qwen2": transformers.Qwen2Config(**_COMMON, rope_parameters=_YARN, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**_COMMON, head_dim=16),
    "gemma2": transformers.Gemma2Config(**_GEMMA),
    "gemma3": transformers.Gemma3TextConfig(**dict(_GEMMA, num_hidden_layers=7)),
    "phi3": transformers.Phi3Config(**dict(_COMMON, rope_parameters=_LONG, original_max_position_embeddings=32)),
    "gpt2": transformers.GPT2Config(vocab_size=24, n_embd=16, n_layer=2, n_head=2, n_positions=64, n_inner=20,
                                    bos_token_id=1, eos_token_id=2),
}


def pairs(rows, heads):
    """Halves of each head's rows (i, i + d/2) to neighbours."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def converted(family, config, name, value):
    if family == "llama" and ".q_proj." in name:
        return pairs(value, config.num_attention_heads)
    if family == "llama" and ".k_proj." in name:
        return pairs(value, config.num_key_value_heads)
    if family.startswith("gemma") and name.endswith("norm.weight"):
        return value.astype(numpy.float32) + numpy.float32(1)
    if family == "gpt2" and ".h." in name and value.ndim == 2:
        return value.T
    return value


def add_metadata(writer, family, config):
    rope = getattr(config, "rope_parameters", None) or {}
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.n_inner if family == "gpt2" else config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if family == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if family in ("qwen3", "gemma2", "gemma3"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if family in ("llama", "phi3"):
        writer.add_rope_dimension_count(head_dim)
    if family.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope.get("rope_type") == "longrope":
        original = rope["original_max_position_embeddings"]
        stretch = config.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors((1 + numpy.log(stretch) / numpy.log(original)) ** 0.5)
        writer.add_tensor("rope_factors_long.weight", numpy.array(rope["long_factor"], dtype=numpy.float32))
        writer.add_tensor("rope_factors_short.weight", numpy.array(rope["short_factor"], dtype=numpy.float32))


def add_tokenizer(writer):
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{i}" for i in range(24)])
    writer.add_token_scores([-float(i) / 8 for i in range(24)])
    writer.add_token_types([3] * 3 + [1] * 21)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template([{"name": "default", "template": "{{ messages }}"},
                              {"name": "tool_use", "template": "{{ tools }}"}])


def write_gguf(path, family, config, weights, split):
    writer = gguf.GGUFWriter(path, family, split_max_tensors=split)
    add_metadata(writer, family, config)
    add_tokenizer(writer)
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[family],
                                     config.num_hidden_layers)
    for name, value in weights.items():
        array = converted(family, config, name, value.numpy())
        if array.ndim == 1:
            array = array.astype(numpy.float32)
        new_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new_name, name
        writer.add_tensor(new_name, numpy.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(family, config):
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config).half()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # transformers starts norms and biases at constants
                parameter.copy_(torch.randn_like(parameter.float()) * 0.25 + (0 if "gemma" in family else 1))
    folder = _FOLDER / family
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    weights = {name: value for name, value in model.state_dict().items()
               if not (config.tie_word_embeddings and name == "lm_head.weight")}
    write_gguf(_FOLDER / f"{family}.gguf", family, config, weights, 0)
    if family == "qwen2":
        write_gguf(_FOLDER / "qwen2-split.gguf", family, config, weights, (len(weights) + 2) // 3)


def main():
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    for family, config in _FAMILIES.items():
        make(family, config)
    print(sum(file.stat().st_size for file in _FOLDER.rglob("*") if file.is_file()), "bytes")


if __name__ == "__main__":
    main()
