#pragma once
// Reads tests/runtime/golden/sampling (layout: scripts/goldens/make_sampling_goldens.py) into sampling orders.

#include <string>
#include <vector>

#include "kernels/step.h"
#include "tests/runtime/support/goldens.h"
#include "tests/runtime/support/shard_threads.h"

namespace trireme::test {

struct GoldenSetting {
  std::string name;
  SampleRow row;
  bool penalize_prompt = true;
  std::vector<int32_t> prompt, drawn, bias_ids, suppressed, allowed;
  std::vector<float> bias_values;
};

struct SamplingGoldens {
  int64_t vocab = 0;
  std::vector<std::vector<float>> logits;  // [rows][vocab]
  std::vector<GoldenSetting> settings, beams;
  std::vector<float> probabilities;               // [settings, rows, vocab]
  std::vector<int32_t> beam_ids;                  // [beams, rows, kGoldenCandidates]
  std::vector<float> beam_values, beam_logprobs;  // likewise
};
inline constexpr int kGoldenCandidates = 32;

inline GoldenSetting read_setting(const json::object& defaults, const json::object& given) {
  const auto field = [&](const char* name) -> const json::value& {
    return given.contains(name) ? given.at(name) : defaults.at(name);
  };
  const auto number = [&](const char* name) { return field(name).to_number<float>(); };
  const auto list = [&]<typename T>(const char* name, std::vector<T>& values) {
    for (const json::value& value : field(name).as_array()) values.push_back(value.to_number<T>());
  };
  GoldenSetting setting;
  setting.name = given.at("name").as_string();
  setting.row.temperature = number("temperature");
  setting.row.top_k = field("top_k").to_number<int32_t>();
  setting.row.top_p = number("top_p");
  setting.row.min_p = number("min_p");
  setting.row.typical_p = number("typical_p");
  setting.row.repetition_penalty = number("repetition_penalty");
  setting.row.presence_penalty = number("presence_penalty");
  setting.row.frequency_penalty = number("frequency_penalty");
  setting.penalize_prompt = field("penalize_prompt").to_number<int>() != 0;
  list("prompt", setting.prompt);
  list("drawn", setting.drawn);
  list("bias_ids", setting.bias_ids);
  list("bias_values", setting.bias_values);
  list("suppressed", setting.suppressed);
  list("allowed", setting.allowed);
  return setting;
}

inline SamplingGoldens read_sampling_goldens() {
  const std::string path = TRIREME_SOURCE_DIR "/tests/runtime/golden/sampling";
  const json::value document = parse_json(read_text_file(path + ".json"), "sampling.json");
  const json::object& root = document.as_object();
  const std::string data = read_text_file(path + ".bin");
  const json::object &arrays = root.at("arrays").as_object(), &defaults = root.at("defaults").as_object();
  SamplingGoldens goldens;
  goldens.vocab = root.at("vocab").to_number<int64_t>();
  const std::vector<float> logits = golden_array(arrays, data, "logits");
  for (auto row = logits.begin(); row != logits.end(); row += goldens.vocab)
    goldens.logits.emplace_back(row, row + goldens.vocab);
  for (const json::value& one : root.at("settings").as_array())
    goldens.settings.push_back(read_setting(defaults, one.as_object()));
  for (const json::value& one : root.at("beams").as_array())
    goldens.beams.push_back(read_setting(defaults, one.as_object()));
  goldens.probabilities = golden_array(arrays, data, "probabilities");
  goldens.beam_ids = golden_array<int32_t>(arrays, data, "beam_ids");
  goldens.beam_values = golden_array(arrays, data, "beam_values");
  goldens.beam_logprobs = golden_array(arrays, data, "beam_logprobs");
  return goldens;
}

// The counts row of the setting's history, as a slot gets it when it opens.
inline std::vector<uint16_t> counts_of(const GoldenSetting& setting, int64_t vocab) {
  std::vector<int32_t> history = setting.prompt;
  history.insert(history.end(), setting.drawn.begin(), setting.drawn.end());
  const auto ints = [](std::vector<int32_t> values) {
    return upload(values, DType::i32, {int64_t(values.size())}, kCpu);
  };
  const Tensor length = ints({0}), last_token = ints({0});
  const Tensor counts(DType::u16, {1, vocab}, kCpu);
  open_slots({length, last_token, counts}, ints({0}), ints({int32_t(setting.prompt.size())}),
             ints({0, int32_t(history.size())}), ints(history), ints({setting.penalize_prompt ? 1 : 2}), 0,
             Stream(kCpu));
  const auto* first = static_cast<const uint16_t*>(counts.data());
  return {first, first + vocab};
}

// Adds the setting's lists and a slot with its history to the problem; the row that refers to them.
inline SampleRow add_setting(Problem& problem, const GoldenSetting& setting, int64_t vocab) {
  SampleRow row = setting.row;
  SampleBatch& batch = problem.batch;
  row.bias_begin = int32_t(batch.bias_ids.size());
  row.bias_count = int32_t(setting.bias_ids.size());
  batch.bias_ids.insert(batch.bias_ids.end(), setting.bias_ids.begin(), setting.bias_ids.end());
  batch.bias_values.insert(batch.bias_values.end(), setting.bias_values.begin(), setting.bias_values.end());
  row.suppress_begin = int32_t(batch.suppressed.size());
  row.suppress_count = int32_t(setting.suppressed.size());
  batch.suppressed.insert(batch.suppressed.end(), setting.suppressed.begin(), setting.suppressed.end());
  if (!setting.allowed.empty()) {
    const size_t words = size_t(vocab + 31) / 32, begin = batch.masks.size();
    row.mask_row = int32_t(begin / words);
    batch.masks.resize(begin + words, 0);
    for (int32_t id : setting.allowed) batch.masks[begin + size_t(id / 32)] |= 1u << (id % 32);
  }
  row.slot = int32_t(problem.counts.size() / size_t(vocab));
  const std::vector<uint16_t> counts = counts_of(setting, vocab);
  problem.counts.insert(problem.counts.end(), counts.begin(), counts.end());
  problem.lengths.resize(size_t(row.slot) + 1, 20);
  return row;
}

}  // namespace trireme::test
