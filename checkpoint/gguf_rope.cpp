#include "checkpoint/gguf_rope.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/rope_scaling.h"

namespace trireme {
namespace {

using namespace config_limits;

// An F32 tensor of `count` values; empty when it is something else.
std::vector<float> read_factors(const GgufModel& model, const GgufTensor& tensor, int64_t count) {
  if (tensor.type->dtype != DType::f32 || tensor.bytes != count * int64_t(sizeof(float))) return {};
  std::vector<float> values(static_cast<size_t>(count));
  model.files[tensor.file]->read(tensor.offset, tensor.bytes, reinterpret_cast<std::byte*>(values.data()), tensor.name);
  return values;
}

// Llama 3.1 files do not say llama3 in their metadata: they store the divisors of the frequencies as a tensor. The
// published models differ only in the factor, so it is read off the last divisor and the others are checked.
void recognise_llama3_rope(const GgufModel& model, const GgufTensor& tensor, RopeConfig& rope) {
  const std::vector<float> stored = read_factors(model, tensor, rope.rotary_dim / 2);
  RopeConfig candidate = rope;
  candidate.type = "llama3";
  candidate.factor = stored.empty() ? 0 : double(stored.back());
  candidate.low_freq_factor = 1;
  candidate.high_freq_factor = 4;
  candidate.original_max_positions = 8192;
  const std::vector<double> expected = rope_divisors(candidate);
  const auto close = [](float a, double b) { return std::abs(a - b) <= 1e-3 * b; };
  if (!(candidate.factor >= 1) || !std::equal(stored.begin(), stored.end(), expected.begin(), expected.end(), close))
    throw CheckpointError(model.metadata.path() +
                          ": tensor \"rope_freqs.weight\" is not the RoPE scaling of Llama 3.1 to 3.3, the only one "
                          "supported in GGUF files: use the model's Hugging Face directory");
  rope = candidate;
}

void read_longrope(const GgufModel& model, const GgufTensor& long_factors, const std::string& prefix,
                   const ModelConfig& config, RopeConfig& rope) {
  const GgufTensor* short_factors = model.find("rope_factors_short.weight");
  const int64_t count = rope.rotary_dim / 2;
  const auto doubles = [&](const GgufTensor& tensor) {
    const std::vector<float> values = read_factors(model, tensor, count);
    return std::vector<double>(values.begin(), values.end());
  };
  rope.type = "longrope";
  rope.long_factor = doubles(long_factors);
  if (short_factors) rope.short_factor = doubles(*short_factors);
  rope.original_max_positions =
      model.metadata.integer(prefix + "rope.scaling.original_context_length", 1, kMaxPositions);
  const double stretch = double(config.max_positions) / double(rope.original_max_positions);
  const double computed =
      stretch <= 1 ? 1 : std::sqrt(1 + std::log(stretch) / std::log(double(rope.original_max_positions)));
  rope.attention_factor = model.metadata.number(prefix + "rope.scaling.attn_factor", computed);
}

void read_scaling(const GgufMetadata& metadata, const std::string& prefix, const std::string& type,
                  const ModelConfig& config, RopeConfig& rope) {
  const std::string scaling = prefix + "rope.scaling.";
  rope.factor = metadata.number(scaling + "factor", metadata.number(prefix + "rope.scale_linear", 1));
  if (rope.factor == 1) return;
  rope.type = type;
  rope.original_max_positions =
      metadata.integer(scaling + "original_context_length", 1, kMaxPositions, config.max_positions);
  if (type != "yarn") return;
  rope.beta_fast = metadata.number(scaling + "yarn_beta_fast", rope.beta_fast);
  rope.beta_slow = metadata.number(scaling + "yarn_beta_slow", rope.beta_slow);
  rope.attention_factor = metadata.number(scaling + "attn_factor", 1) * (1 + 0.1 * std::log(rope.factor));
}

// Positions for which the scaling was made, as for config.json.
void extend_positions(const RopeConfig& rope, ModelConfig& config) {
  const auto stretched = [&](int64_t length) {
    return int64_t(std::min(double(length) * rope.factor, double(kMaxPositions)));
  };
  if (rope.type == "linear" && !config.windowed_rope) config.max_positions = stretched(config.max_positions);
  if (rope.type == "yarn")
    config.max_positions = std::max(config.max_positions, stretched(rope.original_max_positions));
}

}  // namespace

RopeConfig read_gguf_rope(const GgufModel& model, const std::string& family, ModelConfig& config) {
  const GgufMetadata& metadata = model.metadata;
  const std::string prefix = family + ".";
  RopeConfig rope;
  rope.theta = metadata.number(prefix + "rope.freq_base", 10000);
  rope.rotary_dim = metadata.integer(prefix + "rope.dimension_count", 1, kMaxHeadDim, config.head_dim);
  if (rope.rotary_dim > config.head_dim || rope.rotary_dim % 2 != 0 ||
      (family == "llama" && rope.rotary_dim != config.head_dim))
    throw CheckpointError(metadata.path() + ": RoPE over " + std::to_string(rope.rotary_dim) + " of " +
                          std::to_string(config.head_dim) + " dimensions is not supported");
  const std::string type = metadata.text(prefix + "rope.scaling.type", "linear");
  if (type != "none" && type != "longrope") read_scaling(metadata, prefix, type, config, rope);
  if (const GgufTensor* divisors = model.find("rope_freqs.weight")) recognise_llama3_rope(model, *divisors, rope);
  if (const GgufTensor* factors = model.find("rope_factors_long.weight"))
    read_longrope(model, *factors, prefix, config, rope);
  check_rope(rope, metadata.path());
  extend_positions(rope, config);
  return rope;
}

}  // namespace trireme
