// Llama and its relatives: RMSNorm, rotary embedding, grouped-query attention, SiLU-gated MLP.
// Layout and arithmetic as transformers' LlamaForCausalLM.

#include <cmath>

#include "kernels/norm.h"
#include "runtime/layers/attention_layer.h"
#include "runtime/models/model.h"

namespace trireme {
namespace {

struct LlamaLayer {
  Tensor input_norm, post_norm;  // [hidden] f32
  AttentionLayer attention;
  ColumnParallelLinear gate_up;  // rows: gate, up
  RowParallelLinear down;
};

class Llama final : public Model {
 public:
  explicit Llama(const ModelContext& context);

  std::vector<KvGroupSpec> kv_groups() const override { return {kv_group_}; }
  int64_t workspace_bytes(int64_t tokens) const override;
  void embed(TensorView hidden, StepContext& context) override;
  void layers(TensorView hidden, StepContext& context) override;
  void logits(TensorView logits, TensorView rows, StepContext& context) override;

 private:
  LlamaLayer load_layer(int64_t index, const ModelContext& context) const;
  AttentionLayer load_attention(int64_t index, const ModelContext& context) const;
  void mlp(const LlamaLayer& layer, TensorView hidden, StepContext& context) const;
  float eps() const { return float(config_.norm_eps); }

