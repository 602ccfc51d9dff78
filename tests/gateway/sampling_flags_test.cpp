#include "gateway/sampling_flags.h"

#include <gtest/gtest.h>

#include <cmath>

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

// What a mistake is answered with.
std::string refusal(const SamplingFlags& flags, const GenerationDefaults& defaults = {}) {
  try {
    Request request;
    request.prompt = {1, 2};
    request.sampling = resolve(flags, defaults, 2, 1000);
    output_options(flags, request.sampling);
    validate(request, 128, 1000);
  } catch (const RequestError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(SamplingFlags, BeamsIgnoreWhatTheModelSaysAboutDrawing) {
  GenerationDefaults defaults;
  defaults.do_sample = true;
  defaults.top_k = 20;
  defaults.temperature = 0.6;
  defaults.repetition_penalty = 1.1;
  SamplingFlags flags;
  flags.beam_width = 4;
  flags.n = 2;
  const SamplingParams params = resolve(flags, defaults, 2, 100);
  EXPECT_EQ(params.beam_width, 4);
  EXPECT_EQ(params.n, 2);
  EXPECT_EQ(params.top_k, 0);
  EXPECT_FLOAT_EQ(params.repetition_penalty, 1.1f);  // not about drawing
  EXPECT_EQ(params.early_stopping, EarlyStopping::no);
  EXPECT_EQ(params.length_penalty, 1);
  flags.do_sample = true;
  EXPECT_NE(refusal(flags).find("beam search draws nothing"), std::string::npos);
  flags.do_sample = false;
  EXPECT_EQ(refusal(flags, defaults), "accepted");
  flags.temperature = -1;
  EXPECT_NE(refusal(flags).find("temperature must be"), std::string::npos);
  flags.temperature.reset();
  flags.n = 5;
  EXPECT_NE(refusal(flags).find("at most beam_width"), std::string::npos);
  flags.n = 1;
  flags.beam_width = 17;
  EXPECT_NE(refusal(flags).find("beam_width must be in [1, 16]"), std::string::npos);
}

TEST(SamplingFlags, VllmsUseBeamSearchTakesItsWidthFromN) {
  SamplingFlags flags;
  flags.use_beam_search = true;
  flags.n = 3;
  EXPECT_EQ(resolve(flags, {}, 2, 100).beam_width, 3);
  EXPECT_EQ(resolve(flags, {}, 2, 100).n, 3);
  flags.beam_width = 6;
  EXPECT_EQ(resolve(flags, {}, 2, 100).beam_width, 6);
  flags.n = flags.beam_width = std::nullopt;
  EXPECT_EQ(resolve(flags, {}, 2, 100).temperature, 0);  // one beam is greedy
  flags.do_sample = true;
  EXPECT_NE(refusal(flags).find("draws nothing"), std::string::npos);
  flags.do_sample.reset();
  flags.use_beam_search = false;
  flags.beam_width = 2;
  EXPECT_NE(refusal(flags).find("leave out one"), std::string::npos);
}

TEST(SamplingFlags, BestOfRunsMoreThanItReturns) {
  SamplingFlags flags;
  flags.n = 2;
  flags.best_of = 5;
  const SamplingParams params = resolve(flags, {}, 2, 100);
  EXPECT_EQ(params.n, 5);
  const OutputOptions output = output_options(flags, params);
  EXPECT_EQ(output.returned, 2);
  EXPECT_TRUE(output.best_first);
  EXPECT_FALSE(output.streams());
  flags.best_of = 1;
  EXPECT_NE(refusal(flags).find("best_of must be at least n, which is 2"), std::string::npos);
  flags.n = 0;
  flags.best_of = 3;
  EXPECT_NE(refusal(flags).find("n must be at least 1"), std::string::npos);
  flags.n = 2;
  flags.best_of = 129;
  EXPECT_NE(refusal(flags).find("at most 128"), std::string::npos);
  flags.best_of = 4;
  flags.beam_width = 4;
  EXPECT_NE(refusal(flags).find("best_of chooses among draws"), std::string::npos);
  SamplingFlags one;
  one.best_of = 1;
  EXPECT_TRUE(output_options(one, resolve(one, {}, 2, 100)).streams());
}

TEST(SamplingFlags, RefusesNumbersOutOfRange) {
  const auto with = [](auto member, auto value) {
    SamplingFlags flags;
    flags.*member = value;
    return refusal(flags);
  };
  using F = SamplingFlags;
  for (const auto member : {&F::temperature, &F::top_p, &F::min_p, &F::typical_p, &F::repetition_penalty,
                            &F::presence_penalty, &F::frequency_penalty, &F::length_penalty})
    for (const double value : {std::nan(""), 1e300, -1e300, double(INFINITY)})
      EXPECT_NE(with(member, value).find("must be a finite number"), std::string::npos) << value;
  for (const auto member : {&F::temperature, &F::top_p, &F::min_p, &F::typical_p, &F::repetition_penalty})
    EXPECT_NE(with(member, -0.5), "accepted");
  EXPECT_NE(with(&F::presence_penalty, 2.5), "accepted");
  EXPECT_NE(with(&F::length_penalty, 101.0), "accepted");
  for (const auto member : {&F::top_k, &F::max_length, &F::min_length, &F::min_new_tokens, &F::n, &F::logprobs,
                            &F::prompt_logprobs, &F::no_repeat_ngram_size, &F::best_of, &F::beam_width})
    EXPECT_NE(with(member, INT64_MIN), "accepted");
  for (const auto member :
       {&F::top_k, &F::n, &F::logprobs, &F::prompt_logprobs, &F::no_repeat_ngram_size, &F::best_of, &F::beam_width})
    EXPECT_NE(with(member, INT64_MAX), "accepted");
  EXPECT_EQ(with(&F::top_k, -1), "accepted");                  // vLLM's "all"
  EXPECT_EQ(with(&F::max_new_tokens, INT64_MAX), "accepted");  // what the context leaves
  EXPECT_NE(with(&F::prompt_logprobs, 21), "accepted");
  EXPECT_NE(with(&F::allowed_token_ids, std::vector<int32_t>{128}), "accepted");
  EXPECT_NE(with(&F::bad_words_ids, std::vector<std::vector<int32_t>>{{}}), "accepted");
  EXPECT_NE(with(&F::logit_bias, std::vector<TokenBias>{{5, 1}, {5, 2}}), "accepted");
  EXPECT_THROW(float_bias(std::nan("")), RequestError);
  SamplingFlags lengths;
  lengths.min_new_tokens = 9;
  lengths.max_new_tokens = 8;
  EXPECT_NE(refusal(lengths), "accepted");
}

TEST(SamplingFlags, StopStringsAreFewAndShort) {
  const auto with = [](std::vector<std::string> stop) {
    SamplingFlags flags;
    flags.stop = std::move(stop);
    return refusal(flags);
  };
  EXPECT_EQ(with(std::vector<std::string>(16, std::string(256, 'x'))), "accepted");
  EXPECT_NE(with(std::vector<std::string>(17, "x")).find("at most 16"), std::string::npos);
  EXPECT_NE(with({std::string(257, 'x')}).find("at most 256 bytes"), std::string::npos);
  EXPECT_NE(with({"a", ""}).find("must not be empty"), std::string::npos);
  EXPECT_NE(with({"\xC3"}).find("UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace trireme
