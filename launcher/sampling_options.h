#pragma once
// The sampling flags of `generate`: Hugging Face's and vLLM's names, with dashes.

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "gateway/sampling_flags.h"

namespace trireme {

struct SamplingArguments {  // as CLI11 fills them
  SamplingFlags values;
  std::string early_stopping;
  std::vector<std::string> bad_words_ids, logit_bias;
  bool greedy = false, sample = false;
};

// `seed` is told apart from the default by its count.
void add_sampling_flags(CLI::App& app, SamplingArguments& arguments, uint64_t& seed);

// Throws ConfigError.
SamplingFlags resolve(const SamplingArguments& arguments);

}  // namespace trireme
