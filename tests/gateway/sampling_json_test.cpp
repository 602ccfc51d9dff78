#include "gateway/sampling_json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

SamplingFlags taken(const char* text) {
  json::value value = json::parse(text);
  const SamplingFlags flags = take_sampling(value.get_object());
  EXPECT_TRUE(value.get_object().empty()) << text;
  return flags;
}

TEST(SamplingJson, KnowsTheNamesOfHuggingFaceVllmAndOpenAi) {
  const SamplingFlags flags = taken(
      R"({"num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.5, "early_stopping": "never", "best_of": 3,
          "no_repeat_ngram_size": 3, "bad_words": ["a", "b c"], "bad_words_ids": [[1, 2], [3]],
          "allowed_token_ids": [4, 5], "logit_bias": {"7": -100, "8": 1.5}, "penalize_prompt": false,
          "prompt_logprobs": 2, "echo": true, "include_stop_str_in_output": true, "use_beam_search": true,
          "min_tokens": 3, "max_completion_tokens": 9, "stop_strings": ["x"]})");
  EXPECT_EQ(flags.beam_width, 4);
  EXPECT_EQ(flags.n, 2);
  EXPECT_EQ(flags.length_penalty, 0.5);
  EXPECT_EQ(flags.early_stopping, EarlyStopping::never);
  EXPECT_EQ(flags.best_of, 3);
  EXPECT_EQ(flags.no_repeat_ngram_size, 3);
  EXPECT_EQ(flags.bad_words, (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(flags.bad_words_ids, (std::vector<std::vector<int32_t>>{{1, 2}, {3}}));
  EXPECT_EQ(flags.allowed_token_ids, (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(flags.logit_bias, (std::vector<TokenBias>{{7, -100}, {8, 1.5f}}));
  EXPECT_EQ(flags.penalize_prompt, false);
  EXPECT_EQ(flags.prompt_logprobs, 2);
  EXPECT_EQ(flags.echo, true);
  EXPECT_EQ(flags.include_stop, true);
  EXPECT_EQ(flags.use_beam_search, true);
  EXPECT_EQ(flags.min_new_tokens, 3);
  EXPECT_EQ(flags.max_new_tokens, 9);
  EXPECT_EQ(flags.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(taken(R"({"early_stopping": true})").early_stopping, EarlyStopping::yes);
  EXPECT_EQ(taken(R"({"beam_width": 2, "early_stopping": false})").early_stopping, EarlyStopping::no);
}

TEST(SamplingJson, NullIsAsGoodAsAbsent) {
  const SamplingFlags flags =
      taken(R"({"temperature": null, "stop": null, "logit_bias": null, "allowed_token_ids": null, "n": null})");
  EXPECT_FALSE(flags.temperature || flags.n);
  EXPECT_TRUE(flags.stop.empty() && flags.logit_bias.empty());
}

TEST(SamplingJson, RefusesValuesOfTheWrongType) {
  for (const char* text : {R"({"num_beams": 1.5})",
                           R"({"num_beams": "4"})",
                           R"({"early_stopping": "sometimes"})",
                           R"({"early_stopping": 1})",
                           R"({"bad_words": [1]})",
                           R"({"bad_words_ids": [1]})",
                           R"({"bad_words_ids": [["a"]]})",
                           R"({"bad_words_ids": [[-1]]})",
                           R"({"allowed_token_ids": []})",
                           R"({"allowed_token_ids": [4294967296]})",
                           R"({"logit_bias": [1]})",
                           R"({"logit_bias": {"a": 1}})",
                           R"({"logit_bias": {"1": "a"}})",
                           R"({"logit_bias": {"99999999999": 1}})",
                           R"({"logit_bias": {"1": 1e300}})",
                           R"({"echo": 1})",
                           R"({"penalize_prompt": "yes"})",
                           R"({"length_penalty": true})",
                           R"({"stop": [1]})",
                           R"({"n": 1e30})"}) {
    json::value value = json::parse(text);
    EXPECT_THROW(take_sampling(value.get_object()), RequestError) << text;
  }
}

}  // namespace
}  // namespace trireme
