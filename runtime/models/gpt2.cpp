// GPT-2: LayerNorm, learned positions, multi-head attention with biases, GELU MLP, Conv1D weights stored
// [in, out], tied embeddings. Layout and arithmetic as transformers' GPT2LMHeadModel.

#include <cmath>

#include "kernels/norm.h"
#include "runtime/layers/attention_layer.h"
#include "runtime/models/model.h"

namespace trireme {
namespace {

struct LayerNormWeights {
  Tensor weight, bias;  // [hidden] f32
};

struct Gpt2Layer {
  LayerNormWeights attention_norm, mlp_norm;
  AttentionLayer attention;
  ColumnParallelLinear up;
  RowParallelLinear down;
};

class Gpt2 final : public Model {
 public:
  explicit Gpt2(const ModelContext& context);

  std::vector<KvGroupSpec> kv_groups() const override { return {kv_group_}; }
  int64_t workspace_bytes(int64_t tokens) const override;
  std::vector<LinearUse> linear_layers() const override;
  void embed(TensorView hidden, StepContext& context) override;
  void layers(TensorView hidden, StepContext& context) override;
  void logits(TensorView logits, TensorView rows, StepContext& context) override;

 private:
  LayerNormWeights load_norm(const std::string& name, WeightLoader& loader) const;
  AttentionLayer load_attention(int64_t index, WeightLoader& loader) const;
  Gpt2Layer load_layer(int64_t index, WeightLoader& loader) const;
  void norm(TensorView out, TensorView x, const LayerNormWeights& weights, StepContext& context) const;
  void mlp(const Gpt2Layer& layer, Residual& residual, StepContext& context) const;
  TensorView normed(Residual& residual, const LayerNormWeights& weights, StepContext& context) const;
  std::string name(int64_t layer, std::string_view suffix) const { return layer_name(prefix_ + "h", layer, suffix); }

