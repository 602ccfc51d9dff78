#include "launcher/command_line.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "base/device_profiler.h"
#include "base/error.h"
#include "launcher/bench_serve_flags.h"
#include "launcher/engine_flags.h"
#include "launcher/run_flags.h"
#include "launcher/sampling_options.h"
#include "launcher/version.h"

namespace trireme {
namespace {

constexpr const char* kExamples =
    "\nExamples:\n"
    "  trireme generate model.gguf --chat \"What is the capital of France?\" -tp 2\n"
    "  trireme generate org/name --prompts questions.jsonl --output-format json > answers.jsonl\n"
    "  trireme inspect model.gguf -tp 2 -pp 2\n"
    "  trireme bench throughput configs/models/llama-3.1-8b.json --num-prompts 256\n"
    "  trireme serve org/name -tp 2 --port 8000\n"
    "  trireme bench serve --num-prompts 200 --request-rate 10 --max-concurrency 64\n"
    "  mpirun -n 4 trireme generate model.gguf \"Once\" -tp 2 -pp 2";

// Words of one --launch-args value, split at blanks; quotes keep blanks.
std::vector<std::string> split_words(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  bool open = false;
  for (char c : text) {
    if (quote ? c == quote : (c == '"' || c == '\'')) {
      quote = quote ? 0 : c;
      open = true;
    } else if (!quote && (c == ' ' || c == '\t' || c == '\n')) {
      if (open) words.push_back(std::exchange(word, ""));
      open = false;
    } else {
      word += c;
      open = true;
    }
  }
  if (quote) throw ConfigError("--launch-args: a quote is not closed in " + text);
  if (open) words.push_back(word);
  return words;
}

}  // namespace

void add_run_flags(CLI::App& app, RunFlags& flags, bool positional_model) {
  add_engine_flags(app, flags.engine, positional_model);
  const std::string launch = "Launching";
  app.add_option("--hostfile", flags.launch.hostfile, "Hosts for the ranks, as mpirun reads them (default: this host)")
      ->group(launch);
  app.add_option("--launch-args", flags.launch_args, "More arguments for mpirun, in one quoted text")->group(launch);
  app.add_option("--mpirun", flags.launch.mpirun, "The mpirun to start")->group(launch)->capture_default_str();
  app.add_flag("-v,--verbose", flags.verbose, "Print the mpirun line, the ranks' logs and full failure reports")
      ->group(launch);
  const std::string profiling = "Profiling";
  app.add_option("--profile", flags.profile,
                 "Record some steps of every rank: a Chrome trace for chrome://tracing or ui.perfetto.dev, and where a "
                 "step's time goes")
      ->option_text("FILE")
      ->group(profiling);
  app.add_option("--profile-skip", flags.profile_options.skip,
                 "Steps before the recording (bench latency: decode steps)")
      ->group(profiling)
      ->capture_default_str();
  app.add_option("--profile-steps", flags.profile_options.steps, "Steps recorded")
      ->group(profiling)
      ->capture_default_str();
  add_restart_flags(app, flags.restart);
  app.add_option("--engine-program", flags.launch.program, "")->group("");
}

void resolve_profile(const RunFlags& flags, RunOptions& run) {
  run.engine.profile = flags.profile_options;
  validate(run.engine);
  if (flags.profile.empty()) return;
  const std::string refusal = run.engine.device == DeviceKind::cuda ? device_profiling_refusal() : "";
  if (!refusal.empty()) throw ConfigError(refusal);
  run.profile = std::filesystem::absolute(flags.profile).lexically_normal();
  run.engine.profile.directory = run.profile + ".parts";
}

RunOptions resolve_run(const RunFlags& flags) {
  RunOptions run;
  run.engine = resolve(flags.engine);
  resolve_profile(flags, run);
  run.engine.seed = flags.seed;
  run.engine.verbose = run.verbose = flags.verbose;
  run.launch = flags.launch;
  run.restart = resolve(flags.restart);
  run.launch.launch_args = split_words(flags.launch_args);
  if (run.launch.program.empty()) run.launch.program = std::filesystem::read_symlink("/proc/self/exe");
  return run;
}

namespace {

struct GenerateFlags {
  RunFlags run;
  SamplingArguments sampling;
  GenerateCommand command;
  std::vector<std::string> words;  // MODEL PROMPT...
  std::string chat_template_kwargs;
  std::string format = "text";
};

void add_chat_flags(CLI::App& sub, GenerateFlags& flags, const std::string& group) {
  sub.add_option("--chat-template", flags.command.chat_template,
                 "File with a chat template (Jinja) that takes the place of the model's")
      ->option_text("FILE")
      ->group(group);
  sub.add_option("--chat-template-kwargs", flags.chat_template_kwargs,
                 "Variables of the chat template, a JSON object such as {\"enable_thinking\": false}")
      ->option_text("JSON")
      ->group(group);
  sub.add_flag("--trust-special-tokens", flags.command.trust_special_tokens,
               "Special tokens spelled out in a chat's messages are special tokens, not plain text")
      ->group(group);
}

CLI::App* add_generate(CLI::App& app, GenerateFlags& flags) {
  CLI::App* sub = app.add_subcommand("generate", "Generate text from prompts: arguments, a file, or standard input");
  sub->add_option("words", flags.words, "The model, then prompts (with --model: prompts only)")
      ->option_text("MODEL PROMPT ...");
  const std::string group = "Prompts and output";
  sub->add_option("--prompts", flags.command.prompts_file,
                  "File of prompts, one per line or JSON lines {\"prompt\"} / {\"messages\"} / {\"prompt_token_ids\"} "
                  "with sampling values beside them; - is standard input")
      ->group(group);
  sub->add_flag("--chat", flags.command.chat, "Each prompt is a user's message: apply the model's chat template")
      ->group(group);
  add_chat_flags(*sub, flags, group);
  sub->add_option("--output-format", flags.format, "text, or json: one line per prompt")
      ->group(group)
      ->capture_default_str();
  sub->add_flag("--skip-tokenizer-init", flags.command.skip_tokenizer,
                "No tokenizer: prompts and outputs are token ids")
      ->group(group);
  add_run_flags(*sub, flags.run, false);
  add_sampling_flags(*sub, flags.sampling, flags.run.seed);
  return sub;
}

// The values of the chat flags, and whether there can be a chat.
void resolve_chat(const GenerateFlags& flags, GenerateCommand& command) {
  const char* given = !command.chat_template.empty()        ? "--chat-template"
                      : !flags.chat_template_kwargs.empty() ? "--chat-template-kwargs"
                      : command.trust_special_tokens        ? "--trust-special-tokens"
                                                            : nullptr;
  if (given && command.skip_tokenizer)
    throw ConfigError(std::string(given) + " needs a tokenizer: leave out --skip-tokenizer-init");
  if (given && !command.chat && !command.prompts.empty())
    throw ConfigError(std::string(given) + " is for chats: add --chat");
  if (flags.chat_template_kwargs.empty()) return;
  const std::string flag = "--chat-template-kwargs";
  try {
    json::value value = parse_json(flags.chat_template_kwargs, "it");
    if (!value.is_object()) throw CheckpointError("it is not a JSON object");
    command.chat_template_kwargs = std::move(value.get_object());
  } catch (const CheckpointError& error) {
    throw ConfigError(flag + " must be a JSON object such as {\"enable_thinking\": false}: " + error.what());
  }
}

GenerateCommand resolve_generate(const CLI::App& sub, GenerateFlags flags) {
  GenerateCommand command = flags.command;
  if (flags.run.engine.model_flag.empty() && !flags.words.empty()) {
    flags.run.engine.model_flag = flags.words.front();
    flags.words.erase(flags.words.begin());
  }
  command.prompts = flags.words;
  command.run = resolve_run(flags.run);
  command.sampling = resolve(flags.sampling);
  if (sub.count("--seed") > 0) command.sampling.seed = flags.run.seed;
  if (flags.format != "text" && flags.format != "json")
    throw ConfigError("--output-format must be text or json, got " + flags.format);
  command.format = flags.format == "json" ? OutputFormat::json : OutputFormat::text;
  if (!command.prompts.empty() && !command.prompts_file.empty())
    throw ConfigError("prompts are given twice: as arguments and by --prompts " + command.prompts_file);
  resolve_chat(flags, command);
  return command;
}

InspectCommand resolve_inspect(const EngineFlags& flags) {
  const EngineOptions options = resolve(flags);
  return {.model = options.model, .tp = options.tp, .pp = options.pp, .pp_layers = options.pp_layers};
}

struct BenchFlags {
  RunFlags run;
  BenchCommand command;
  std::string batch_sizes = "8";
};

// "32" or "1,32,256".
std::vector<int> parse_batch_sizes(const std::string& text) {
  std::vector<int> sizes;
  for (const char *at = text.data(), *end = at + text.size();;) {
    int size = 0;
    const auto [rest, error] = std::from_chars(at, end, size);
    if (error != std::errc() || size < 1 || size > 65536 || (rest != end && *rest != ','))
      throw ConfigError("--batch-size must be numbers of prompts from 1 to 65536 such as 32 or 1,32,256, got " + text);
    sizes.push_back(size);
    if (rest == end) return sizes;
    at = rest + 1;
  }
}

void add_common_bench_flags(CLI::App& sub, BenchFlags& flags) {
  const std::string group = "Load";
  BenchCommand& command = flags.command;
  sub.add_option("--input-len", command.input_len, "Prompt tokens")->group(group)->capture_default_str();
  sub.add_option("--output-len", command.output_len, "Generated tokens")->group(group)->capture_default_str();
  sub.add_option("--n", command.n, "Outputs per prompt")->group(group)->capture_default_str();
  sub.add_option("--seed", flags.run.seed, "Of prompts and dummy weights")->group(group)->capture_default_str();
  sub.add_option("--output-json", command.output_json, "Write the figures to this file as well")->group(group);
  flags.run.engine.load_format = "dummy";
  add_run_flags(sub, flags.run, true);
}

BenchCommand resolve_bench(const BenchFlags& flags) {
  BenchCommand command = flags.command;
  RunFlags run = flags.run;
  command.batch_sizes = parse_batch_sizes(flags.batch_sizes);
  run.profile_options.from_decode = !command.throughput && command.output_len > 1;
  command.all_policies = command.throughput && run.engine.batching == "all";
  if (command.all_policies) run.engine.batching = "static";  // its checks are the strictest
  command.run = resolve_run(run);
  command.run.restart.max_restarts = 0;  // a figure with a restart in it would mislead
  EngineOptions& engine = command.run.engine;
  if (!command.throughput && engine.batching != BatchingPolicy::continuous)
    engine.batch_size = std::min(command.batch_sizes[0] * std::max(command.n, 1), engine.effective_max_num_seqs());
  if (command.batch_sizes.size() > 1 && engine.batching != BatchingPolicy::continuous)
    throw ConfigError("--batch-size " + flags.batch_sizes +
                      ": an engine has batches of one size; measure one at a time");
  if (command.all_policies && !command.run.profile.empty())
    throw ConfigError("--profile records one engine, and --batching all starts several: profile one policy at a time");
  if (!command.plot.empty() && !command.all_policies)
    throw ConfigError("--plot draws the comparison of --batching all: add that");
  if (!(command.range_ratio >= 0 && command.range_ratio < 1))
    throw ConfigError("--random-range-ratio must be in [0, 1), got " + std::to_string(command.range_ratio));
  const auto positive = [](int value, const char* flag) {
    if (value < 1) throw ConfigError(std::string(flag) + " must be at least 1, got " + std::to_string(value));
  };
  positive(command.input_len, "--input-len");
  positive(command.output_len, "--output-len");
  positive(command.n, "--n");
  positive(command.iterations, "--num-iters");
  positive(command.num_prompts, "--num-prompts");
  if (command.warmup_iterations < 0) throw ConfigError("--num-iters-warmup must be 0 or more");
  return command;
}

}  // namespace

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names = {"--help"};
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames())
      if (!option->get_group().empty()) names.push_back("--" + name);
  return names;
}

