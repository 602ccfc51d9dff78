#pragma once
// A model on one rank: its stage's layers, its shard of each. A new model is one file in this folder and one
// row in model.cpp's table.

#include <memory>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"
#include "kernels/linear_tuning.h"
#include "kernels/mark_progress.h"
#include "runtime/step_context.h"
#include "runtime/weight_loader.h"

namespace trireme {

// What a model is built from.
struct ModelContext {
  const ModelConfig& config;
  const Topology& topology;
  WeightLoader& loader;
  int32_t block_size = 16;
  int64_t max_model_len = 0;  // the longest sequence that may be asked for
};

// A linear layer's weight, the dtype of what it makes, and what is computed with it.
struct LinearUse {
  const LinearWeight* weight;
  DType out;
  LinearRole role = {};
};

class Model {
 public:
  virtual ~Model() = default;
  virtual std::vector<KvGroupSpec> kv_groups() const = 0;  // this rank's, by group
  // Bytes of workspace forward() takes for that many tokens, beside hidden and logits.
  virtual int64_t workspace_bytes(int64_t tokens) const = 0;

  // All linear layers, for a measurement before the first step.
  virtual std::vector<LinearUse> linear_layers() const = 0;

  // First stage only: hidden[t, :] = embedding of context.ids[t].   hidden: [T, hidden_size] activation dtype.
  virtual void embed(TensorView hidden, StepContext& context) = 0;
  // This stage's layers, in place.
  virtual void layers(TensorView hidden, StepContext& context) = 0;
  // Last stage only: final norm and output layer of some rows.   rows: [R, hidden_size] (overwritten);
  // logits: [R, this shard's vocabulary] f32.
  virtual void logits(TensorView logits, TensorView rows, StepContext& context) = 0;
};

// Loads this rank's weights. Throws ConfigError for a topology the model cannot take, CheckpointError for weights.
std::unique_ptr<Model> make_model(const ModelContext& context);

// Shared by the model files.
// Whether the device marks its progress behind a layer: a few layers of a long prompt may take a while; the worker marks
// every step's end.
inline bool is_marked(int64_t layer, int64_t tokens) { return tokens >= 512 && layer % 4 == 0; }
// Behind every layer of a stage, counted from its first.
inline void end_layer(int64_t layer, int64_t tokens, const StepContext& context) {
  if (is_marked(layer, tokens)) mark_progress(context.device, context.stream);
}
std::string layer_name(std::string_view prefix, int64_t layer,
                       std::string_view suffix);  // "model.layers.3.mlp.up_proj.weight"

std::unique_ptr<Model> make_llama(const ModelContext& context);
std::unique_ptr<Model> make_mistral(const ModelContext& context);
std::unique_ptr<Model> make_qwen2(const ModelContext& context);
std::unique_ptr<Model> make_qwen3(const ModelContext& context);
std::unique_ptr<Model> make_gemma2(const ModelContext& context);
std::unique_ptr<Model> make_gemma3(const ModelContext& context);
std::unique_ptr<Model> make_phi3(const ModelContext& context);
std::unique_ptr<Model> make_olmo2(const ModelContext& context);
std::unique_ptr<Model> make_glm4(const ModelContext& context);
std::unique_ptr<Model> make_gpt2(const ModelContext& context);

}  // namespace trireme
