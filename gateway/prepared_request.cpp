#include "gateway/prepared_request.h"

#include <algorithm>

#include "base/error.h"

namespace trireme {
namespace {

void sort_and_deduplicate(auto& list) {
  std::ranges::sort(list);
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

}  // namespace

std::vector<std::vector<int32_t>> bad_word_ids(const std::vector<std::string>& words, const Tokenizer* tokenizer) {
  std::vector<std::vector<int32_t>> list;
  for (const std::string& word : words) {
    if (!tokenizer) throw RequestError("bad_words needs a tokenizer; give bad_words_ids instead");
    const size_t begin = word.find_first_not_of(" \t\r\n");
    if (begin == std::string::npos) throw RequestError("one of bad_words is empty");
    const std::string bare = word.substr(begin);
    list.push_back(tokenizer->encode(bare, {.add_special_tokens = false}));
    list.push_back(tokenizer->encode(" " + bare, {.add_special_tokens = false}));
  }
  sort_and_deduplicate(list);
  return list;
}

PreparedRequest prepare_request(const SamplingFlags& flags, const ModelAssets& assets, std::vector<int32_t> prompt,
                                int64_t vocab_size, int64_t max_model_len) {
  PreparedRequest prepared;
  Request& request = prepared.request;
  request.prompt = std::move(prompt);
  SamplingParams& sampling = request.sampling;
  sampling = resolve(flags, assets.checkpoint.defaults, int64_t(request.prompt.size()), max_model_len);
  for (std::vector<int32_t>& ids : bad_word_ids(flags.bad_words, assets.tokenizer.get()))
    sampling.bad_words.push_back(std::move(ids));
  sort_and_deduplicate(sampling.bad_words);
  sort_and_deduplicate(sampling.allowed_token_ids);
  request.eos_token_ids = assets.eos_token_ids();
  prepared.output = output_options(flags, sampling);
  if (!prepared.output.stop.empty() && !assets.tokenizer)
    throw RequestError("stop strings need a tokenizer; give stop_token_ids instead");
  if (prepared.output.echo && !assets.tokenizer)
    throw RequestError("echo needs a tokenizer: without one an output has no text");
  if (sampling.is_beam_search()) request.beam_stop = prepared.output.stop;
  validate(request, vocab_size, max_model_len);
  return prepared;
}

}  // namespace trireme
