#include "runtime/models/decoder_weights.h"

#include <array>
#include <cmath>

namespace trireme {
namespace {

// A multimodal checkpoint has its language model one level down, before transformers 4.52 and since.
constexpr std::array<std::string_view, 3> kPrefixes = {"model.", "language_model.model.", "model.language_model."};

std::string find_prefix(const WeightLoader& loader) {
  for (const std::string_view prefix : kPrefixes)
    if (loader.has(std::string(prefix) + "embed_tokens.weight")) return std::string(prefix);
  return std::string(kPrefixes.front());
}

Range times(Range range, int64_t factor) { return {range.begin * factor, range.end * factor}; }
Range shifted(Range range, int64_t by) { return {range.begin + by, range.end + by}; }

}  // namespace

DecoderWeights::DecoderWeights(const ModelContext& context, const DecoderSpec& spec)
    : config_(context.config),
      loader_(context.loader),
      spec_(spec),
      prefix_(find_prefix(context.loader)),
      heads_(context.topology.heads(config_.num_heads, config_.num_kv_heads)),
      ffn_(context.topology.shard(config_.intermediate_size)),
      vocab_(context.topology.shard(config_.vocab_size)) {}

LinearWeight DecoderWeights::load_embedding() const {
  return loader_.load_columns({{prefix_ + "embed_tokens.weight", vocab_, config_.vocab_size}}, config_.hidden_size);
}

LinearWeight DecoderWeights::load_output() const {
  const bool outside = loader_.has("lm_head.weight");
  return loader_.load_columns(
      {{outside ? "lm_head.weight" : "language_model.lm_head.weight", vocab_, config_.vocab_size}},
      config_.hidden_size);
}

Tensor DecoderWeights::load_final_norm() const {
  const int64_t hidden = config_.hidden_size;
  return loader_.load_vector({{prefix_ + "norm.weight", {0, hidden}, hidden}}, DType::f32, float(config_.norm_offset));
}

Tensor DecoderWeights::load_norm(int64_t layer, std::string_view stem) const {
  if (stem.empty()) return Tensor();
  const int64_t hidden = config_.hidden_size;
  return loader_.load_vector({{name(layer, std::string(stem) + ".weight"), {0, hidden}, hidden}}, DType::f32,
                             float(config_.norm_offset));
}

std::vector<WeightPart> DecoderWeights::qkv_parts(int64_t layer, std::string_view suffix) const {
  const int64_t dim = config_.head_dim, q_total = config_.num_heads * dim, kv_total = config_.num_kv_heads * dim;
  const Range q = times(heads_.q, dim), kv = times(heads_.kv, dim);
  const auto tensor = [&](std::string_view stem) { return name(layer, std::string(stem) + std::string(suffix)); };
  if (spec_.fused_qkv.empty())
    return {{tensor("self_attn.q_proj"), q, q_total},
            {tensor("self_attn.k_proj"), kv, kv_total},
            {tensor("self_attn.v_proj"), kv, kv_total}};
  const int64_t total = q_total + 2 * kv_total;
  return {{tensor(spec_.fused_qkv), q, total},
          {tensor(spec_.fused_qkv), shifted(kv, q_total), total},
          {tensor(spec_.fused_qkv), shifted(kv, q_total + kv_total), total}};
}

std::vector<WeightPart> DecoderWeights::gate_up_parts(int64_t layer, std::string_view suffix) const {
  const int64_t ffn = config_.intermediate_size;
  const auto tensor = [&](std::string_view stem) { return name(layer, std::string(stem) + std::string(suffix)); };
  if (spec_.fused_gate_up.empty()) return {{tensor("mlp.gate_proj"), ffn_, ffn}, {tensor("mlp.up_proj"), ffn_, ffn}};
  return {{tensor(spec_.fused_gate_up), ffn_, 2 * ffn}, {tensor(spec_.fused_gate_up), shifted(ffn_, ffn), 2 * ffn}};
}

void DecoderWeights::load_qk_norms(int64_t layer, AttentionLayer& attention) const {
  attention.qk_norm = spec_.qk_norm;
  attention.norm_eps = float(config_.norm_eps);
  if (spec_.qk_norm == QkNorm::none) return;
  const int64_t dim = config_.head_dim;
  const bool whole = spec_.qk_norm == QkNorm::projection;
  const auto load = [&](const char* stem, Range heads, int64_t total) {
    const Range rows = whole ? times(heads, dim) : Range{0, dim};
    return loader_.load_vector({{name(layer, stem), rows, whole ? total * dim : dim}}, DType::f32,
                               float(config_.norm_offset));
  };
  attention.q_norm = load("self_attn.q_norm.weight", heads_.q, config_.num_heads);
  attention.k_norm = load("self_attn.k_norm.weight", heads_.kv, config_.num_kv_heads);
}

AttentionLayer DecoderWeights::load_attention(int64_t layer) const {
  const int64_t hidden = config_.hidden_size, dim = config_.head_dim;
  const DType dtype = activation_dtype(loader_.device());
  const double scale = config_.attention_scale > 0 ? config_.attention_scale : 1 / std::sqrt(double(dim));
  AttentionLayer attention;
  attention.shape = {.heads = heads_,
                     .total_q_heads = config_.num_heads,
                     .total_kv_heads = config_.num_kv_heads,
                     .head_dim = dim,
                     .group = 0,
                     .options = {.scale = float(scale), .soft_cap = float(config_.attention_soft_cap)}};
  attention.qkv.weight = loader_.load_columns(qkv_parts(layer, ".weight"), hidden);
  if (config_.attention_bias) attention.qkv.bias = loader_.load_vector(qkv_parts(layer, ".bias"), dtype);
  load_qk_norms(layer, attention);
  attention.output.weight = loader_.load_rows(name(layer, "self_attn.o_proj.weight"), hidden, times(heads_.q, dim),
                                              config_.num_heads * dim, int(dim));
  if (config_.output_bias)
    attention.output.bias = loader_.load_vector(name(layer, "self_attn.o_proj.bias"), hidden, dtype);
  attention.output.norm = load_norm(layer, spec_.attention_post_norm);
  attention.output.norm_eps = float(config_.norm_eps);
  return attention;
}

GatedMlp DecoderWeights::load_mlp(int64_t layer) const {
  const int64_t hidden = config_.hidden_size;
  const DType dtype = activation_dtype(loader_.device());
  GatedMlp mlp;
  mlp.activation = config_.hidden_act == "silu" ? Activation::silu : Activation::gelu_tanh;
  mlp.gate_up.weight = loader_.load_columns(gate_up_parts(layer, ".weight"), hidden);
  if (config_.mlp_bias) mlp.gate_up.bias = loader_.load_vector(gate_up_parts(layer, ".bias"), dtype);
  mlp.down.weight = loader_.load_rows(name(layer, "mlp.down_proj.weight"), hidden, ffn_, config_.intermediate_size, 64);
  if (config_.mlp_bias) mlp.down.bias = loader_.load_vector(name(layer, "mlp.down_proj.bias"), hidden, dtype);
  mlp.down.norm = load_norm(layer, spec_.mlp_post_norm);
  mlp.down.norm_eps = float(config_.norm_eps);
  return mlp;
}

DecoderLayer DecoderWeights::load_layer(int64_t index) const {
  DecoderLayer layer;
  layer.attention_norm = load_norm(index, spec_.attention_norm);
  layer.attention = load_attention(index);
  layer.mlp_norm = load_norm(index, spec_.mlp_norm);
  layer.mlp = load_mlp(index);
  return layer;
}

}  // namespace trireme
