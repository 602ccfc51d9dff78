#include "launcher/engine_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <cstdlib>

#include "base/error.h"
#include "launcher/engine_flags.h"

namespace trireme {
namespace {

void require(bool holds, const char* flag, const char* range, auto value) {
  if (!holds) throw ConfigError(fmt::format("{} must be {}, got {}", flag, range, value));
}

}  // namespace

int EngineOptions::effective_max_num_seqs() const {
  return max_num_seqs > 0 ? max_num_seqs : device == DeviceKind::cuda ? 256 : 64;
}

int EngineOptions::effective_max_num_batched_tokens() const {
  return max_num_batched_tokens > 0 ? max_num_batched_tokens : device == DeviceKind::cuda ? 8192 : 512;
}

void validate(const EngineOptions& options) {
  require(options.tp >= 1 && options.tp <= 1024, "--tensor-parallel-size", "1 to 1024", options.tp);
  require(options.pp >= 1 && options.pp <= 1024, "--pipeline-parallel-size", "1 to 1024", options.pp);
  require(options.pp_layers.empty() || int(options.pp_layers.size()) == options.pp, "--pp-layers",
          fmt::format("{} numbers, one for each stage", options.pp).c_str(), options.pp_layers.size());
  for (const int64_t layers : options.pp_layers)
    require(layers >= 1, "--pp-layers", "1 or more for every stage", layers);
  require(options.max_num_seqs >= 0 && options.max_num_seqs <= 65536, "--max-num-seqs", "0 to 65536",
          options.max_num_seqs);
  require(options.max_num_batched_tokens >= 0 && options.max_num_batched_tokens <= 1 << 20, "--max-num-batched-tokens",
          "0 to 1048576", options.max_num_batched_tokens);
  require(options.prefill_chunk >= 0, "--prefill-chunk", "0 or more", options.prefill_chunk);
  require(options.mixed_prefill.value_or(0) >= 0, "--mixed-prefill-tokens", "0 or more", *options.mixed_prefill);
  const int multiple = options.mixed_step_multiple.value_or(1);
  require(multiple >= 1 && multiple <= 1 << 20, "--mixed-step-multiple", "1 to 1048576", multiple);
  require(options.block_size >= 1 && options.block_size <= 1024, "--block-size", "1 to 1024", options.block_size);
  require(options.num_blocks_override >= 0 && options.num_blocks_override <= INT32_MAX, "--num-gpu-blocks-override",
          "0 to 2147483647", options.num_blocks_override);
  require(options.memory_utilization > 0 && options.memory_utilization <= 1, "--gpu-memory-utilization", "in (0, 1]",
          options.memory_utilization);
  require(options.cpu_threads >= 0 && options.cpu_threads <= 1024, "--cpu-threads", "0 to 1024", options.cpu_threads);
  require(options.batch_size >= 0 && options.batch_size <= 65536, "--batch-size", "0 to 65536", options.batch_size);
  require(options.batch_wait_ms >= 0 && options.batch_wait_ms <= 600000, "--batch-wait-ms", "0 to 600000",
          options.batch_wait_ms);
  require(options.profile.skip >= 0 && options.profile.skip <= 1000000, "--profile-skip", "0 to 1000000",
          options.profile.skip);
  require(options.profile.steps >= 1 && options.profile.steps <= 100000, "--profile-steps", "1 to 100000",
          options.profile.steps);
  if (options.batch_size > 0 && options.batching == BatchingPolicy::continuous)
    throw ConfigError(
        fmt::format("--batch-size {}: continuous batching has no batches; add --batching dynamic or static, or use "
                    "--max-num-seqs",
                    options.batch_size));
  if (options.batch_size > options.effective_max_num_seqs())
    throw ConfigError(fmt::format("--batch-size {} is more than --max-num-seqs {}: lower the first or raise the second",
                                  options.batch_size, options.effective_max_num_seqs()));
  if (options.effective_max_num_batched_tokens() < options.effective_max_num_seqs())
    throw ConfigError(
        fmt::format("--max-num-batched-tokens {} is less than --max-num-seqs {}: every sequence needs one token "
                    "per step; raise the first or lower the second",
                    options.effective_max_num_batched_tokens(), options.effective_max_num_seqs()));
}

std::vector<std::string> to_arguments(const EngineOptions& options) {
  std::vector<std::string> arguments = {"--model", options.model};
  const auto add = [&arguments](const char* flag, auto value) {
    arguments.push_back(flag);
    arguments.push_back(fmt::format("{}", value));
  };
  add("--tensor-parallel-size", options.tp);
  add("--pipeline-parallel-size", options.pp);
  if (!options.pp_layers.empty()) add("--pp-layers", fmt::format("{}", fmt::join(options.pp_layers, ",")));
  add("--device", options.device == DeviceKind::cuda ? "cuda" : "cpu");
  add("--load-format", options.load_format == LoadFormat::dummy ? "dummy" : "auto");
  if (options.max_model_len > 0) add("--max-model-len", options.max_model_len);
  add("--max-num-seqs", options.max_num_seqs);
  add("--max-num-batched-tokens", options.max_num_batched_tokens);
  add("--block-size", options.block_size);
  add("--num-gpu-blocks-override", options.num_blocks_override);
  add("--gpu-memory-utilization", options.memory_utilization);
  arguments.push_back(options.prefix_caching ? "--enable-prefix-caching" : "--no-enable-prefix-caching");
  if (options.enforce_eager) arguments.push_back("--enforce-eager");
  if (!options.custom_all_reduce) arguments.push_back("--disable-custom-all-reduce");
  if (options.peer_sampling) arguments.push_back("--peer-sampling");
  add("--prefill-chunk", options.prefill_chunk);
  if (options.mixed_prefill) add("--mixed-prefill-tokens", *options.mixed_prefill);
  if (options.mixed_step_multiple) add("--mixed-step-multiple", *options.mixed_step_multiple);
  add("--batching", batching_policy_name(options.batching));
  if (options.batch_size > 0) add("--batch-size", options.batch_size);
  add("--batch-wait-ms", options.batch_wait_ms);
  add("--cpu-threads", options.cpu_threads);
  add("--seed", options.seed);
  if (options.verbose) arguments.push_back("--verbose");
  if (!options.profile.directory.empty()) {
    add("--profile-dir", options.profile.directory);
    add("--profile-skip", options.profile.skip);
    add("--profile-steps", options.profile.steps);
    if (options.profile.from_decode) arguments.push_back("--profile-from-decode");
  }
  if (!options.front.address.empty()) {
    add("--front", options.front.address);
    add("--attempt", options.front.attempt);
  }
  return arguments;
}

EngineOptions parse_engine_arguments(const std::vector<std::string>& arguments) {
  CLI::App app;
  EngineFlags flags;
  FrontEndpoint front;
  ProfileOptions profile;
  uint64_t seed = 0;
  bool verbose = false;
  add_engine_flags(app, flags, false);
  app.add_option("--seed", seed);
  app.add_flag("--verbose", verbose);
  app.add_option("--profile-dir", profile.directory);
  app.add_option("--profile-skip", profile.skip);
  app.add_option("--profile-steps", profile.steps);
  app.add_flag("--profile-from-decode", profile.from_decode);
  app.add_option("--front", front.address);
  app.add_option("--attempt", front.attempt);
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them from the back
  try {
    app.parse(reversed);
  } catch (const CLI::Error& error) {
    throw ConfigError(std::string("engine: ") + error.what());
  }
  EngineOptions options = resolve(flags);
  options.seed = seed;
  options.verbose = verbose;
  options.profile = profile;
  options.front = front;
  if (const char* key = std::getenv(kAttemptKeyVariable)) options.front.key = key;
  return options;
}

}  // namespace trireme
