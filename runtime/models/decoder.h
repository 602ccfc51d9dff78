#pragma once
// The decoder that most families are: RMSNorm, rotary grouped-query attention, gated MLP, with options. A family's file
// is its names and options; figures (heads, windows, RoPE, soft caps, biases) come from its config.
//
//   h += [post_norm] attention([norm] h);   h += [post_norm] mlp([norm] h)

#include "runtime/layers/attention_layer.h"
#include "runtime/models/model.h"

namespace trireme {

struct DecoderSpec {
  // Names of a layer's tensors, below "model.layers.N.". An empty norm: there is none.
  std::string_view attention_norm = "input_layernorm";
  std::string_view attention_post_norm = "";
  std::string_view mlp_norm = "post_attention_layernorm";
  std::string_view mlp_post_norm = "";
  std::string_view fused_qkv = "";      // rows: all q, all k, all v; empty: self_attn.q_proj, k_proj, v_proj
  std::string_view fused_gate_up = "";  // rows: all gate, all up; empty: mlp.gate_proj, up_proj
  QkNorm qk_norm = QkNorm::none;        // self_attn.q_norm, k_norm
};

std::unique_ptr<Model> make_decoder(const ModelContext& context, const DecoderSpec& spec);

}  // namespace trireme
