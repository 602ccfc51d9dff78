#include "gateway/sampling_flags.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

TEST(SamplingFlags, FlagsWinOverTheModelsDefaultsOverVllms) {
  GenerationDefaults defaults;
  defaults.temperature = 0.6;
  defaults.top_p = 0.9;
  SamplingFlags flags;
  flags.top_p = 0.5;
  const SamplingParams params = resolve(flags, defaults, 10, 1000);
  EXPECT_FLOAT_EQ(params.temperature, 0.6f);
  EXPECT_FLOAT_EQ(params.top_p, 0.5f);
  EXPECT_EQ(params.top_k, 0);
  EXPECT_EQ(params.max_new_tokens, kDefaultMaxNewTokens);
  EXPECT_FLOAT_EQ(resolve({}, {}, 10, 1000).temperature, 1.0f);
}

TEST(SamplingFlags, DoSampleFalseIsGreedyUnlessATemperatureIsGiven) {
  GenerationDefaults greedy;
  greedy.do_sample = false;
  EXPECT_EQ(resolve({}, greedy, 1, 100).temperature, 0);
  SamplingFlags warm;
  warm.temperature = 0.7;
  EXPECT_FLOAT_EQ(resolve(warm, greedy, 1, 100).temperature, 0.7f);
  warm.do_sample = false;
  EXPECT_EQ(resolve(warm, {}, 1, 100).temperature, 0);
}

TEST(SamplingFlags, LengthsCountThePromptWhereTheirNamesSaySo) {
  SamplingFlags flags;
  flags.max_length = 30;
  flags.min_length = 15;
  EXPECT_EQ(resolve(flags, {}, 10, 1000).max_new_tokens, 20);
  EXPECT_EQ(resolve(flags, {}, 10, 1000).min_new_tokens, 5);
  flags.max_new_tokens = 3;
  flags.min_new_tokens = 2;
  EXPECT_EQ(resolve(flags, {}, 10, 1000).max_new_tokens, 3);
  EXPECT_EQ(resolve(flags, {}, 10, 1000).min_new_tokens, 2);
}

TEST(SamplingFlags, OutputsStayWithinTheContext) {
  SamplingFlags flags;
  flags.max_new_tokens = 500;
  EXPECT_EQ(resolve(flags, {}, 90, 100).max_new_tokens, 10);
  EXPECT_THROW(resolve(flags, {}, 100, 100), RequestError);
  flags.max_new_tokens = 0;
  EXPECT_THROW(resolve(flags, {}, 10, 100), RequestError);
  flags.max_new_tokens.reset();
  flags.max_length = 10;
  EXPECT_THROW(resolve(flags, {}, 10, 100), RequestError);
}

TEST(SamplingFlags, ASeedIsKeptOrDrawn) {
  SamplingFlags flags;
  flags.seed = 5;
  EXPECT_EQ(resolve(flags, {}, 1, 100).seed, 5u);
  EXPECT_NE(resolve({}, {}, 1, 100).seed, resolve({}, {}, 1, 100).seed);
}

TEST(SamplingFlags, ALineWinsOverTheFlags) {
  SamplingFlags line, flags;
  line.n = 2;
  flags.n = 3;
  flags.top_k = 4;
  flags.stop = {"x"};
  const SamplingFlags both = merged(line, flags);
  EXPECT_EQ(both.n, 2);
  EXPECT_EQ(both.top_k, 4);
  EXPECT_EQ(both.stop, std::vector<std::string>{"x"});
}

}  // namespace
}  // namespace trireme
