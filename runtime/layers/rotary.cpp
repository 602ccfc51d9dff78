#include "runtime/layers/rotary.h"

#include "checkpoint/rope_scaling.h"

namespace trireme {

RotaryEmbedding make_rotary(const RopeConfig& rope, int64_t max_model_len, Device device, const Stream& stream) {
  const std::vector<float> values = rope_frequencies(rope, max_model_len);
  RotaryEmbedding rotary;
  rotary.inv_freq = Tensor(DType::f32, {int64_t(values.size())}, device);
  rotary.scale = float(rope.attention_factor);
  rotary.interleaved = rope.interleaved;
  copy_async(rotary.inv_freq.data(), values.data(), values.size() * sizeof(float), device, stream);
  stream.synchronize();
  return rotary;
}

}  // namespace trireme
