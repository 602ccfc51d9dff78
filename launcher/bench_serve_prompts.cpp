#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>

#include "base/error.h"
#include "gateway/model_assets.h"
#include "launcher/bench_job.h"
#include "launcher/bench_serve.h"

namespace trireme {
namespace {

// Plain words for prompts without a tokenizer: one token each, with the blank before them, in most vocabularies.
constexpr const char* kWords[] = {"the", "and",  "for",  "that", "with", "this", "from",  "have", "not",  "are",
                                  "was", "but",  "all",  "they", "one",  "her",  "which", "more", "when", "some",
                                  "out", "time", "than", "into", "year", "your", "good",  "look", "only", "over"};

std::vector<int32_t> random_ids(int count, int vocab, std::mt19937_64& random) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back(int32_t(random() % uint64_t(vocab)));
  return ids;
}

std::string words(const std::vector<int32_t>& ids) {
  std::string out;
  for (int32_t id : ids) (out += out.empty() ? "" : " ") += kWords[size_t(id) % std::size(kWords)];
  return out;
}

std::vector<ServePromptText> random_prompts(const BenchServeCommand& command, const ModelAssets* assets) {
  std::mt19937_64 random(command.seed);
  const int vocab = assets ? assets->tokenizer->vocab_size() : command.vocab_size;
  const std::vector<int32_t> prefix = random_ids(command.random_prefix_len, vocab, random);
  std::vector<ServePromptText> prompts;
  for (int i = 0; i < command.num_prompts; ++i) {
    std::vector<int32_t> ids = prefix;
    const int input_len = random_length(command.random_input_len, command.random_range_ratio, random());
    const int output_len = random_length(command.random_output_len, command.random_range_ratio, random());
    const std::vector<int32_t> own = random_ids(input_len, vocab, random);
    ids.insert(ids.end(), own.begin(), own.end());
    ServePromptText& prompt = prompts.emplace_back();
    prompt.input_len = int64_t(ids.size());
    prompt.output_len = output_len;
    if (command.token_ids)
      prompt.prompt = json::value_from(ids);
    else
      prompt.prompt = json::string(assets ? assets->tokenizer->decode(ids, true) : words(ids));
  }
  return prompts;
}

ServePromptText text_prompt(const BenchServeCommand& command, const ModelAssets* assets, const std::string& text,
                            int64_t output_len) {
  ServePromptText prompt;
  prompt.output_len = output_len;
  std::vector<int32_t> ids;
  if (assets) ids = assets->encode_text(text);
  prompt.input_len = int64_t(ids.size());
  if (command.token_ids)
    prompt.prompt = json::value_from(ids);
  else
    prompt.prompt = json::string(text);
  return prompt;
}

// [{"conversations": [{"value": question}, {"value": answer}, ...]}, ...], shuffled by the seed.
std::vector<ServePromptText> sharegpt_prompts(const BenchServeCommand& command, const ModelAssets* assets) {
  const json::value file = parse_json(read_text_file(command.dataset_path), command.dataset_path);
  if (!file.is_array()) throw ConfigError(command.dataset_path + " is no ShareGPT file: it must be a JSON list");
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const json::value& entry : file.get_array()) {
    const json::value* turns = entry.is_object() ? entry.get_object().if_contains("conversations") : nullptr;
    if (!turns || !turns->is_array() || turns->get_array().size() < 2) continue;
    const auto value = [&](size_t turn) -> std::string {
      const json::value& said = turns->get_array()[turn];
      const json::value* text = said.is_object() ? said.get_object().if_contains("value") : nullptr;
      return text && text->is_string() ? std::string(text->get_string()) : "";
    };
    if (!value(0).empty()) pairs.emplace_back(value(0), value(1));
  }
  std::mt19937_64 random(command.seed);
  std::shuffle(pairs.begin(), pairs.end(), random);
  std::vector<ServePromptText> prompts;
  for (const auto& [question, answer] : pairs) {
    if (int(prompts.size()) == command.num_prompts) break;
    const int64_t answered = assets ? int64_t(assets->encode_text(answer).size()) : command.random_output_len;
    ServePromptText prompt = text_prompt(command, assets, question, answered);
    if (assets &&
        (prompt.input_len < 4 || answered < 4 || prompt.input_len > 1024 || prompt.input_len + answered > 2048))
      continue;  // as vLLM prunes them
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

// JSON lines {"prompt": text, "output_tokens": count}.
std::vector<ServePromptText> custom_prompts(const BenchServeCommand& command, const ModelAssets* assets) {
  std::ifstream file(command.dataset_path);
  if (!file) throw ConfigError("--dataset-path " + command.dataset_path + " cannot be read");
  std::vector<ServePromptText> prompts;
  int line_number = 0;
  for (std::string line; std::getline(file, line) && int(prompts.size()) < command.num_prompts;) {
    const std::string where = command.dataset_path + " line " + std::to_string(++line_number);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const json::value value = parse_json(line, where);
    const json::value* text = value.is_object() ? value.get_object().if_contains("prompt") : nullptr;
    if (!text || !text->is_string()) throw ConfigError(where + " must be {\"prompt\": \"...\"}");
    const json::value* count = value.get_object().if_contains("output_tokens");
    const bool counts = count && count->is_int64() && count->get_int64() > 0;
    prompts.push_back(text_prompt(command, assets, std::string(text->get_string()),
                                  counts ? count->get_int64() : command.random_output_len));
  }
  return prompts;
}

}  // namespace

std::vector<ServePromptText> make_serve_prompts(const BenchServeCommand& command) {
  ModelAssets assets;
  if (!command.tokenizer.empty()) assets = open_model_assets(command.tokenizer, true);
  const ModelAssets* tokenizer = command.tokenizer.empty() ? nullptr : &assets;
  if (command.dataset == "random") return random_prompts(command, tokenizer);
  if (command.token_ids && !tokenizer)
    throw ConfigError("--token-ids with --dataset-name " + command.dataset + " needs --tokenizer MODEL");
  std::vector<ServePromptText> prompts =
      command.dataset == "sharegpt" ? sharegpt_prompts(command, tokenizer) : custom_prompts(command, tokenizer);
  if (prompts.empty()) throw ConfigError(command.dataset_path + " holds no usable prompt");
  const size_t distinct = prompts.size();
  for (size_t i = 0; int(prompts.size()) < command.num_prompts; ++i) prompts.push_back(prompts[i % distinct]);
  return prompts;
}

std::vector<ServePromptText> make_warmup_prompts(const BenchServeCommand& command) {
  BenchServeCommand warmup = command;
  warmup.num_prompts = command.num_warmups;
  warmup.seed = ~command.seed;
  return make_serve_prompts(warmup);
}

std::vector<double> arrival_times(int count, double rate, double burstiness, uint64_t seed) {
  std::vector<double> times(size_t(count), 0);
  if (rate <= 0 || count == 0) return times;
  std::mt19937_64 random(seed);
  std::gamma_distribution<double> gap(burstiness, 1 / (rate * burstiness));
  double now = 0;
  for (double& time : times) time = now += gap(random);
  const double scale = now > 0 ? count / rate / now : 0;
  for (double& time : times) time *= scale;
  return times;
}

}  // namespace trireme
