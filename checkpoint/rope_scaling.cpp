#include "checkpoint/rope_scaling.h"

#include <cmath>
#include <numbers>

#include "base/error.h"
#include "checkpoint/checked.h"

namespace trireme {

void check_rope(const RopeConfig& rope, const std::string& what) {
  if (rope.type != "default" && rope.type != "llama3")
    throw CheckpointError(what + ": RoPE scaling of type " + quoted(rope.type) +
                          " is not supported; supported: default, llama3");
  if (!(rope.theta > 0) || !std::isfinite(rope.theta))
    throw CheckpointError(what + ": rope_theta must be positive, got " + std::to_string(rope.theta));
  if (rope.type == "default") return;
  const bool sound = rope.factor >= 1 && rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor &&
                     rope.original_max_positions > 0;
  if (!sound)
    throw CheckpointError(what +
                          ": RoPE scaling llama3 needs factor >= 1, 0 < low_freq_factor < high_freq_factor and "
                          "original_max_position_embeddings > 0");
}

// Wavelengths below original / high stay, those above original / low are divided by factor, between them the two
// are mixed by smooth = (original / wavelength - low) / (high - low).
std::vector<double> rope_divisors(const RopeConfig& rope) {
  std::vector<double> divisors(size_t(rope.rotary_dim / 2), 1.0);
  if (rope.type != "llama3") return divisors;
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double frequency = std::pow(rope.theta, -2.0 * double(i) / double(rope.rotary_dim));
    const double turns = double(rope.original_max_positions) * frequency / (2 * std::numbers::pi);
    if (turns > rope.high_freq_factor) continue;
    if (turns < rope.low_freq_factor) {
      divisors[i] = rope.factor;
      continue;
    }
    const double smooth = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    divisors[i] = 1 / ((1 - smooth) / rope.factor + smooth);
  }
  return divisors;
}

}  // namespace trireme
