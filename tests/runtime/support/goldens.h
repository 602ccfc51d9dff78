#pragma once
// Reads goldens.json and goldens.bin of a tiny model (layout: scripts/goldens/make_model_goldens.py).

#include <cstring>
#include <string>
#include <vector>

#include "base/json.h"

namespace trireme::test {

struct GoldenPrompt {
  std::vector<int32_t> ids;
  std::vector<float> last_logits;
  std::vector<float> logprobs;  // of ids[i + 1], may be empty
  std::vector<int32_t> greedy;  // may be empty
  std::vector<float> greedy_gaps;
};

template <typename T = float>
std::vector<T> golden_array(const json::object& arrays, const std::string& data, const json::value& name) {
  const json::object& entry = arrays.at(name.as_string()).as_object();
  size_t count = 1;
  for (const json::value& dim : entry.at("shape").as_array()) count *= size_t(dim.to_number<int64_t>());
  std::vector<T> values(count);
  const size_t offset = size_t(entry.at("offset").to_number<int64_t>());
  if (offset + count * sizeof(T) > data.size()) throw CheckpointError("goldens.bin is too short");
  std::memcpy(values.data(), data.data() + offset, count * sizeof(T));
  return values;
}

inline std::vector<GoldenPrompt> read_goldens(const std::string& folder) {
  const json::value root = parse_json(read_text_file(folder + "/goldens.json"), "goldens.json");
  const std::string data = read_text_file(folder + "/goldens.bin");
  const json::object& arrays = root.at("arrays").as_object();
  std::vector<GoldenPrompt> prompts;
  for (const json::value& entry : root.at("prompts").as_array()) {
    const json::object& fields = entry.as_object();
    GoldenPrompt prompt;
    for (const json::value& id : fields.at("ids").as_array()) prompt.ids.push_back(id.to_number<int32_t>());
    prompt.last_logits = golden_array(arrays, data, fields.at("last_logits"));
    if (fields.contains("logprobs")) prompt.logprobs = golden_array(arrays, data, fields.at("logprobs"));
    if (fields.contains("greedy")) {
      for (const json::value& id : fields.at("greedy").as_array()) prompt.greedy.push_back(id.to_number<int32_t>());
      prompt.greedy_gaps = golden_array(arrays, data, fields.at("greedy_gaps"));
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace trireme::test