  ModelConfig config_;
  Topology topology_;
  std::string prefix_;  // "transformer." or "": both are in use
  HeadShard heads_;
  Range ffn_, vocab_;
  KvGroupSpec kv_group_;
  LinearWeight embedding_, output_;  // output_ only where the checkpoint unties them
  Tensor positions_;                 // [max_positions, hidden]
  std::vector<Gpt2Layer> layers_;
  LayerNormWeights final_norm_;
};

Gpt2::Gpt2(const ModelContext& context) : config_(context.config), topology_(context.topology) {
  WeightLoader& loader = context.loader;
  prefix_ = loader.has("transformer.wte.weight") ? "transformer." : "";
  heads_ = topology_.heads(config_.num_heads, config_.num_kv_heads);
  ffn_ = topology_.shard(config_.intermediate_size);
  vocab_ = topology_.shard(config_.vocab_size);
  const Range stage = topology_.layer_range(config_.num_layers);
  kv_group_ = {stage.size(), heads_.kv.size(), config_.head_dim, 0, context.block_size, heads_.q.size()};

  const bool first = topology_.is_first_stage(), last = topology_.is_last_stage();
  if (first || (last && config_.tie_word_embeddings))
    embedding_ = loader.load_columns({{prefix_ + "wte.weight", vocab_, config_.vocab_size}}, config_.hidden_size);
  if (first) positions_ = loader.load_matrix(prefix_ + "wpe.weight", config_.max_positions, config_.hidden_size);
  for (int64_t i = stage.begin; i < stage.end; ++i) layers_.push_back(load_layer(i, loader));
  if (last) final_norm_ = load_norm(prefix_ + "ln_f", loader);
  if (last && !config_.tie_word_embeddings)
    output_ = loader.load_columns({{"lm_head.weight", vocab_, config_.vocab_size}}, config_.hidden_size);
}

LayerNormWeights Gpt2::load_norm(const std::string& name, WeightLoader& loader) const {
  return {loader.load_vector(name + ".weight", config_.hidden_size, DType::f32),
          loader.load_vector(name + ".bias", config_.hidden_size, DType::f32)};
}

// c_attn holds q, k and v side by side: one part per third.
AttentionLayer Gpt2::load_attention(int64_t index, WeightLoader& loader) const {
  const int64_t hidden = config_.hidden_size, dim = config_.head_dim, total = 3 * hidden;
  const Range q{heads_.q.begin * dim, heads_.q.end * dim};
  std::vector<WeightPart> weights, biases;
  for (int64_t third = 0; third < 3; ++third) {
    const Range rows{third * hidden + q.begin, third * hidden + q.end};
    weights.push_back({name(index, "attn.c_attn.weight"), rows, total, true});
    biases.push_back({name(index, "attn.c_attn.bias"), rows, total});
  }
  AttentionLayer layer;
  layer.shape = {heads_, config_.num_heads, config_.num_kv_heads, dim, 0, {.scale = 1.0f / std::sqrt(float(dim))}};
  layer.qkv.weight = loader.load_columns(weights, hidden);
  const DType dtype = activation_dtype(layer.qkv.weight.device());
  layer.qkv.bias = loader.load_vector(biases, dtype);
  layer.output.weight = loader.load_rows(name(index, "attn.c_proj.weight"), hidden, q, hidden, int(dim), true);
  layer.output.bias = loader.load_vector(name(index, "attn.c_proj.bias"), hidden, dtype);
  return layer;
}

Gpt2Layer Gpt2::load_layer(int64_t index, WeightLoader& loader) const {
  const int64_t hidden = config_.hidden_size, ffn = config_.intermediate_size;
  Gpt2Layer layer;
  layer.attention_norm = load_norm(name(index, "ln_1"), loader);
  layer.attention = load_attention(index, loader);
  layer.mlp_norm = load_norm(name(index, "ln_2"), loader);
  layer.up.weight = loader.load_columns({{name(index, "mlp.c_fc.weight"), ffn_, ffn, true}}, hidden);
  const DType dtype = activation_dtype(layer.up.weight.device());
  layer.up.bias = loader.load_vector({{name(index, "mlp.c_fc.bias"), ffn_, ffn}}, dtype);
  layer.down.weight = loader.load_rows(name(index, "mlp.c_proj.weight"), hidden, ffn_, ffn, 64, true);
  layer.down.bias = loader.load_vector(name(index, "mlp.c_proj.bias"), hidden, dtype);
  return layer;
}

int64_t Gpt2::workspace_bytes(int64_t tokens) const {
  const int64_t attention = config_.hidden_size + 4 * heads_.q.size() * config_.head_dim,
                mlp = config_.hidden_size + ffn_.size();
  return tokens * (4 * std::max(attention, mlp) + 8 * config_.hidden_size) + 16 * 256;
}

std::vector<LinearUse> Gpt2::linear_layers() const {
  std::vector<LinearUse> uses;
  for (const Gpt2Layer& layer : layers_)
    for (const LinearWeight* weight :
         {&layer.attention.qkv.weight, &layer.attention.output.weight, &layer.up.weight, &layer.down.weight})
      uses.push_back({weight, activation_dtype(weight->device())});
  if (final_norm_.weight) uses.push_back({config_.tie_word_embeddings ? &embedding_ : &output_, kLogitsDType});
  return uses;
}

void Gpt2::embed(TensorView hidden, StepContext& context) {
  trireme::embed(hidden, context.ids, embedding_, vocab_.begin, context.stream);
  // One rank has the row, the others zeros.
  sum_over_group(hidden, context.tp_group, context.peer_sums, context.stream);
  add_position_embedding(hidden, context.batches[0].positions, positions_, context.stream);
}

void Gpt2::norm(TensorView out, TensorView x, const LayerNormWeights& weights, StepContext& context) const {
  layer_norm(out, x, weights.weight, weights.bias, float(config_.norm_eps), context.stream);
}

// From the workspace.
TensorView Gpt2::normed(Residual& residual, const LayerNormWeights& weights, StepContext& context) const {
  const TensorView hidden = residual.hidden();
  const TensorView out = context.workspace.take(hidden.dtype(), {hidden.dim(0), config_.hidden_size});
  norm(out, hidden, weights, context);
  return out;
}

void Gpt2::mlp(const Gpt2Layer& layer, Residual& residual, StepContext& context) const {
  WorkspaceScope scope(context.workspace);
  const TensorView up = layer.up.forward(normed(residual, layer.mlp_norm, context), context);
  gelu_tanh(up, up, context.stream);
  layer.down.add_into(residual, up);
}

void Gpt2::layers(TensorView hidden, StepContext& context) {
  WorkspaceScope stream_scope(context.workspace);
  Residual residual(hidden, context);
  for (size_t i = 0; i < layers_.size(); ++i) {
    {
      WorkspaceScope scope(context.workspace);
      const TensorView input = normed(residual, layers_[i].attention_norm, context);
      layers_[i].attention.add_into(residual, input, RotaryEmbedding(), int64_t(i), context);
    }
    mlp(layers_[i], residual, context);
    end_layer(int64_t(i), hidden.dim(0), context);
  }
  residual.hidden();
}

void Gpt2::logits(TensorView logits, TensorView rows, StepContext& context) {
  norm(rows, rows, final_norm_, context);
  linear(logits, rows, config_.tie_word_embeddings ? embedding_ : output_, TensorView(), context.stream);
}

}  // namespace

std::unique_ptr<Model> make_gpt2(const ModelContext& context) { return std::make_unique<Gpt2>(context); }

}  // namespace trireme
