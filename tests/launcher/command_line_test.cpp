#include "launcher/command_line.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "launcher/inspect_command.h"

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
                                             {"bench", "latency", "m/n", "--batching", "all"},
                                             {"bench", "latency", "m/n", "--batch-size", "0"},
                                             {"bench", "latency", "m/n", "--batch-size", ""},
                                             {"bench", "latency", "m/n", "--batch-size", "1,"},
                                             {"bench", "latency", "m/n", "--batch-size", ",1"},
                                             {"bench", "latency", "m/n", "--batch-size", "1,x"},
                                             {"bench", "latency", "m/n", "--batch-size", "1 2"},
                                             {"bench", "latency", "m/n", "--batch-size", "1,-2"},
                                             {"bench", "latency", "m/n", "--batch-size", "1,65537"},
                                             {"bench", "latency", "m/n", "--batch-size", "1,2", "--batching", "static"},
                                             {"bench", "latency", "m/n", "--profile-steps", "0"},
                                             {"bench", "latency", "m/n", "--profile-skip", "-1"},
                                             {"bench", "throughput", "m/n", "--batching", "all", "--profile", "x"},
                                             {"bench", "throughput", "m/n", "--batching", "sometimes"},
                                             {"bench", "throughput", "m/n", "--batch-size", "4"},
                                             {"bench", "throughput", "m/n", "--plot", "x.svg"},
                                             {"bench", "throughput", "m/n", "--random-range-ratio", "1"},
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
  EXPECT_EQ(latency.batch_sizes, std::vector<int>{8});
  EXPECT_EQ(latency.run.engine.load_format, LoadFormat::dummy);
  EXPECT_FALSE(latency.run.engine.prefix_caching);
  EXPECT_TRUE(std::get<BenchCommand>(parse_command_line({"bench", "throughput", "m/n"})).throughput);
}

TEST(CommandLine, BenchTakesABatchingPolicyOrAllOfThem) {
  const auto bench = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "bench");
    arguments.insert(arguments.begin() + 2, {"m/n", "--device", "cpu"});
    return std::get<BenchCommand>(parse_command_line(arguments));
  };
  const BenchCommand all = bench({"throughput", "--batching", "all", "--batch-size", "4", "--plot", "x.svg",
                                  "--random-range-ratio", "0.5", "--batch-wait-ms", "9"});
  EXPECT_TRUE(all.all_policies);
  EXPECT_EQ(all.run.engine.batch_size, 4);
  EXPECT_EQ(all.run.engine.batch_wait_ms, 9);
  EXPECT_EQ(all.range_ratio, 0.5);
  const BenchCommand one = bench({"throughput", "--batching", "dynamic"});
  EXPECT_FALSE(one.all_policies);
  EXPECT_EQ(one.run.engine.batching, BatchingPolicy::dynamic);
  const BenchCommand latency = bench({"latency", "--batching", "static", "--batch-size", "3"});
  EXPECT_EQ(latency.batch_sizes, std::vector<int>{3});
  EXPECT_EQ(latency.run.engine.batch_size, 3);  // each iteration's prompts are one batch
}

TEST(CommandLine, BenchTakesSeveralBatchSizes) {
  const CommandLine line =
      parse_command_line({"bench", "latency", "m/n", "--device", "cpu", "--batch-size", "1,32,256"});
  EXPECT_EQ(std::get<BenchCommand>(line).batch_sizes, (std::vector<int>{1, 32, 256}));
  EXPECT_NE(refusal({"bench", "latency", "m/n", "--batch-size", "1,x"}).find("such as 32 or 1,32,256, got 1,x"),
            std::string::npos);
}

