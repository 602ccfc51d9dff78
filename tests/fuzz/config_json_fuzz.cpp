// Input: config.json; after a zero byte, if there is one, generation_config.json.

#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "checkpoint/model_config.h"
#include "checkpoint/quantization.h"
#include "checkpoint/rope_scaling.h"

namespace trireme::test {
namespace {

// Figures that size allocations and loops elsewhere.
void require_sound(const ModelConfig& config) {
  const bool sound = config.hidden_size > 0 && config.num_layers > 0 && config.num_heads > 0 && config.head_dim > 0 &&
                     config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads == 0 && config.vocab_size > 0 &&
                     config.max_positions > 0 && config.rope.rotary_dim <= config.head_dim &&
                     std::isfinite(config.norm_eps) && std::isfinite(config.attention_scale) &&
                     (config.layer_windows.empty() || int64_t(config.layer_windows.size()) == config.num_layers);
  if (!sound) std::abort();
  for (const int64_t id : config.eos_token_ids) {
    if (id < 0 || id >= config.vocab_size) std::abort();
  }
}

void check(std::string_view input) {
  const size_t cut = input.find('\0');
  const std::string_view text = input.substr(0, cut);
  refuse_quantized_config(text, "config.json");
  ModelConfig config = parse_model_config(text, "config.json");
  require_sound(config);
  if (cut == std::string_view::npos) return;
  parse_generation_config(input.substr(cut + 1), "generation_config.json", config);
  require_sound(config);
}

}  // namespace
}  // namespace trireme::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    trireme::test::check({reinterpret_cast<const char*>(data), size});
  } catch (const trireme::CheckpointError&) {
  }
  return 0;
}
