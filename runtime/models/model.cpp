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

// llama3: long wavelengths are slowed by `factor`, short ones kept, those between blended.
double llama3_frequency(double frequency, const RopeConfig& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double original = double(rope.original_max_positions);
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
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
    // Rounded to float32 where the reference implementation does, so that angles agree to the last bit.
    const float power = float(2 * i) / float(rope.rotary_dim);
    const double frequency = double(1.0f / std::pow(float(rope.theta), power));
    values.push_back(float(rope.type == "llama3" ? llama3_frequency(frequency, rope) : frequency));
  }
  Tensor tensor(DType::f32, {int64_t(values.size())}, device);
  copy_async(tensor.data(), values.data(), values.size() * sizeof(float), device, stream);
  stream.synchronize();
  return tensor;
}

}  // namespace trireme
