#include "launcher/engine_options.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "launcher/engine_flags.h"

namespace trireme {
namespace {

EngineOptions sample() {
  EngineOptions options;
  options.model = "org/name";
  options.tp = 2;
  options.pp = 3;
  options.pp_layers = {3, 1, 2};
  options.load_format = LoadFormat::dummy;
  options.max_model_len = 2048;
  options.max_num_seqs = 7;
  options.max_num_batched_tokens = 99;
  options.block_size = 32;
  options.num_blocks_override = 12;
  options.memory_utilization = 0.123456789;
  options.prefix_caching = false;
  options.custom_all_reduce = false;
  options.peer_sampling = true;
  options.prefill_chunk = 16;
  options.mixed_prefill = 0;
  options.mixed_step_multiple = 256;
  options.cpu_threads = 2;
  options.batching = BatchingPolicy::static_;
  options.batch_size = 5;
  options.batch_wait_ms = 7;
  options.seed = UINT64_MAX;
  options.verbose = true;
  options.profile = {.directory = "/a b/t.json.parts", .skip = 0, .steps = 9, .from_decode = true};
  options.front = {"unix:/a b/front", "secret", 7};
  return options;
}

TEST(EngineOptions, ComeBackFromTheirArguments) {
  setenv(kAttemptKeyVariable, "secret", 1);
  EXPECT_EQ(parse_engine_arguments(to_arguments(sample())), sample());
  unsetenv(kAttemptKeyVariable);
  EngineOptions plain;
  plain.model = "m/n";
  EXPECT_EQ(parse_engine_arguments(to_arguments(plain)), plain);
}

TEST(EngineOptions, NeverShowTheKeyInTheirArguments) {
  for (const std::string& argument : to_arguments(sample())) EXPECT_EQ(argument.find("secret"), std::string::npos);
}

TEST(EngineOptions, RefuseValuesOutOfRangeWithTheFlagsName) {
  EngineOptions options = sample();
  options.tp = 0;
  EXPECT_THROW(validate(options), ConfigError);
  options = sample();
  options.memory_utilization = 1.5;
  try {
    validate(options);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("--gpu-memory-utilization"), std::string::npos);
  }
  options = sample();
  options.max_num_batched_tokens = 6;  // fewer than sequences
  EXPECT_THROW(validate(options), ConfigError);
  options = sample();
  options.batch_size = 8;  // more than sequences
  EXPECT_THROW(validate(options), ConfigError);
  options = sample();
  options.batching = BatchingPolicy::continuous;  // with a batch size
  EXPECT_THROW(validate(options), ConfigError);
  options = sample();
  options.batch_wait_ms = -1;
  EXPECT_THROW(validate(options), ConfigError);
}

TEST(EngineFlags, ReadCountsWithSuffixes) {
  EXPECT_EQ(parse_count("4096", "--x"), 4096);
  EXPECT_EQ(parse_count("1k", "--x"), 1000);
  EXPECT_EQ(parse_count("1K", "--x"), 1024);
  EXPECT_EQ(parse_count("2M", "--x"), 2 << 20);
  for (const char* wrong : {"", "k", "1kk", "-1", "0", "1.5k", "99999999999G"})
    EXPECT_THROW(parse_count(wrong, "--x"), ConfigError) << wrong;
}

TEST(EngineFlags, NormaliseShortNamesAndUnderscores) {
  EXPECT_EQ(normalise_arguments({"-tp", "2", "-pp=3", "--max_model_len=1_k", "a_b", "--", "--x_y"}),
            (std::vector<std::string>{"--tensor-parallel-size", "2", "--pipeline-parallel-size=3",
                                      "--max-model-len=1_k", "a_b", "--", "--x_y"}));
  EXPECT_EQ(normalise_arguments({"--tp", "2", "--pp_size=3", "--a text with_it"}),
            (std::vector<std::string>{"--tensor-parallel-size", "2", "--pipeline-parallel-size=3", "--a text with_it"}));
}

}  // namespace
}  // namespace trireme
