#include "launcher/command_line.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

GenerateCommand generate(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "generate");
  return std::get<GenerateCommand>(parse_command_line(arguments));
}

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    parse_command_line(arguments);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(CommandLine, TakesTheFirstWordAsModelAndTheRestAsPrompts) {
  const GenerateCommand command = generate({"org/name", "hello", "world", "-tp", "2", "-pp", "2", "--chat"});
  EXPECT_EQ(command.run.engine.model, "org/name");
  EXPECT_EQ(command.prompts, (std::vector<std::string>{"hello", "world"}));
  EXPECT_EQ(command.run.engine.world(), 4);
  EXPECT_TRUE(command.chat);
}

TEST(CommandLine, TakesAllWordsAsPromptsWhenTheModelIsAFlag) {
  const GenerateCommand command = generate({"--model", "org/name", "hello"});
  EXPECT_EQ(command.run.engine.model, "org/name");
  EXPECT_EQ(command.prompts, (std::vector<std::string>{"hello"}));
}

TEST(CommandLine, KnowsVllmsAndHuggingFacesNames) {
  const GenerateCommand command = generate({"m/n",
                                            "--prompts",
                                            "p.txt",
                                            "--tensor_parallel_size",
                                            "2",
                                            "--max-model-len",
                                            "1k",
                                            "--max-num-seqs",
                                            "4",
                                            "--num-gpu-blocks-override",
                                            "64",
                                            "--no-enable-prefix-caching",
                                            "--load-format",
                                            "dummy",
                                            "--device",
                                            "cpu",
                                            "--max-new-tokens",
                                            "5",
                                            "--min-new-tokens",
                                            "2",
                                            "--temperature",
                                            "0.5",
                                            "--top-k",
                                            "3",
                                            "--top-p",
                                            "0.9",
                                            "--min-p",
                                            "0.1",
                                            "--repetition-penalty",
                                            "1.2",
                                            "--seed",
                                            "9",
                                            "--n",
                                            "3",
                                            "--stop",
                                            "a",
                                            "--stop",
                                            "b c",
                                            "--logprobs",
                                            "2",
                                            "--output-format",
                                            "json"});
  EXPECT_EQ(command.run.engine.max_model_len, 1000);
  EXPECT_EQ(command.run.engine.num_blocks_override, 64);
  EXPECT_FALSE(command.run.engine.prefix_caching);
  EXPECT_EQ(command.run.engine.load_format, LoadFormat::dummy);
  EXPECT_EQ(command.run.engine.seed, 9u);
  EXPECT_EQ(command.sampling.seed, 9u);
  EXPECT_EQ(command.sampling.max_new_tokens, 5);
  EXPECT_EQ(command.sampling.temperature, 0.5);
  EXPECT_EQ(command.sampling.stop, (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(command.sampling.n, 3);
  EXPECT_EQ(command.format, OutputFormat::json);
}

TEST(CommandLine, LeavesUnsetSamplingUnset) {
  const GenerateCommand command = generate({"m/n", "x"});
  EXPECT_FALSE(command.sampling.seed || command.sampling.temperature || command.sampling.do_sample);
  EXPECT_EQ(generate({"m/n", "x", "--greedy"}).sampling.do_sample, false);
}

TEST(CommandLine, SuggestsTheFlagThatWasMeant) {
  EXPECT_NE(refusal({"generate", "m/n", "x", "--temprature", "1"}).find("did you mean --temperature?"),
            std::string::npos);
  EXPECT_NE(refusal({"bench", "latency", "m/n", "--batchsize", "2"}).find("did you mean --batch-size?"),
            std::string::npos);
  EXPECT_EQ(refusal({"generate", "m/n", "--zzzzzzzzzzzz"}).find("did you mean"), std::string::npos);
}

TEST(CommandLine, RefusesWrongValuesInOneLine) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"generate", "m/n", "x", "-tp", "two"},
                                             {"generate", "m/n", "x", "-tp", "0"},
                                             {"generate"},
                                             {"generate", "m/n", "x", "--output-format", "xml"},
                                             {"generate", "m/n", "x", "--prompts", "f"},
                                             {"generate", "m/n", "x", "--device", "tpu"},
                                             {"bench"},
                                             {"bench", "latency", "m/n", "--num-iters", "0"},
                                             {"generate", "m/n", "x", "--max-model-len", "lots"},
                                             {"nonsense"},
                                             {"generate", "m/n", "x", "--greedy", "--do-sample"},
                                             {"generate", "m/n", "x", "--launch-args", "'open"}}) {
    const std::string text = refusal(arguments);
    EXPECT_NE(text, "accepted") << testing::PrintToString(arguments);
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

TEST(CommandLine, SplitsLaunchArguments) {
  const GenerateCommand command = generate({"m/n", "x", "--launch-args", "--mca plm_rsh_agent 'a b'  -x FOO"});
  EXPECT_EQ(command.run.launch.launch_args, (std::vector<std::string>{"--mca", "plm_rsh_agent", "a b", "-x", "FOO"}));
}

TEST(CommandLine, HelpNamesEverySubCommandAndHidesTheEngine) {
  const std::string help = std::get<PrintText>(parse_command_line({"--help"})).text;
  EXPECT_NE(help.find("generate"), std::string::npos);
  EXPECT_NE(help.find("bench"), std::string::npos);
  EXPECT_EQ(help.find("engine-program"), std::string::npos);
  const std::string sub = std::get<PrintText>(parse_command_line({"generate", "--help"})).text;
  EXPECT_NE(sub.find("--max-new-tokens"), std::string::npos);
  EXPECT_EQ(sub.find("engine-program"), std::string::npos);
}

TEST(CommandLine, BenchDefaultsAreVllms) {
  const BenchCommand latency = std::get<BenchCommand>(parse_command_line({"bench", "latency", "m/n"}));
  EXPECT_EQ(latency.input_len, 32);
  EXPECT_EQ(latency.output_len, 128);
  EXPECT_EQ(latency.batch_size, 8);
  EXPECT_EQ(latency.run.engine.load_format, LoadFormat::dummy);
  EXPECT_FALSE(latency.run.engine.prefix_caching);
  EXPECT_TRUE(std::get<BenchCommand>(parse_command_line({"bench", "throughput", "m/n"})).throughput);
}

TEST(CommandLine, KnowsEverySamplingParameter) {
  const SamplingFlags flags = generate({"m/n",
                                        "x",
                                        "--num-beams",
                                        "4",
                                        "--num-return-sequences",
                                        "2",
                                        "--length-penalty",
                                        "-0.5",
                                        "--early-stopping",
                                        "never",
                                        "--best-of",
                                        "3",
                                        "--no-repeat-ngram-size",
                                        "2",
                                        "--bad-words",
                                        "a b",
                                        "--bad-words",
                                        "c",
                                        "--bad-words-ids",
                                        "5,6",
                                        "--allowed-token-ids",
                                        "1,2,3",
                                        "--logit-bias",
                                        "12=-5,7=1.5",
                                        "--logit-bias",
                                        "9=2",
                                        "--no-penalize-prompt",
                                        "--prompt-logprobs",
                                        "1",
                                        "--echo",
                                        "--include_stop_str_in_output",
                                        "--stop-token-ids",
                                        "8",
                                        "--use-beam-search"})
                                  .sampling;
  EXPECT_EQ(flags.beam_width, 4);
  EXPECT_EQ(flags.n, 2);
  EXPECT_EQ(flags.length_penalty, -0.5);
  EXPECT_EQ(flags.early_stopping, EarlyStopping::never);
  EXPECT_EQ(flags.best_of, 3);
  EXPECT_EQ(flags.no_repeat_ngram_size, 2);
  EXPECT_EQ(flags.bad_words, (std::vector<std::string>{"a b", "c"}));
  EXPECT_EQ(flags.bad_words_ids, (std::vector<std::vector<int32_t>>{{5, 6}}));
  EXPECT_EQ(flags.allowed_token_ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(flags.logit_bias, (std::vector<TokenBias>{{12, -5}, {7, 1.5f}, {9, 2}}));
  EXPECT_EQ(flags.penalize_prompt, false);
  EXPECT_EQ(flags.prompt_logprobs, 1);
  EXPECT_EQ(flags.echo, true);
  EXPECT_EQ(flags.include_stop, true);
  EXPECT_EQ(flags.use_beam_search, true);
  EXPECT_EQ(generate({"m/n", "x", "--beam-width", "2", "--penalize-prompt"}).sampling.penalize_prompt, true);
  EXPECT_FALSE(generate({"m/n", "x"}).sampling.penalize_prompt);
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{{"--early-stopping", "maybe"},
                                                                                     {"--logit-bias", "12"},
                                                                                     {"--logit-bias", "12=nan"},
                                                                                     {"--logit-bias", "=1"},
                                                                                     {"--bad-words-ids", "1,,2"},
                                                                                     {"--num-beams", "many"}}) {
    std::vector<std::string> arguments = {"generate", "m/n", "x"};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    EXPECT_NE(refusal(arguments), "accepted") << wrong[0] << " " << wrong[1];
  }
}

}  // namespace
}  // namespace trireme