[[noreturn]] void refuse_arguments(const CLI::App& deepest, const CLI::ParseError& error) {
  std::string text = error.what();
  const std::vector<std::string> left = deepest.remaining(true);
  if (!left.empty()) {
    const std::string word = left.front().substr(0, left.front().find('='));
    text = (word[0] == '-' ? "unknown flag " : "unexpected argument ") + word;
    if (const auto better = nearest(word, flag_names(deepest)); better && word[0] == '-')
      text += ": did you mean " + *better + "?";
  }
  std::replace(text.begin(), text.end(), '\n', ' ');
  throw ConfigError(text + " (" + deepest.get_name() + (deepest.get_name().empty() ? "" : " ") +
                    "--help lists what there is)");
}

std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::optional<std::string> best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);  // Levenshtein, one row at a time
    for (size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j < row.size(); ++j) {
        const size_t replaced = diagonal + (word[i - 1] != candidate[j - 1]);
        diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

CommandLine parse_command_line(std::vector<std::string> arguments) {
  arguments = normalise_arguments(std::move(arguments));
  if (!arguments.empty() && arguments[0] == "engine")
    return EngineCommandLine{parse_engine_arguments({arguments.begin() + 1, arguments.end()})};

  CLI::App app("trireme: distributed inference for large language models", "trireme");
  app.footer(kExamples);
  app.require_subcommand(0, 1);
  bool version = false;
  app.add_flag("-V,--version", version, "What this program was built from and with");
  GenerateFlags generate;
  BenchFlags latency, throughput;
  CLI::App* generate_sub = add_generate(app, generate);
  app.add_subcommand("serve", "Serve a model over HTTP, as OpenAI's API has it");  // parse_serve() parses it
  CLI::App* bench = app.add_subcommand("bench", "Measure an engine, or a running server");
  bench->require_subcommand(1);
  CLI::App* latency_sub = bench->add_subcommand("latency", "Time of one batch from submission to its last token");
  CLI::App* throughput_sub = bench->add_subcommand("throughput", "Tokens per second over many prompts");
  CLI::App* serve_sub = bench->add_subcommand("serve", "Load a running server over HTTP");
  BenchServeFlags serve;
  add_bench_serve_flags(*serve_sub, serve);
  latency_sub
      ->add_option("--batch-size", latency.batch_sizes, "Prompts at once; several, as 1,32,256: measured in this order")
      ->group("Load")
      ->capture_default_str();
  latency_sub->add_option("--num-iters-warmup", latency.command.warmup_iterations, "Batches before measuring")
      ->group("Load")
      ->capture_default_str();
  latency_sub->add_option("--num-iters", latency.command.iterations, "Batches measured")
      ->group("Load")
      ->capture_default_str();
  throughput.command.throughput = true;
  throughput.command.input_len = 1024;
  throughput_sub->add_option("--num-prompts", throughput.command.num_prompts, "Prompts in all")
      ->group("Load")
      ->capture_default_str();
  throughput_sub
      ->add_option("--random-range-ratio", throughput.command.range_ratio,
                   "R: lengths are uniform in [length * (1 - R), length * (1 + R)]")
      ->group("Load")
      ->capture_default_str();
  throughput_sub->add_option("--plot", throughput.command.plot, "With --batching all: draw the comparison, an SVG file")
      ->group("Load");
  latency.run.engine.options.prefix_caching = false;  // equal prompts of later batches would cost nothing
  add_common_bench_flags(*latency_sub, latency);
  add_common_bench_flags(*throughput_sub, throughput);
  throughput_sub->get_option("--batching")
      ->description("continuous, dynamic or static; all: the same load under each, compared");
  EngineFlags inspect;
  inspect.device = "cpu";  // none is used
  CLI::App* inspect_sub = app.add_subcommand(
      "inspect", "What a model is, what looks odd about it, and the memory of each rank; starts nothing");
  add_model_flags(*inspect_sub, inspect, true);
  CLI::App* version_sub = app.add_subcommand("version", "The same as --version");

  const auto deepest = [&]() -> CLI::App& {
    for (CLI::App* sub : {generate_sub, latency_sub, throughput_sub, serve_sub, bench, inspect_sub, version_sub})
      if (sub->parsed()) return *sub;
    return app;
  };
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them from the back
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return PrintText{deepest().help()};
  } catch (const CLI::ParseError& error) {
    refuse_arguments(deepest(), error);
  }
  if (version || version_sub->parsed()) return PrintText{version_text()};
  if (generate_sub->parsed()) return resolve_generate(*generate_sub, std::move(generate));
  if (latency_sub->parsed()) return resolve_bench(latency);
  if (throughput_sub->parsed()) return resolve_bench(throughput);
  if (serve_sub->parsed()) {
    const char* key = std::getenv("OPENAI_API_KEY");
    return resolve(serve, key ? key : "");
  }
  if (inspect_sub->parsed()) return resolve_inspect(inspect);
  return PrintText{app.help()};
}

}  // namespace trireme
