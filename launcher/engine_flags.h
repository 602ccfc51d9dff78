#pragma once
// The engine's flags, under the names vLLM gives them, for every sub-command that starts one.

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "launcher/engine_options.h"

namespace trireme {

// What the flags fill before it is resolved.
struct EngineFlags {
  EngineOptions options;
  std::string device = "auto";
  std::string load_format = "auto";
  std::string batching = "continuous";
  std::string max_model_len;
  std::string model_flag;  // --model, beside the positional
};

// The model and how it is divided: all that `inspect` needs. `flags` must outlive the parse. `positional_model`: the
// first bare argument is the model.
void add_model_flags(CLI::App& app, EngineFlags& flags, bool positional_model);
// Those and all others.
void add_engine_flags(CLI::App& app, EngineFlags& flags, bool positional_model);

// After the parse: ranges, and `auto` resolved. Throws ConfigError naming the flag.
EngineOptions resolve(const EngineFlags& flags);

// "1k" = 1000, "1K" = 1024, likewise m/M and g/G; plain digits. Throws ConfigError naming `flag`.
int64_t parse_count(const std::string& text, const std::string& flag);

// -tp, -pp (CLI11 knows one-letter short flags only) and SGLang's --tp, --tp-size, ... become long names; underscores of
// long flags become dashes.
std::vector<std::string> normalise_arguments(std::vector<std::string> arguments);

// Looks for GPUs without touching CUDA: this process must stay free of it.
DeviceKind detect_device();

}  // namespace trireme
