#include "launcher/engine_flags.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"

namespace trireme {
namespace {

constexpr const char* kModelGroup = "Model and parallelism";

}  // namespace

int64_t parse_count(const std::string& text, const std::string& flag) {
  int64_t value = 0, factor = 1;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string suffix(rest, end);
  static constexpr struct {
    const char* suffix;
    int64_t factor;
  } kSuffixes[] = {{"", 1},        {"k", 1000},       {"K", 1024},   {"m", 1000000},
                   {"M", 1 << 20}, {"g", 1000000000}, {"G", 1 << 30}};
  bool known = false;
  for (const auto& row : kSuffixes)
    if (suffix == row.suffix) {
      factor = row.factor;
      known = true;
    }
  if (error != std::errc() || !known || value < 1 || value > (int64_t(1) << 40) / factor)
    throw ConfigError(flag + " must be a number of tokens such as 4096, 4k (4000) or 4K (4096), got " + text);
  return value * factor;
}

std::vector<std::string> normalise_arguments(std::vector<std::string> arguments) {
  for (std::string& argument : arguments) {
    if (argument == "--") break;
    const size_t end = std::min(argument.find('='), argument.size());
    std::string name = argument.substr(0, end);
    if (name.rfind("--", 0) == 0 && name.find(' ') == std::string::npos) std::ranges::replace(name, '_', '-');
    if (name == "-tp" || name == "--tp" || name == "--tp-size") name = "--tensor-parallel-size";
    if (name == "-pp" || name == "--pp" || name == "--pp-size") name = "--pipeline-parallel-size";
    argument.replace(0, end, name);
  }
  return arguments;
}

DeviceKind detect_device() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (!built_with_cuda() || (visible && (*visible == '\0' || *visible == '-'))) return DeviceKind::cpu;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/dev", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.rfind("nvidia", 0) == 0 && name.size() > 6 && std::isdigit(static_cast<unsigned char>(name[6])))
      return DeviceKind::cuda;
  }
  return DeviceKind::cpu;
}

void add_model_flags(CLI::App& app, EngineFlags& flags, bool positional_model) {
  EngineOptions& options = flags.options;
  const std::string model = kModelGroup;
  if (positional_model)
    app.add_option("path", options.model, "Model: a directory, a .gguf file, or org/name in the Hugging Face cache")
        ->option_text("MODEL");
  app.add_option("--model", flags.model_flag, "The model, instead of the first argument")->group(model);
  app.add_option("--tensor-parallel-size", options.tp, "-tp N: cut every layer over N ranks")
      ->group(model)
      ->capture_default_str();
  app.add_option("--pipeline-parallel-size", options.pp, "-pp N: cut the stack of layers into N stages")
      ->group(model)
      ->capture_default_str();
  app.add_option("--pp-layers", options.pp_layers,
                 "Layers of each pipeline stage: 17,15 (default: fewer in the last, which has the output layer, too)")
      ->delimiter(',')
      ->option_text("N,...")
      ->group(model);
}

