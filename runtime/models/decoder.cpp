#include "runtime/models/decoder.h"

#include <algorithm>

#include "base/half.h"
#include "runtime/models/decoder_weights.h"

namespace trireme {
namespace {

class Decoder final : public Model {
 public:
  Decoder(const ModelContext& context, const DecoderSpec& spec);

  std::vector<KvGroupSpec> kv_groups() const override { return groups_; }
  int64_t workspace_bytes(int64_t tokens) const override;
  std::vector<LinearUse> linear_layers() const override;
  void embed(TensorView hidden, StepContext& context) override;
  void layers(TensorView hidden, StepContext& context) override;
  void logits(TensorView logits, TensorView rows, StepContext& context) override;

 private:
  void make_groups(const ModelContext& context);
  void join_group(DecoderLayer& layer, int32_t window);
  const RotaryEmbedding& rotary_of(const DecoderLayer& layer) const {
    return windowed_rotary_ && layer.windowed ? *windowed_rotary_ : rotary_;
  }
  int32_t window(int64_t layer) const;  // 0 where it hides nothing
  float eps() const { return float(config_.norm_eps); }

  ModelConfig config_;
  int64_t max_model_len_;
  bool alone_;  // no TP group
  HeadShard heads_;
  Range ffn_, vocab_;
  std::vector<KvGroupSpec> groups_;  // by window, ascending: all of the model's, also those without a layer here
  LinearWeight embedding_;           // [this shard's vocabulary, hidden]; also the output layer when tied
  LinearWeight output_;              // untied output layer
  std::vector<DecoderLayer> layers_;
  Tensor final_norm_;
  RotaryEmbedding rotary_;
  std::optional<RotaryEmbedding> windowed_rotary_;
};

Decoder::Decoder(const ModelContext& context, const DecoderSpec& spec)
    : config_(context.config),
      max_model_len_(context.max_model_len),
      alone_(context.topology.tp() == 1) {
  const DecoderWeights weights(context, spec);
  heads_ = weights.heads(), ffn_ = weights.ffn(), vocab_ = weights.vocab();
  make_groups(context);

  const Topology& topology = context.topology;
  const bool last = topology.is_last_stage();
  if (topology.is_first_stage() || (last && config_.tie_word_embeddings)) embedding_ = weights.load_embedding();
  const Range stage = topology.layer_range(config_.num_layers);
  for (int64_t i = stage.begin; i < stage.end; ++i) {
    layers_.push_back(weights.load_layer(i));
    layers_.back().windowed = config_.window(i) > 0;
    join_group(layers_.back(), window(i));
  }
  if (last) final_norm_ = weights.load_final_norm();
  if (last && !config_.tie_word_embeddings) output_ = weights.load_output();

  const Device device = context.loader.device();
  const Stream stream(device);
  rotary_ = make_rotary(config_.rope, max_model_len_, device, stream);
  if (config_.windowed_rope) windowed_rotary_ = make_rotary(*config_.windowed_rope, max_model_len_, device, stream);
}

int32_t Decoder::window(int64_t layer) const {
  const int32_t window = config_.window(layer);
  return window < max_model_len_ ? window : 0;
}

void Decoder::make_groups(const ModelContext& context) {
  std::vector<int32_t> windows;
  for (int64_t i = 0; i < config_.num_layers; ++i) windows.push_back(window(i));
  std::sort(windows.begin(), windows.end());
  windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
  for (const int32_t window : windows)
    groups_.push_back({0, heads_.kv.size(), config_.head_dim, window, context.block_size, heads_.q.size()});
}

void Decoder::join_group(DecoderLayer& layer, int32_t window) {
  const auto group =
      std::find_if(groups_.begin(), groups_.end(), [window](const KvGroupSpec& spec) { return spec.window == window; });
  layer.attention.shape.group = int(group - groups_.begin());
  layer.attention.shape.options.window = window;
  layer.kv_layer = group->num_layers++;
}

int64_t Decoder::workspace_bytes(int64_t tokens) const {
  const int64_t q = heads_.q.size() * config_.head_dim, kv = heads_.kv.size() * config_.head_dim;
  const int64_t attention = config_.hidden_size + 2 * q + 2 * kv, mlp = config_.hidden_size + 3 * ffn_.size();
  const int64_t sums = 8 * (config_.hidden_size + config_.num_heads + config_.num_kv_heads);
  return tokens * (4 * std::max(attention, mlp) + sums) + 16 * 256;
}

std::vector<LinearUse> Decoder::linear_layers() const {
  std::vector<LinearUse> uses;
  // With a TP group the sum over it takes the norms and the additions (Residual).
  const auto role = [&](const Tensor& norm) { return LinearRole{.normed = alone_ && norm}; };
  const auto added = [&](const RowParallelLinear& layer) { return LinearRole{.added = alone_ && !layer.norm}; };
  for (const DecoderLayer& layer : layers_) {
    const DType dtype = activation_dtype(layer.mlp.down.weight.device());
    LinearRole gated = role(layer.mlp_norm);
    gated.gated = true;
    uses.push_back({&layer.attention.qkv.weight, dtype, role(layer.attention_norm)});
    uses.push_back({&layer.attention.output.weight, dtype, added(layer.attention.output)});
    uses.push_back({&layer.mlp.gate_up.weight, dtype, gated});
    uses.push_back({&layer.mlp.down.weight, dtype, added(layer.mlp.down)});
  }
  if (final_norm_)
    uses.push_back({config_.tie_word_embeddings ? &embedding_ : &output_, kLogitsDType, {.normed = true}});
  return uses;
}

void Decoder::embed(TensorView hidden, StepContext& context) {
  trireme::embed(hidden, context.ids, embedding_, vocab_.begin, context.stream);
  // One rank has the row, the others zeros.
  sum_over_group(hidden, context.tp_group, context.peer_sums, context.stream);
  if (config_.embedding_scale == 1) return;
  const auto factor = float(config_.embedding_scale);
  scale(hidden, hidden.dtype() == DType::bf16 ? bf16_to_f32(f32_to_bf16(factor)) : factor, context.stream);
}

void Decoder::layers(TensorView hidden, StepContext& context) {
  WorkspaceScope stream_scope(context.workspace);
  Residual residual(hidden, context);
  for (const DecoderLayer& layer : layers_) {
    {
      WorkspaceScope scope(context.workspace);
      const LayerInput input = residual.input(layer.attention_norm, eps());
      layer.attention.add_into(residual, input, rotary_of(layer), layer.kv_layer, context);
    }
    WorkspaceScope scope(context.workspace);
    layer.mlp.add_into(residual, residual.input(layer.mlp_norm, eps()), context);
    end_layer(&layer - layers_.data(), hidden.dim(0), context);
  }
  residual.hidden();
}

void Decoder::logits(TensorView logits, TensorView rows, StepContext& context) {
  const LinearWeight& weight = config_.tie_word_embeddings ? embedding_ : output_;
  norm_linear(logits, rows, {final_norm_, eps()}, weight, TensorView(), /*normed=*/rows, context.stream);
  if (config_.logits_soft_cap > 0) soft_cap(logits, float(config_.logits_soft_cap), context.stream);
}

}  // namespace

std::unique_ptr<Model> make_decoder(const ModelContext& context, const DecoderSpec& spec) {
  return std::make_unique<Decoder>(context, spec);
}

}  // namespace trireme