  ModelConfig config_;
  Topology topology_;
  HeadShard heads_;
  Range ffn_, vocab_;
  KvGroupSpec kv_group_;
  LinearWeight embedding_;  // [this shard's vocabulary, hidden]; also the output layer when tied
  LinearWeight output_;     // untied output layer
  std::vector<LlamaLayer> layers_;
  Tensor final_norm_, inv_freq_;
};

Llama::Llama(const ModelContext& context) : config_(context.config), topology_(context.topology) {
  heads_ = topology_.heads(config_.num_heads, config_.num_kv_heads);
  ffn_ = topology_.shard(config_.intermediate_size);
  vocab_ = topology_.shard(config_.vocab_size);
  const Range stage = topology_.layer_range(config_.num_layers);
  kv_group_ = {stage.size(), heads_.kv.size(), config_.head_dim, 0, context.block_size};

  WeightLoader& loader = context.loader;
  const bool last = topology_.is_last_stage();
  if (topology_.is_first_stage() || (last && config_.tie_word_embeddings))
    embedding_ = loader.load_columns({{"model.embed_tokens.weight", vocab_, config_.vocab_size}}, config_.hidden_size);
  for (int64_t i = stage.begin; i < stage.end; ++i) layers_.push_back(load_layer(i, context));
  if (last) final_norm_ = loader.load_vector("model.norm.weight", config_.hidden_size, DType::f32);
  if (last && !config_.tie_word_embeddings)
    output_ = loader.load_columns({{"lm_head.weight", vocab_, config_.vocab_size}}, config_.hidden_size);
  const Device device = final_norm_ ? final_norm_.view().device() : layers_.front().input_norm.view().device();
  inv_freq_ = rope_inverse_frequencies(config_.rope, device, Stream(device));
}

AttentionLayer Llama::load_attention(int64_t index, const ModelContext& context) const {
  const auto name = [index](std::string_view suffix) { return layer_name("model.layers", index, suffix); };
  const int64_t dim = config_.head_dim;
  const Range q{heads_.q.begin * dim, heads_.q.end * dim}, kv{heads_.kv.begin * dim, heads_.kv.end * dim};
  const int64_t q_total = config_.num_heads * dim, kv_total = config_.num_kv_heads * dim;
  AttentionLayer layer;
  layer.shape = {heads_, dim, 0, {.scale = 1.0f / std::sqrt(float(dim))}};
  layer.qkv.weight = context.loader.load_columns({{name("self_attn.q_proj.weight"), q, q_total},
                                                  {name("self_attn.k_proj.weight"), kv, kv_total},
                                                  {name("self_attn.v_proj.weight"), kv, kv_total}},
                                                 config_.hidden_size);
  layer.output.weight =
      context.loader.load_rows(name("self_attn.o_proj.weight"), config_.hidden_size, q, q_total, int(dim));
  if (config_.attention_bias) {
    const DType dtype = activation_dtype(layer.qkv.weight.device());
    layer.qkv.bias = context.loader.load_vector({{name("self_attn.q_proj.bias"), q, q_total},
                                                 {name("self_attn.k_proj.bias"), kv, kv_total},
                                                 {name("self_attn.v_proj.bias"), kv, kv_total}},
                                                dtype);
  }
  if (config_.output_bias) {
    const DType dtype = activation_dtype(layer.qkv.weight.device());
    layer.output.bias = context.loader.load_vector(name("self_attn.o_proj.bias"), config_.hidden_size, dtype);
  }
  return layer;
}

LlamaLayer Llama::load_layer(int64_t index, const ModelContext& context) const {
  const auto name = [index](std::string_view suffix) { return layer_name("model.layers", index, suffix); };
  const int64_t ffn = config_.intermediate_size;
  WeightLoader& loader = context.loader;
  LlamaLayer layer;
  layer.input_norm = loader.load_vector(name("input_layernorm.weight"), config_.hidden_size, DType::f32);
  layer.attention = load_attention(index, context);
  layer.post_norm = loader.load_vector(name("post_attention_layernorm.weight"), config_.hidden_size, DType::f32);
  layer.gate_up.weight = loader.load_columns(
      {{name("mlp.gate_proj.weight"), ffn_, ffn}, {name("mlp.up_proj.weight"), ffn_, ffn}}, config_.hidden_size);
  layer.down.weight = loader.load_rows(name("mlp.down_proj.weight"), config_.hidden_size, ffn_, ffn, 64);
  if (config_.mlp_bias) {
    const DType dtype = activation_dtype(layer.down.weight.device());
    layer.gate_up.bias =
        loader.load_vector({{name("mlp.gate_proj.bias"), ffn_, ffn}, {name("mlp.up_proj.bias"), ffn_, ffn}}, dtype);
    layer.down.bias = loader.load_vector(name("mlp.down_proj.bias"), config_.hidden_size, dtype);
  }
  return layer;
}

int64_t Llama::workspace_bytes(int64_t tokens) const {
  const int64_t q = heads_.q.size() * config_.head_dim, kv = heads_.kv.size() * config_.head_dim;
  const int64_t attention = config_.hidden_size + 2 * q + 2 * kv, mlp = config_.hidden_size + 3 * ffn_.size();
  return tokens * (4 * std::max(attention, mlp) + 8 * config_.hidden_size) + 16 * 256;
}

void Llama::embed(TensorView hidden, StepContext& context) {
  trireme::embed(hidden, context.ids, embedding_, vocab_.begin, context.stream);
  context.tp_group.all_reduce_sum(hidden, context.stream);  // one rank has the row, the others zeros
}

void Llama::mlp(const LlamaLayer& layer, TensorView hidden, StepContext& context) const {
  WorkspaceScope scope(context.workspace);
  const TensorView normed = context.workspace.take(hidden.dtype(), {hidden.dim(0), config_.hidden_size});
  rms_norm(normed, hidden, layer.post_norm, eps(), context.stream);
  const TensorView gate_up = layer.gate_up.forward(normed, context);
  const TensorView activated = context.workspace.take(hidden.dtype(), {hidden.dim(0), ffn_.size()});
  silu_mul(activated, gate_up, context.stream);
  layer.down.add_into(hidden, activated, context);
}

void Llama::layers(TensorView hidden, StepContext& context) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LlamaLayer& layer = layers_[i];
    {
      WorkspaceScope scope(context.workspace);
      const TensorView normed = context.workspace.take(hidden.dtype(), {hidden.dim(0), config_.hidden_size});
      rms_norm(normed, hidden, layer.input_norm, eps(), context.stream);
      layer.attention.add_into(hidden, normed, inv_freq_, int64_t(i), context);
    }
    mlp(layer, hidden, context);
  }
}

void Llama::logits(TensorView logits, TensorView rows, StepContext& context) {
  rms_norm(rows, rows, final_norm_, eps(), context.stream);
  linear(logits, rows, config_.tie_word_embeddings ? embedding_ : output_, TensorView(), context.stream);
}

}  // namespace

std::unique_ptr<Model> make_llama(const ModelContext& context) { return std::make_unique<Llama>(context); }

}  // namespace trireme
