#include "runtime/models/model.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trireme {
namespace {

struct ModelRow {
  std::string_view architecture;
  std::unique_ptr<Model> (*make)(const ModelContext&);
};

constexpr ModelRow kModels[] = {
    {"LlamaForCausalLM", make_llama},
    {"GPT2LMHeadModel", make_gpt2},
};

// llama3: long wavelengths are slowed by `factor`, short ones kept, those between blended. In float32 and in the
// reference implementation's order: an angle is this times a position, so its last bit shows at long contexts.
float llama3_frequency(float frequency, const RopeConfig& rope) {
  const float original = float(rope.original_max_positions), factor = float(rope.factor);
  const float low = float(rope.low_freq_factor), high = float(rope.high_freq_factor);
  const float wavelength = float(2 * std::numbers::pi) / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::unique_ptr<Model> make_model(const ModelContext& context) {
  for (const ModelRow& row : kModels)
    if (row.architecture == context.config.architecture) return row.make(context);
  std::string known;
  for (const ModelRow& row : kModels) known += (known.empty() ? "" : ", ") + std::string(row.architecture);
  throw ConfigError("architecture " + context.config.architecture + " is not supported; supported: " + known);
}

std::string layer_name(std::string_view prefix, int64_t layer, std::string_view suffix) {
  return std::string(prefix) + "." + std::to_string(layer) + "." + std::string(suffix);
}

Tensor rope_inverse_frequencies(const RopeConfig& rope, Device device, const Stream& stream) {
  std::vector<float> values;
  for (int64_t i = 0; i < rope.rotary_dim / 2; ++i) {
    // Rounded to float32 where the reference implementation does.
    const float frequency = 1.0f / std::pow(float(rope.theta), float(2 * i) / float(rope.rotary_dim));
    values.push_back(rope.type == "llama3" ? llama3_frequency(frequency, rope) : frequency);
  }
  Tensor tensor(DType::f32, {int64_t(values.size())}, device);
  copy_async(tensor.data(), values.data(), values.size() * sizeof(float), device, stream);
  stream.synchronize();
  return tensor;
}

}  // namespace trireme
