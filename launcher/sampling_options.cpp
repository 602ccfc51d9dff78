#include "launcher/sampling_options.h"

#include <charconv>

#include "base/error.h"

namespace trireme {
namespace {

// Adds options of one heading.
class Group {
 public:
  Group(CLI::App& app, std::string name) : app_(app), name_(std::move(name)) {}
  template <typename T>
  CLI::Option* option(const std::string& names, T& target, const std::string& text) {
    return app_.add_option(names, target, text)->group(name_);
  }
  template <typename T>  // may be given several times, one value each
  CLI::Option* repeated(const std::string& names, std::vector<T>& target, const std::string& text) {
    return option(names, target, text)->allow_extra_args(false);
  }
  void flag(const std::string& names, bool& target, const std::string& text) {
    app_.add_flag(names, target, text)->group(name_);
  }
  void flag(const std::string& names, std::optional<bool>& target, const std::string& text) {
    app_.add_flag_function(
            names, [&target](int64_t count) { target = count > 0; }, text)
        ->group(name_);
  }

 private:
  CLI::App& app_;
  std::string name_;
};

void add_draws(CLI::App& app, SamplingArguments& arguments, uint64_t& seed) {
  SamplingFlags& flags = arguments.values;
  Group group(app, "Sampling (defaults: the model's generation_config.json, else temperature 1 without cuts)");
  group.option("--temperature", flags.temperature, "0: greedy");
  group.option("--top-k", flags.top_k, "Draw from the k likeliest (0 or -1: all)");
  group.option("--top-p", flags.top_p, "Draw from the likeliest that together reach p");
  group.option("--min-p", flags.min_p, "Draw from those at least p times as likely as the likeliest");
  group.option("--typical-p", flags.typical_p, "Locally typical sampling");
  group.option("--seed", seed, "The same seed gives the same output (default: a new one per prompt)");
  group.flag("--greedy", arguments.greedy, "Always the likeliest token");
  group.flag("--do-sample", arguments.sample, "Draw even where the model's defaults say greedy");
  group.option("-n,--n,--num-return-sequences", flags.n, "Outputs per prompt");
  group.option("--best-of", flags.best_of, "Draw so many outputs and return the n likeliest per token");
}

void add_beams(CLI::App& app, SamplingArguments& arguments) {
  SamplingFlags& flags = arguments.values;
  Group group(app, "Beam search");
  group.option("--beam-width,--num-beams", flags.beam_width, "Beams (1: none); the n best are returned");
  group.flag("--use-beam-search", flags.use_beam_search, "As many beams as --n says, all returned");
  group.option("--length-penalty", flags.length_penalty, "A beam's score is its log-probability / length^penalty (1)");
  group.option("--early-stopping", arguments.early_stopping,
               "true: end with so many finished beams; false: when better ones are unlikely; never: impossible");
}

void add_penalties(CLI::App& app, SamplingArguments& arguments) {
  SamplingFlags& flags = arguments.values;
  Group group(app, "Penalties and bans");
  group.option("--repetition-penalty", flags.repetition_penalty, "Above 1: repeat less");
  group.flag("--penalize-prompt,!--no-penalize-prompt", flags.penalize_prompt,
             "The repetition penalty counts the prompt's tokens too (it does)");
  group.option("--presence-penalty", flags.presence_penalty, "-2 to 2, OpenAI's");
  group.option("--frequency-penalty", flags.frequency_penalty, "-2 to 2, OpenAI's");
  group.option("--no-repeat-ngram-size", flags.no_repeat_ngram_size, "No so many tokens in a row occur twice (0: off)");
  group.repeated("--bad-words", flags.bad_words, "Text that may not be generated; may be given several times");
  group.repeated("--bad-words-ids", arguments.bad_words_ids, "The same as ids ID,ID,...");
  group.repeated("--allowed-token-ids", flags.allowed_token_ids, "The only ids that may be generated: ID,ID,...")
      ->delimiter(',');
  group.repeated("--logit-bias", arguments.logit_bias, "Added to logits: ID=BIAS,ID=BIAS,...")->delimiter(',');
}

void add_ends_and_output(CLI::App& app, SamplingFlags& flags) {
  Group ends(app, "Length and ends");
  ends.option("--max-new-tokens", flags.max_new_tokens, "Most tokens to generate (default: the model's, else 256)");
  ends.option("--max-length", flags.max_length, "Most tokens of prompt and output");
  ends.option("--min-new-tokens", flags.min_new_tokens, "No end before so many tokens");
  ends.option("--min-length", flags.min_length, "No end before so many tokens of prompt and output");
  ends.repeated("--stop", flags.stop, "Text that ends an output; may be given several times");
  ends.flag("--include-stop-str-in-output,!--no-include-stop-str-in-output", flags.include_stop,
            "Leave the stop text in the output");
  ends.repeated("--stop-token-ids", flags.stop_token_ids, "Ids that end an output")->delimiter(',');
  ends.flag("--ignore-eos", flags.ignore_eos, "Go on after the model's end token");
  Group output(app, "Prompts and output");
  output.option("--logprobs", flags.logprobs, "Log-probabilities of drawn tokens and of the K likeliest (0 to 20)");
  output.option("--prompt-logprobs", flags.prompt_logprobs, "The same of the prompt's tokens");
  output.flag("--echo", flags.echo, "The prompt is part of the text");
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && rest == text.data() + text.size();
}

std::vector<int32_t> parse_id_list(const std::string& text) {
  std::vector<int32_t> ids;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    if (!parse_number(std::string_view(text).substr(at, end - at), ids.emplace_back()))
      throw ConfigError("--bad-words-ids must be ids such as 12,7, got " + text);
    at = end + 1;
  }
  return ids;
}

TokenBias parse_bias(const std::string& text) {
  TokenBias bias;
  double value = 0;
  const size_t equals = std::min(text.find('='), text.size() - 1);
  if (text.empty() || !parse_number(std::string_view(text).substr(0, equals), bias.id) ||
      !parse_number(std::string_view(text).substr(equals + 1), value))
    throw ConfigError("--logit-bias must be ID=BIAS,ID=BIAS,... such as 12=-5,7=1.5, got " + text);
  try {
    bias.bias = float_bias(value);
  } catch (const RequestError& error) {
    throw ConfigError(std::string("--logit-bias: ") + error.what());
  }
  return bias;
}

EarlyStopping parse_early_stopping(const std::string& text) {
  if (text == "true") return EarlyStopping::yes;
  if (text == "false") return EarlyStopping::no;
  if (text == "never") return EarlyStopping::never;
  throw ConfigError("--early-stopping must be true, false or never, got " + text);
}

}  // namespace

void add_sampling_flags(CLI::App& app, SamplingArguments& arguments, uint64_t& seed) {
  add_draws(app, arguments, seed);
  add_beams(app, arguments);
  add_penalties(app, arguments);
  add_ends_and_output(app, arguments.values);
}

SamplingFlags resolve(const SamplingArguments& arguments) {
  SamplingFlags flags = arguments.values;
  if (arguments.greedy && arguments.sample) throw ConfigError("--greedy and --do-sample exclude each other");
  if (arguments.greedy) flags.do_sample = false;
  if (arguments.sample) flags.do_sample = true;
  if (!arguments.early_stopping.empty()) flags.early_stopping = parse_early_stopping(arguments.early_stopping);
  for (const std::string& ids : arguments.bad_words_ids) flags.bad_words_ids.push_back(parse_id_list(ids));
  for (const std::string& bias : arguments.logit_bias) flags.logit_bias.push_back(parse_bias(bias));
  return flags;
}

}  // namespace trireme
