#include "checkpoint/rope_scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "checkpoint/checked.h"
#include "checkpoint/config_limits.h"

namespace trireme {
namespace {

constexpr std::array<std::string_view, 6> kTypes = {"default", "linear", "dynamic", "llama3", "yarn", "longrope"};

double default_yarn_factor(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double yarn_attention_factor(const JsonFields& scaling, double factor) {
  if (const auto given = scaling.maybe_number("attention_factor")) return *given;
  const double mscale = scaling.number("mscale", 0), all_dim = scaling.number("mscale_all_dim", 0);
  if (mscale != 0 && all_dim != 0) return default_yarn_factor(factor, mscale) / default_yarn_factor(factor, all_dim);
  return default_yarn_factor(factor, 1);
}

// A key with the value 0 counts as absent, as in the reference implementation.
double number_or(const JsonFields& scaling, std::string_view key, double fallback) {
  const double value = scaling.number(key, 0);
  return value == 0 ? fallback : value;
}

void read_yarn(const JsonFields& scaling, const ModelConfig& config, RopeConfig& rope) {
  rope.factor = scaling.number("factor", double(config.max_positions) / double(rope.original_max_positions));
  rope.beta_fast = number_or(scaling, "beta_fast", rope.beta_fast);
  rope.beta_slow = number_or(scaling, "beta_slow", rope.beta_slow);
  rope.truncate = scaling.flag("truncate", true);
  rope.attention_factor = yarn_attention_factor(scaling, rope.factor);
}

void read_longrope(const JsonFields& scaling, const ModelConfig& config, RopeConfig& rope) {
  rope.short_factor = scaling.numbers("short_factor");
  rope.long_factor = scaling.numbers("long_factor");
  const double original = double(rope.original_max_positions);
  const double factor = scaling.number("factor", double(config.max_positions) / original);
  const double computed = factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
  rope.attention_factor = scaling.number("attention_factor", computed);
}

void read_figures(const JsonFields& fields, const JsonFields& scaling, const ModelConfig& config, RopeConfig& rope) {
  // Phi-3 has it beside the figures, and then it is that one that counts.
  const int64_t inside =
      scaling.integer("original_max_position_embeddings", 1, config_limits::kMaxPositions, config.max_positions);
  rope.original_max_positions =
      fields.integer("original_max_position_embeddings", 1, config_limits::kMaxPositions, inside);
  if (rope.type == "linear") rope.factor = scaling.number("factor");
  if (rope.type == "dynamic") {
    rope.factor = scaling.number("factor");
    rope.original_max_positions = config.max_positions;
  }
  if (rope.type == "llama3") {
    rope.factor = scaling.number("factor");
    rope.low_freq_factor = scaling.number("low_freq_factor");
    rope.high_freq_factor = scaling.number("high_freq_factor");
  }
  if (rope.type == "yarn") read_yarn(scaling, config, rope);
  if (rope.type == "longrope") read_longrope(scaling, config, rope);
}

RopeConfig read_one(const JsonFields& fields, const std::optional<JsonFields>& scaling, const ModelConfig& config,
                    const RopeDefaults& defaults) {
  RopeConfig rope;
  rope.theta = defaults.theta;
  rope.interleaved = defaults.interleaved;
  double rotary_share = defaults.rotary_share;
  if (scaling) {
    rope.type = scaling->text("rope_type", scaling->text("type", rope.type));
    if (defaults.old_longrope_names && (rope.type == "su" || rope.type == "yarn")) rope.type = "longrope";
    rope.theta = scaling->number("rope_theta", rope.theta);
    rotary_share = scaling->number("partial_rotary_factor", rotary_share);
  }
  if (!(rotary_share > 0 && rotary_share <= 1)) fields.fail("partial_rotary_factor", "must be above 0 and at most 1");
  rope.rotary_dim = int64_t(double(config.head_dim) * rotary_share);
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0)
    fields.fail("partial_rotary_factor", "leaves " + std::to_string(rope.rotary_dim) + " of head_dim " +
                                             std::to_string(config.head_dim) + " dimensions to rotate: must be even");
  if (scaling && std::ranges::find(kTypes, rope.type) != kTypes.end() && rope.type != "default")
    read_figures(fields, *scaling, config, rope);
  check_rope(rope, fields.what());
  return rope;
}

std::optional<JsonFields> scaling_of(const JsonFields& fields) {
  const auto parameters = fields.object("rope_parameters");
  return parameters ? parameters : fields.object("rope_scaling");
}

void check_factors(const RopeConfig& rope, const std::vector<double>& factors, const char* name,
                   const std::string& what) {
  const bool positive = std::ranges::all_of(factors, [](double factor) { return factor > 0; });
  if (int64_t(factors.size()) != rope.rotary_dim / 2 || !positive)
    throw CheckpointError(what + ": RoPE scaling longrope needs " + std::to_string(rope.rotary_dim / 2) +
                          " positive numbers as " + name + ", got " + std::to_string(factors.size()) +
                          (positive ? "" : ", not all positive"));
}

float plain_frequency(const RopeConfig& rope, int64_t i, double theta) {
  return 1.0f / std::pow(float(theta), float(2 * i) / float(rope.rotary_dim));
}

float llama3_frequency(float frequency, const RopeConfig& rope) {
  const float original = float(rope.original_max_positions), factor = float(rope.factor);
  const float low = float(rope.low_freq_factor), high = float(rope.high_freq_factor);
  const float wavelength = float(2 * std::numbers::pi) / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

double dynamic_theta(const RopeConfig& rope, int64_t max_model_len) {
  const double original = double(rope.original_max_positions), dim = double(rope.rotary_dim);
  const double length = std::max(double(max_model_len), original);
  return rope.theta * std::pow(rope.factor * length / original - (rope.factor - 1), dim / (dim - 2));
}

// The dimensions between which interpolation sets in: those that turn beta_fast and beta_slow times in the original
// context.
struct YarnRamp {
  double low, high;
  explicit YarnRamp(const RopeConfig& rope) {
    const double dim = double(rope.rotary_dim);
    const auto dimension = [&](double turns) {
      return dim * std::log(double(rope.original_max_positions) / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(rope.theta));
    };
    low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
    if (rope.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, dim - 1);
    if (low == high) high += 0.001;
  }
  float interpolated(int64_t i) const { return std::clamp((float(i) - float(low)) / float(high - low), 0.0f, 1.0f); }
};

float yarn_frequency(const RopeConfig& rope, const YarnRamp& ramp, int64_t i) {
  const float wave = std::pow(float(rope.theta), float(2 * i) / float(rope.rotary_dim));
  const float kept = 1 - ramp.interpolated(i);
  return 1.0f / (float(rope.factor) * wave) * (1 - kept) + 1.0f / wave * kept;
}

float longrope_frequency(const RopeConfig& rope, const std::vector<double>& factors, int64_t i) {
  return 1.0f / (float(factors[size_t(i)]) * std::pow(float(rope.theta), float(2 * i) / float(rope.rotary_dim)));
}

}  // namespace

RopeConfig read_rope(const JsonFields& fields, const ModelConfig& config, const RopeDefaults& defaults) {
  RopeDefaults given = defaults;
  given.theta = fields.number("rope_theta", defaults.theta);
  given.rotary_share = fields.number("partial_rotary_factor", defaults.rotary_share);
  const auto scaling = scaling_of(fields);
  if (scaling && (scaling->has("full_attention") || scaling->has("sliding_attention")))
    fields.fail("rope_parameters", "by layer type are supported for Gemma 3 only");
  return read_one(fields, scaling, config, given);
}

void read_rope_by_layer_type(const JsonFields& fields, ModelConfig& config) {
  const auto parameters = fields.object("rope_parameters");
  const RopeDefaults full{.theta = fields.number("rope_theta", 1000000)};
  const RopeDefaults windowed{.theta = fields.number("rope_local_base_freq", 10000)};
  config.rope =
      read_one(fields, parameters ? parameters->object("full_attention") : fields.object("rope_scaling"), config, full);
  config.windowed_rope =
      read_one(fields, parameters ? parameters->object("sliding_attention") : std::nullopt, config, windowed);
}

void check_rope(const RopeConfig& rope, const std::string& what) {
  const auto require = [&](bool sound, const std::string& needs) {
    if (!sound) throw CheckpointError(what + ": RoPE scaling " + rope.type + " needs " + needs);
  };
  if (std::ranges::find(kTypes, rope.type) == kTypes.end()) {
    std::string supported;
    for (const std::string_view type : kTypes) supported += (supported.empty() ? "" : ", ") + std::string(type);
    throw CheckpointError(what + ": RoPE scaling of type " + quoted(rope.type) +
                          " is not supported; supported: " + supported);
  }
  if (!(rope.theta > 0) || !std::isfinite(rope.theta))
    throw CheckpointError(what + ": rope_theta must be positive, got " + std::to_string(rope.theta));
  if (rope.type == "default") return;
  if (rope.type != "longrope") require(rope.factor >= 1, "factor >= 1");
  if (rope.type == "dynamic") require(rope.rotary_dim > 2, "more than 2 rotated dimensions");
  if (rope.type == "llama3")
    require(rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor,
            "0 < low_freq_factor < high_freq_factor");
  if (rope.type == "yarn")
    require(rope.beta_fast >= rope.beta_slow && rope.beta_slow > 0 && rope.theta > 1,
            "beta_fast >= beta_slow > 0 and rope_theta > 1");
  if (rope.type == "yarn" || rope.type == "longrope") require(rope.attention_factor > 0, "a positive attention_factor");
  if (rope.type != "linear") require(rope.original_max_positions > 1, "original_max_position_embeddings > 1");
  if (rope.type != "longrope") return;
  check_factors(rope, rope.short_factor, "short_factor", what);
  check_factors(rope, rope.long_factor, "long_factor", what);
}

std::vector<float> rope_frequencies(const RopeConfig& rope, int64_t max_model_len) {
  const double theta = rope.type == "dynamic" ? dynamic_theta(rope, max_model_len) : rope.theta;
  const std::vector<double>& factors =
      max_model_len > rope.original_max_positions ? rope.long_factor : rope.short_factor;
  std::vector<float> frequencies;
  for (int64_t i = 0; i < rope.rotary_dim / 2; ++i) {
    float frequency = plain_frequency(rope, i, theta);
    if (rope.type == "linear") frequency /= float(rope.factor);
    if (rope.type == "llama3") frequency = llama3_frequency(frequency, rope);
    if (rope.type == "yarn") frequency = yarn_frequency(rope, YarnRamp(rope), i);
    if (rope.type == "longrope") frequency = longrope_frequency(rope, factors, i);
    frequencies.push_back(frequency);
  }
  return frequencies;
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
