#pragma once
// A decoder's weights on one rank: which tensors, which of their rows and columns.

#include "runtime/layers/gated_mlp.h"
#include "runtime/models/decoder.h"

namespace trireme {

struct DecoderLayer {
  Tensor attention_norm, mlp_norm;  // [hidden] f32; empty: none
  AttentionLayer attention;
  GatedMlp mlp;
  int64_t kv_layer = 0;   // among this rank's layers of its KV group
  bool windowed = false;  // in the config; it may still see all of the longest sequence
};

class DecoderWeights {
 public:
  DecoderWeights(const ModelContext& context, const DecoderSpec& spec);

  const HeadShard& heads() const { return heads_; }
  Range ffn() const { return ffn_; }
  Range vocab() const { return vocab_; }

  LinearWeight load_embedding() const;
  LinearWeight load_output() const;  // of an untied model
  Tensor load_final_norm() const;
  DecoderLayer load_layer(int64_t index) const;  // but for its KV group

 private:
  std::string name(int64_t layer, std::string_view suffix) const {
    return layer_name(prefix_ + "layers", layer, suffix);
  }
  Tensor load_norm(int64_t layer, std::string_view stem) const;  // empty stem: empty
  AttentionLayer load_attention(int64_t layer) const;
  void load_qk_norms(int64_t layer, AttentionLayer& attention) const;
  GatedMlp load_mlp(int64_t layer) const;
  std::vector<WeightPart> qkv_parts(int64_t layer, std::string_view suffix) const;
  std::vector<WeightPart> gate_up_parts(int64_t layer, std::string_view suffix) const;

  const ModelConfig& config_;
  WeightLoader& loader_;
  DecoderSpec spec_;
  std::string prefix_;  // of the inner model's tensors
  HeadShard heads_;
  Range ffn_, vocab_;
};

}  // namespace trireme
