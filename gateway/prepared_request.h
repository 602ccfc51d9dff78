#pragma once
// Sampling as given and a prompt's ids -> the request the engine gets and what the front does with its answer.

#include "gateway/model_assets.h"
#include "gateway/sampling_flags.h"

namespace trireme {

struct PreparedRequest {
  Request request;  // its id is the caller's to set
  OutputOptions output;
};

// Throws RequestError: whatever the client may have got wrong.
PreparedRequest prepare_request(const SamplingFlags& flags, const ModelAssets& assets, std::vector<int32_t> prompt,
                                int64_t vocab_size, int64_t max_model_len);

// Ids of the words at the beginning of a text and behind a space, without special tokens around them; each once.
std::vector<std::vector<int32_t>> bad_word_ids(const std::vector<std::string>& words, const Tokenizer* tokenizer);

}  // namespace trireme
