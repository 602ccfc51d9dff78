#pragma once
// Reads tests/models/generation/MODEL.json (layout: scripts/goldens/make_generation_goldens.py) into requests.

#include <string>
#include <vector>

#include "base/json.h"
#include "tests/runtime/support/generation_run.h"

namespace trireme::test {

struct GenerationCase {
  std::string name;
  StopRequest stop_request;
  std::vector<std::vector<int32_t>> outputs;
  std::vector<float> scores;  // of beams
};

inline std::vector<int32_t> json_ids(const json::value& value) {
  std::vector<int32_t> ids;
  for (const json::value& id : value.as_array()) ids.push_back(id.to_number<int32_t>());
  return ids;
}

inline EarlyStopping json_early_stopping(const json::value& value) {
  if (value.is_string()) return EarlyStopping::never;
  return value.as_bool() ? EarlyStopping::yes : EarlyStopping::no;
}

inline SamplingParams golden_sampling(const json::object& fields) {
  SamplingParams sampling;
  sampling.temperature = 0;
  const auto number = [&]<typename T>(const char* name, T& value) {
    if (const json::value* found = fields.if_contains(name)) value = found->to_number<T>();
  };
  number("max_new_tokens", sampling.max_new_tokens);
  number("min_new_tokens", sampling.min_new_tokens);
  number("n", sampling.n);
  number("beam_width", sampling.beam_width);
  number("length_penalty", sampling.length_penalty);
  number("repetition_penalty", sampling.repetition_penalty);
  number("no_repeat_ngram_size", sampling.no_repeat_ngram_size);
  if (const auto* value = fields.if_contains("early_stopping"))
    sampling.early_stopping = json_early_stopping(*value);
  if (const auto* value = fields.if_contains("allowed_token_ids")) sampling.allowed_token_ids = json_ids(*value);
  if (const auto* words = fields.if_contains("bad_words"))
    for (const json::value& word : words->as_array()) sampling.bad_words.push_back(json_ids(word));
  if (const auto* biases = fields.if_contains("logit_bias"))
    for (const json::value& bias : biases->as_array())
      sampling.logit_bias.push_back({bias.at(0).to_number<int32_t>(), bias.at(1).to_number<float>()});
  return sampling;
}

inline std::vector<GenerationCase> read_generation_cases(const std::string& model) {
  const std::string path = model_path("generation/" + model + ".json");
  const json::value root = parse_json(read_text_file(path), path);
  std::vector<std::vector<int32_t>> prompts;
  for (const json::value& prompt : root.at("prompts").as_array()) prompts.push_back(json_ids(prompt));
  std::vector<GenerationCase> cases;
  for (const json::value& entry : root.at("cases").as_array()) {
    const json::object& fields = entry.as_object();
    GenerationCase& golden = cases.emplace_back();
    golden.name = fields.at("name").as_string();
    Request& request = golden.stop_request.request;
    request.id = cases.size();
    request.prompt = prompts.at(fields.at("prompt").to_number<size_t>());
    request.sampling = golden_sampling(fields);
    if (fields.contains("eos")) {  // an end is an end, the model's own or the request's
      (cases.size() % 2 ? request.eos_token_ids : request.sampling.stop_token_ids) = json_ids(fields.at("eos"));
    }
    if (const auto* stops = fields.if_contains("stop"))
      for (const json::value& stop : stops->as_array())
        (request.sampling.is_beam_search() ? request.beam_stop : golden.stop_request.stop)
            .emplace_back(stop.as_string());
    for (const json::value& ids : fields.at("outputs").as_array()) golden.outputs.push_back(json_ids(ids));
    if (const auto* scores = fields.if_contains("scores"))
      for (const json::value& score : scores->as_array()) golden.scores.push_back(score.to_number<float>());
  }
  return cases;
}

}  // namespace trireme::test
