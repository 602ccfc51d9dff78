#pragma once
// The flags of `trireme bench serve`, under vLLM's names.

#include <CLI/CLI.hpp>

#include <optional>
#include <string>
#include <vector>

#include "launcher/bench_serve.h"

namespace trireme {

struct BenchServeFlags {  // as CLI11 fills them
  BenchServeCommand command;
  std::string base_url, request_rate = "inf", percentile_metrics = "ttft,tpot,itl", percentiles = "99", extra_body;
  std::vector<std::string> goodput, metadata, headers;
  std::optional<double> temperature, top_p, min_p, frequency_penalty, presence_penalty, repetition_penalty;
  std::optional<int64_t> top_k, logprobs, input_len, output_len;
  bool disable_progress = false, insecure = false;
};

void add_bench_serve_flags(CLI::App& app, BenchServeFlags& flags);
// Throws ConfigError. `api_key`: of OPENAI_API_KEY.
BenchServeCommand resolve(const BenchServeFlags& flags, const std::string& api_key);

}  // namespace trireme
