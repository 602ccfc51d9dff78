#!/usr/bin/env python3
"""Makes tests/checkpoint/golden/tiny.gguf and what transformers reads from it.

    python scripts/goldens/make_gguf_goldens.py        (needs torch, transformers 5, gguf, accelerate)

tiny.gguf is written by PyPI gguf: a llama model of 2 layers with tensors of every type that is read, q and k rows
in GGUF's order, and metadata of every value type. gguf.json / gguf.bin (layout: golden_file.py):
  "arrays"       the dequantized weights under their Hugging Face names, as transformers loads them from the file
  "llama31_rope_freqs"   array name: the divisors that a Llama 3.1 file stores (head size 128, factor 8)
  "types"        Hugging Face name -> GGUF type
"""

import pathlib

import gguf
import numpy
import torch
import transformers
from golden_file import GoldenFile
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "checkpoint" / "golden"
_LAYERS, _HIDDEN, _FFN, _HEADS, _KV_HEADS, _VOCAB = 2, 64, 32, 4, 2, 40
_HEAD_DIM = _HIDDEN // _HEADS
_TYPE = gguf.GGMLQuantizationType
_PARTS = {  # GGUF name: shape, type in even layers, type in odd layers
    "attn_norm": ((_HIDDEN,), _TYPE.F32, _TYPE.F32),
    "attn_q": ((_HIDDEN, _HIDDEN), _TYPE.Q4_1, _TYPE.F16),
    "attn_k": ((_KV_HEADS * _HEAD_DIM, _HIDDEN), _TYPE.Q8_0, _TYPE.BF16),
    "attn_v": ((_KV_HEADS * _HEAD_DIM, _HIDDEN), _TYPE.F16, _TYPE.Q4_1),
    "attn_output": ((_HIDDEN, _HIDDEN), _TYPE.BF16, _TYPE.Q8_0),
    "ffn_norm": ((_HIDDEN,), _TYPE.F32, _TYPE.F32),
    "ffn_gate": ((_FFN, _HIDDEN), _TYPE.F32, _TYPE.Q8_0),
    "ffn_up": ((_FFN, _HIDDEN), _TYPE.Q4_1, _TYPE.Q4_1),
    "ffn_down": ((_HIDDEN, _FFN), _TYPE.Q8_0, _TYPE.Q4_1),
}
_KEPT_OF_LAYER_1 = ("q_proj", "k_proj", "v_proj")  # the goldens of its other tensors would only add bytes


def add_metadata(writer):
    writer.add_context_length(128)
    writer.add_embedding_length(_HIDDEN)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FFN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_rope_dimension_count(_HEAD_DIM)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(_VOCAB)
    for value_type in gguf.GGUFValueType:
        if value_type not in (gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.STRING):
            writer.add_key_value(f"test.{value_type.name.lower()}", 1, value_type)
    writer.add_array("test.integers", [-1, 2, 3])
    writer.add_array("test.floats", [0.5, 1.5])
    writer.add_array("test.flags", [True, False])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([f"t{i}" for i in range(_VOCAB)])
    writer.add_token_types([3] * 2 + [1] * (_VOCAB - 2))
    writer.add_token_merges(["t 1", "t 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_eot_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages }}")


def tensor_plan():
    yield "token_embd.weight", (_VOCAB, _HIDDEN), _TYPE.Q8_0
    yield "output_norm.weight", (_HIDDEN,), _TYPE.F32
    for layer in range(_LAYERS):
        for part, (shape, even, odd) in _PARTS.items():
            yield f"blk.{layer}.{part}.weight", shape, odd if layer % 2 else even


def write_gguf(path):
    generator = numpy.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    add_metadata(writer)
    for name, shape, kind in tensor_plan():
        values = generator.standard_normal(shape, dtype=numpy.float32)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def hugging_face_types(known):
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, _LAYERS).mapping
    wanted = {name: kind.name for name, _, kind in tensor_plan()}
    found = {}
    for hugging_face, (_, stem) in names.items():
        if f"{hugging_face}.weight" in known and f"{stem}.weight" in wanted:
            found[f"{hugging_face}.weight"] = wanted[f"{stem}.weight"]
    return found


def llama31_divisors():
    config = transformers.LlamaConfig(
        head_dim=128, max_position_embeddings=131072,
        rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=8192))
    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500000.0 ** -(torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    return (plain / stretched.double()).numpy()


def main():
    _FOLDER.mkdir(parents=True, exist_ok=True)
    path = _FOLDER / "tiny.gguf"
    write_gguf(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(_FOLDER, gguf_file=path.name, dtype=torch.float32)
    goldens, types = GoldenFile(), hugging_face_types(model.state_dict().keys())
    for name, value in model.state_dict().items():
        if name in types and ("layers.1." not in name or any(part in name for part in _KEPT_OF_LAYER_1)):
            goldens.add(name, value.numpy())
    rope = goldens.add("llama31_rope_freqs", llama31_divisors())
    goldens.write(_FOLDER / "gguf", {"types": types, "llama31_rope_freqs": rope})
    for file in sorted(_FOLDER.iterdir()):
        print(file.name, file.stat().st_size)


if __name__ == "__main__":
    main()
