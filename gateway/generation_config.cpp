#include "gateway/generation_config.h"

#include "base/error.h"
#include "base/json.h"

namespace trireme {
namespace {

constexpr size_t kMaxFileBytes = size_t(1) << 20;

template <typename T>
void put(std::optional<T>& target, const std::optional<T>& value) {
  if (value) target = value;
}

void overlay(GenerationDefaults& defaults, const GenerationDefaults& by) {
  put(defaults.temperature, by.temperature);
  put(defaults.top_p, by.top_p);
  put(defaults.repetition_penalty, by.repetition_penalty);
  put(defaults.min_p, by.min_p);
  put(defaults.typical_p, by.typical_p);
  put(defaults.top_k, by.top_k);
  put(defaults.max_new_tokens, by.max_new_tokens);
  put(defaults.max_length, by.max_length);
  put(defaults.min_new_tokens, by.min_new_tokens);
  put(defaults.min_length, by.min_length);
  put(defaults.do_sample, by.do_sample);
}

}  // namespace

void choose_generation_defaults(ModelAssets& assets, const std::string& source, const std::string& override_json) {
  Checkpoint& checkpoint = assets.checkpoint;
  try {
    if (source == "vllm") checkpoint.defaults = {};
    if (source != "vllm" && source != "auto" && !source.empty()) {
      const std::string file = source + "/generation_config.json";
      checkpoint.defaults = parse_generation_config(read_text_file(file, kMaxFileBytes), file, checkpoint.config);
    }
  } catch (const CheckpointError& error) {
    throw ConfigError(std::string("--generation-config: ") + error.what() +
                      "; give auto, vllm, or a folder with a generation_config.json");
  }
  if (override_json.empty()) return;
  try {
    overlay(checkpoint.defaults, parse_generation_config(override_json, "the object", checkpoint.config));
  } catch (const CheckpointError& error) {
    throw ConfigError(std::string("--override-generation-config: ") + error.what());
  }
}

}  // namespace trireme