void add_engine_flags(CLI::App& app, EngineFlags& flags, bool positional_model) {
  add_model_flags(app, flags, positional_model);
  EngineOptions& options = flags.options;
  const std::string model = kModelGroup;
  app.add_option("--device", flags.device, "auto (GPUs where there are any), cpu or cuda")
      ->group(model)
      ->capture_default_str();
  app.add_option("--load-format", flags.load_format, "auto, or dummy: seeded random weights of the model's shape")
      ->group(model)
      ->capture_default_str();
  app.add_option("--cpu-threads", options.cpu_threads,
                 "CPU back end: threads per rank (0: this host's cores / its ranks)")
      ->group(model)
      ->capture_default_str();

  const std::string memory = "Memory and scheduling";
  app.add_option("--max-model-len", flags.max_model_len,
                 "Most tokens of prompt and output: 4096, 4k, 4K (default: the model's)")
      ->group(memory);
  app.add_option("--max-num-seqs", options.max_num_seqs, "Most sequences at once (0: 256 on GPUs, 64 on the CPU)")
      ->group(memory)
      ->capture_default_str();
  app.add_option("--max-num-batched-tokens", options.max_num_batched_tokens,
                 "Token budget of a step (0: 8192 on GPUs, 512 on the CPU)")
      ->group(memory)
      ->capture_default_str();
  app.add_option("--prefill-chunk", options.prefill_chunk, "Most tokens of one prompt in a step (0: the whole budget)")
      ->group(memory)
      ->capture_default_str();
  app.add_option("--mixed-prefill-tokens", options.mixed_prefill,
                 "Most tokens of prompts in a step while others decode (0: the whole budget; serve on GPUs: 1536)")
      ->group(memory);
  app.add_option("--mixed-step-multiple", options.mixed_step_multiple,
                 "Raises that limit until all tokens of such a step are a multiple of this (1: never; serve on GPUs: 1024)")
      ->group(memory);
  app.add_option("--batching", flags.batching,
                 "continuous; or dynamic, static: batches that start together, and that end together")
      ->group(memory)
      ->capture_default_str();
  if (!app.get_option_no_throw("--batch-size"))  // bench latency has its own
    app.add_option("--batch-size", options.batch_size,
                   "Sequences of a dynamic or static batch (0: --max-num-seqs)")
        ->group(memory)
        ->capture_default_str();
  app.add_option("--batch-wait-ms", options.batch_wait_ms,
                 "How long a dynamic or static batch that is not full waits for more requests")
      ->group(memory)
      ->capture_default_str();
  app.add_option("--block-size", options.block_size, "Tokens per KV block")->group(memory)->capture_default_str();
  app.add_option("--num-gpu-blocks-override,--num-blocks", options.num_blocks_override,
                 "KV blocks per rank (0: what the memory allows)")
      ->group(memory)
      ->capture_default_str();
  app.add_option("--gpu-memory-utilization", options.memory_utilization, "Share of a device's memory to use")
      ->group(memory)
      ->capture_default_str();
  app.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", options.prefix_caching,
               "Reuse the KV blocks of equal prompt beginnings (on)")
      ->group(memory);
  app.add_flag("--enforce-eager", options.enforce_eager,
               "Launch the kernels of decode steps one by one instead of as CUDA graphs")
      ->group(memory);
  app.add_flag("!--disable-custom-all-reduce", options.custom_all_reduce,
               "Sums and sampling over tensor-parallel GPUs through NCCL only")
      ->group(memory);
  app.add_flag("--peer-sampling", options.peer_sampling,
               "Sampling over tensor-parallel GPUs through each other's memory, as their sums go (off: NCCL)")
      ->group(memory);
}

EngineOptions resolve(const EngineFlags& flags) {
  EngineOptions options = flags.options;
  if (!flags.model_flag.empty() && !options.model.empty())
    throw ConfigError("the model is given twice: " + options.model + " and --model " + flags.model_flag);
  if (options.model.empty()) options.model = flags.model_flag;
  if (options.model.empty())
    throw ConfigError("no model: give a directory, a .gguf file, or org/name in the Hugging Face cache");
  if (std::error_code error; std::filesystem::exists(options.model, error))
    options.model = std::filesystem::absolute(options.model).lexically_normal();

  if (flags.device == "auto")
    options.device = detect_device();
  else if (flags.device == "cpu")
    options.device = DeviceKind::cpu;
  else if (flags.device == "cuda")
    options.device = DeviceKind::cuda;
  else
    throw ConfigError("--device must be auto, cpu or cuda, got " + flags.device);
  if (options.device == DeviceKind::cuda && !built_with_cuda())
    throw ConfigError(
        "--device cuda: this build has no CUDA; build where nvcc, cuBLASLt and NCCL are found, or use --device cpu");
  if (flags.load_format == "dummy")
    options.load_format = LoadFormat::dummy;
  else if (flags.load_format != "auto")
    throw ConfigError("--load-format must be auto or dummy, got " + flags.load_format);
  const auto batching = parse_batching_policy(flags.batching);
  if (!batching) throw ConfigError("--batching must be continuous, dynamic or static, got " + flags.batching);
  options.batching = *batching;
  if (!flags.max_model_len.empty()) options.max_model_len = parse_count(flags.max_model_len, "--max-model-len");
  validate(options);
  return options;
}

}  // namespace trireme