TEST(CommandLine, AProfileHasAFolderForItsParts) {
  const CommandLine line = parse_command_line({"bench", "latency", "m/n", "--device", "cpu", "--profile", "/x/t.json",
                                               "--profile-skip", "2", "--profile-steps", "5"});
  const RunOptions run = std::get<BenchCommand>(line).run;
  EXPECT_EQ(run.profile, "/x/t.json");
  EXPECT_EQ(run.engine.profile,
            (ProfileOptions{.directory = "/x/t.json.parts", .skip = 2, .steps = 5, .from_decode = true}));
  EXPECT_FALSE(generate({"m/n", "x", "--device", "cpu", "--profile", "/x/t.json"}).run.engine.profile.from_decode);
  EXPECT_EQ(generate({"m/n", "x"}).run.profile, "");
  EXPECT_EQ(generate({"m/n", "x"}).run.engine.profile.directory, "");
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

TEST(CommandLine, ReadsTheFlagsOfChats) {
  const GenerateCommand command =
      generate({"m/n", "hi", "--chat", "--chat-template", "t.jinja", "--trust-special-tokens",
                "--chat_template_kwargs={\"enable_thinking\": false}"});
  EXPECT_EQ(command.chat_template, "t.jinja");
  EXPECT_TRUE(command.trust_special_tokens);
  EXPECT_EQ(json::serialize(command.chat_template_kwargs), "{\"enable_thinking\":false}");
  EXPECT_TRUE(generate({"m/n", "hi", "--chat"}).chat_template_kwargs.empty());
  EXPECT_EQ(generate({"m/n", "--prompts", "p.jsonl", "--chat-template", "t"}).chat_template, "t");
  for (const char* value : {"[]", "{\"a\":", "yes"})
    EXPECT_NE(refusal({"generate", "m/n", "hi", "--chat", "--chat-template-kwargs", value})
                  .find("--chat-template-kwargs must be a JSON object"),
              std::string::npos)
        << value;
  EXPECT_NE(refusal({"generate", "m/n", "hi", "--chat-template", "t"}).find("add --chat"), std::string::npos);
  EXPECT_NE(refusal({"generate", "m/n", "--trust-special-tokens", "--skip-tokenizer-init"}).find("needs a tokenizer"),
            std::string::npos);
}

InspectCommand inspect_command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "inspect");
  return std::get<InspectCommand>(parse_command_line(arguments));
}

const std::string kTinyLlama = std::string(TRIREME_SOURCE_DIR) + "/tests/models/tiny-llama";

TEST(CommandLine, KnowsInspect) {
  const InspectCommand command = inspect_command({"org/name", "-tp", "2", "-pp", "3"});
  EXPECT_EQ(command.model, "org/name");
  EXPECT_EQ(command.tp, 2);
  EXPECT_EQ(command.pp, 3);
  EXPECT_EQ(inspect_command({"--model", "org/name"}).model, "org/name");
  EXPECT_NE(refusal({"inspect", "org/name", "-tp", "0"}).find("--tensor-parallel-size must be 1 to 1024, got 0"),
            std::string::npos);
  EXPECT_NE(refusal({"inspect"}).find("no model"), std::string::npos);
  EXPECT_NE(refusal({"inspect", "org/name", "--block-size", "1"}).find("unknown flag"), std::string::npos);
  const std::string help = std::get<PrintText>(parse_command_line({"inspect", "--help"})).text;
  EXPECT_NE(help.find("-pp N"), std::string::npos) << help;
}

TEST(Inspect, HasALineForEachRank) {
  const auto lines_with = [](const std::string& text, const std::string& part) {
    int count = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
    return count;
  };
  const ModelConfig config = open_checkpoint(kTinyLlama).config;
  const std::string one = inspect_report(inspect_command({kTinyLlama}));
  EXPECT_EQ(lines_with(one, "\nrank "), 1) << one;
  const int64_t kv_bytes = 2 * config.num_layers * config.num_kv_heads * config.head_dim * 2;
  EXPECT_EQ(lines_with(one, "KV cache " + std::to_string(kv_bytes) + " B per token"), 1) << one;
  const std::string four = inspect_report(inspect_command({kTinyLlama, "-tp", "2", "-pp", "2"}));
  EXPECT_EQ(lines_with(four, "\nrank "), 4) << four;
  EXPECT_EQ(lines_with(four, "stage 1, layers 3 to 4"), 2) << four;
  for (const char* bytes : {"256", "128", "384", "192"})  // 2 or 3 layers, 2 or 1 KV heads of 16
    EXPECT_EQ(lines_with(four, std::string("KV cache ") + bytes + " B per token"), 1) << four;
  const std::string config_only = std::string(TRIREME_SOURCE_DIR) + "/configs/models/llama-3.1-8b.json";
  EXPECT_EQ(lines_with(inspect_report(inspect_command({config_only, "-tp", "8"})), "KV cache 16384 B per token"), 8);
  EXPECT_EQ(lines_with(inspect_report(inspect_command({config_only, "-pp", "2"})), "stage 1, layers 17 to 31"), 1);
  const std::string given = inspect_report(inspect_command({config_only, "-pp", "2", "--pp-layers", "20,12"}));
  EXPECT_EQ(lines_with(given, "stage 1, layers 20 to 31"), 1) << given;
}

TEST(Inspect, RefusesWhatCannotRun) {
  const auto message = [](const std::vector<std::string>& arguments) -> std::string {
    try {
      return inspect_report(inspect_command(arguments));
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_NE(message({kTinyLlama, "-tp", "64"}).find("-tp 64 is more ranks than"), std::string::npos);
  EXPECT_NE(message({kTinyLlama, "-pp", "64"}).find("-pp 64 is more stages than"), std::string::npos);
  EXPECT_NE(message({"no-such-folder/none.gguf"}).find("none.gguf"), std::string::npos);
}

}  // namespace
}  // namespace trireme
