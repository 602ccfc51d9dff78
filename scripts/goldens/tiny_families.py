"""The tiny models of make_model_goldens.py that stand for one family each: no tokenizer, few and short prompts.

Every one has what is particular to its family: windows far shorter than the prompts, heads that do not divide evenly
(9 query heads on 3 KV heads), caps low enough to bend the numbers. Weights are bfloat16, which float32 holds exactly.
"""

import torch
import transformers

_LENGTHS = dict(lengths=[1, 17, 40, 150], logprob_lengths={150}, greedy_lengths={1, 17, 40, 150}, greedy_steps=64)
_COMMON = dict(vocab_size=200, bos_token_id=0, eos_token_id=1, pad_token_id=None, rms_norm_eps=1e-5,
               num_hidden_layers=3, num_attention_heads=9, num_key_value_heads=3, hidden_size=72, intermediate_size=80,
               max_position_embeddings=512, tie_word_embeddings=False)
_DENSE = dict(dtype=torch.bfloat16, projection_std=0.2, head_std=0.25, shards=1, old_spelling=False, tokenizer=None,
              template=None) | _LENGTHS
# Of tied models: see randomize().
_TIED = _DENSE | dict(head_std=0.12, final_norm=2.5)
# Of Gemma, whose embeddings are scaled up.
_GEMMA = _TIED | dict(head_std=0.02, final_norm=15.0)
# As the -bf16 models of make_model_goldens.py: logits of the size that bfloat16 arithmetic keeps within the tolerance.
_GPU = dict(projection_std=0.08, head_std=0.06, final_norm=1.0)


def _config(kind, **overrides):
    return getattr(transformers, kind)(**(_COMMON | overrides))


def _gemma(kind, **overrides):
    return _config(kind, tie_word_embeddings=True, head_dim=8, query_pre_attn_scalar=24, sliding_window=20,
                   intermediate_size=72, **overrides)


def _qwen3(**overrides):
    return _config("Qwen3Config", hidden_size=64, head_dim=8, tie_word_embeddings=True, **overrides)


def _phi3(**overrides):
    parameters = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.75)
    return _config("Phi3Config", **(dict(rope_parameters=parameters, sliding_window=20) | overrides))


def _mistral(**overrides):
    return _config("MistralConfig", hidden_size=64, head_dim=8, sliding_window=20, **overrides)


def _qwen2(**overrides):
    return _config("Qwen2Config", use_sliding_window=True, sliding_window=24, max_window_layers=2, **overrides)


def _gemma3():
    rope = dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0))
    return _gemma("Gemma3TextConfig", layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                  rope_parameters=rope)


def _glm4(**overrides):
    rope = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)
    return _config("Glm4Config", hidden_size=64, head_dim=8, attention_bias=True, rope_parameters=rope, **overrides)


def _llama(**rope):
    return _config("LlamaConfig", rope_parameters=dict(rope_theta=10000.0, **rope))


FAMILIES = {
    "tiny-mistral": dict(config=_mistral(), seed=101, **_DENSE),
    "tiny-ministral": dict(
        config=_config("MinistralConfig", hidden_size=64, head_dim=8, sliding_window=20,
                       layer_types=["full_attention", "sliding_attention", "full_attention"]), seed=102, **_DENSE),
    "tiny-qwen2": dict(config=_qwen2(), seed=103, **(_DENSE | dict(old_spelling=True))),
    "tiny-qwen3": dict(config=_qwen3(), seed=104, **_TIED),
    "tiny-gemma2": dict(
        config=_gemma("Gemma2Config", attn_logit_softcapping=3.0, final_logit_softcapping=6.0), seed=105, **_GEMMA),
    # Nested, and named as the first multimodal checkpoints are.
    "tiny-gemma3": dict(config=_gemma3(), seed=106, nested=True, **_GEMMA),
    "tiny-phi3": dict(config=_phi3(), seed=107, **_DENSE),
    # All sequences longer than 64, where transformers takes the long factors, as we do for --max-model-len above it.
    "tiny-phi3-longrope": dict(
        config=_phi3(sliding_window=None, original_max_position_embeddings=64, rope_parameters=dict(
            rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, short_factor=[1.0, 1.1, 1.3],
            long_factor=[1.2, 2.5, 7.0])), seed=108,
        **(_DENSE | dict(lengths=[65, 80, 150], logprob_lengths={150}, greedy_lengths={65, 80, 150}))),
    "tiny-olmo2": dict(config=_config("Olmo2Config"), seed=109, **_DENSE),
    "tiny-glm4": dict(config=_glm4(), seed=110, **_DENSE),
    "tiny-llama-yarn": dict(
        config=_llama(rope_type="yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=8.0), seed=111,
        **_DENSE),
    "tiny-llama-linear": dict(config=_llama(rope_type="linear", factor=4.0), seed=112, **_DENSE),
    "tiny-qwen3-bf16": dict(config=_qwen3(), seed=121, **(_TIED | _GPU)),
    "tiny-gemma2-bf16": dict(
        config=_gemma("Gemma2Config", attn_logit_softcapping=3.0, final_logit_softcapping=6.0), seed=122,
        **(_GEMMA | _GPU | dict(head_std=0.02, final_norm=2.5))),
    "tiny-phi3-bf16": dict(config=_phi3(), seed=123, **(_DENSE | _GPU)),
    "tiny-mistral-bf16": dict(config=_mistral(intermediate_size=72), seed=124, **(_DENSE | _GPU)),
    "tiny-qwen2-bf16": dict(
        config=_qwen2(intermediate_size=56), seed=129,
        **(_DENSE | _GPU | dict(projection_std=0.12))),
    # Not nested: the names and the spelling of text-only checkpoints.
    "tiny-gemma3-bf16": dict(config=_gemma3(), seed=126, **(_GEMMA | _GPU | dict(head_std=0.02, final_norm=2.5))),
    "tiny-olmo2-bf16": dict(config=_config("Olmo2Config", intermediate_size=56), seed=127, **(_DENSE | _GPU)),
    "tiny-glm4-bf16": dict(config=_glm4(intermediate_size=72), seed=128, **(_DENSE | _GPU)),
}
