#pragma once
// RoPE settings from a config, and the rules by which the frequencies theta^(-2i / rotary_dim) are stretched.
//
//   default   as they are
//   linear    all divided by factor
//   dynamic   theta grows with the context once that exceeds original_max_positions
//   llama3    long wavelengths divided by factor, short ones kept, those between blended
//   yarn      the same with a ramp over dimensions, and cos and sin times attention_factor
//   longrope  each divided by its own short_factor or long_factor, cos and sin times attention_factor
//
// transformers lets dynamic and longrope depend on the longest sequence of each call, so that a token's keys would
// change under a cache that holds them. Here, as in vLLM, they depend on --max-model-len: it is what the server
// promises to take. The two agree for dynamic while --max-model-len is within max_position_embeddings (the default),
// for longrope with --max-model-len up to original_max_position_embeddings (short), or on longer sequences (long).

#include <string>
#include <vector>

#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace trireme {

// What a family has where its config does not say.
struct RopeDefaults {
  double theta = 10000;
  double rotary_share = 1;  // of head_dim
  bool interleaved = false;
  bool old_longrope_names = false;  // Phi-3 called it "su" and "yarn"
};

// Transformers 5: "rope_parameters" holds type, theta and figures. Before: "rope_theta" beside "rope_scaling" (null, or
// the figures with "rope_type", once "type"). `config` gives head_dim and max_positions. Checked.
RopeConfig read_rope(const JsonFields& fields, const ModelConfig& config, const RopeDefaults& defaults);

// Gemma 3's two: of full layers, then of windowed ones. Transformers 5 keys rope_parameters by layer type; before,
// rope_local_base_freq was the windowed layers' theta.
void read_rope_by_layer_type(const JsonFields& fields, ModelConfig& config);

// Throws CheckpointError naming `what` unless type and figures are ones that are computed here.
void check_rope(const RopeConfig& rope, const std::string& what);

// The rotary_dim / 2 frequencies, rounded to float32 where transformers does: an angle is one of them times a
// position, so its last bit shows at long contexts.
std::vector<float> rope_frequencies(const RopeConfig& rope, int64_t max_model_len);

// By what llama3 divides each frequency (GGUF stores these); all 1 for type default.
std::vector<double> rope_divisors(const RopeConfig& rope);

}  // namespace trireme
