// protocol/request.cpp and the names of protocol/events.cpp.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "protocol/events.h"

namespace trireme {
namespace {

Request good_request() {
  Request request;
  request.prompt = {1, 2, 3};
  return request;
}

std::string complaint(const std::function<void(Request&)>& change) {
  Request request = good_request();
  change(request);
  try {
    validate(request, 100, 16);
  } catch (const RequestError& error) {
    return error.what();
  }
  return "";
}

TEST(Request, TheDefaultsAreValid) {
  EXPECT_EQ(complaint([](Request&) {}), "");
}

TEST(Request, AnEmptyOrTooLongPromptIsRefusedWithItsLength) {
  EXPECT_NE(complaint([](Request& request) { request.prompt.clear(); }), "");
  const std::string text = complaint([](Request& request) { request.prompt.assign(16, 1); });
  EXPECT_NE(text.find("16 tokens"), std::string::npos) << text;
  EXPECT_NE(text.find("--max-model-len"), std::string::npos) << text;
  EXPECT_EQ(complaint([](Request& request) { request.prompt.assign(15, 1); }), "");
}

TEST(Request, EveryParameterOutOfRangeIsNamed) {
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<std::string, std::function<void(SamplingParams&)>>> cases = {
      {"temperature", [&](SamplingParams& s) { s.temperature = nan; }},
      {"temperature", [&](SamplingParams& s) { s.temperature = infinity; }},
      {"temperature", [](SamplingParams& s) { s.temperature = -1; }},
      {"top_k", [](SamplingParams& s) { s.top_k = -1; }},
      {"top_p", [](SamplingParams& s) { s.top_p = 0; }},
      {"top_p", [&](SamplingParams& s) { s.top_p = nan; }},
      {"min_p", [](SamplingParams& s) { s.min_p = 1.5f; }},
      {"typical_p", [](SamplingParams& s) { s.typical_p = 0; }},
      {"repetition_penalty", [](SamplingParams& s) { s.repetition_penalty = 0; }},
      {"presence_penalty", [](SamplingParams& s) { s.presence_penalty = 3; }},
      {"frequency_penalty", [&](SamplingParams& s) { s.frequency_penalty = nan; }},
      {"n", [](SamplingParams& s) { s.n = 0; }},
      {"n", [](SamplingParams& s) { s.n = 129; }},
      {"max_new_tokens", [](SamplingParams& s) { s.max_new_tokens = -1; }},
      {"n must be 1", [](SamplingParams& s) { s.max_new_tokens = 0, s.n = 2; }},
      {"min_new_tokens", [](SamplingParams& s) { s.min_new_tokens = 17; }},
      {"top_logprobs", [](SamplingParams& s) { s.top_logprobs = 21; }},
      {"stop_token_ids", [](SamplingParams& s) { s.stop_token_ids = {100}; }},
      {"stop_token_ids", [](SamplingParams& s) { s.stop_token_ids.assign(257, 1); }}};
  for (const auto& [name, change] : cases) {
    const std::string text = complaint([&](Request& request) { change(request.sampling); });
    EXPECT_NE(text.find(name), std::string::npos) << name << ": " << text;
  }
}

TEST(Request, IdsOutsideTheVocabularyAreRefused) {
  EXPECT_NE(complaint([](Request& request) { request.prompt[1] = -1; }), "");
  EXPECT_NE(complaint([](Request& request) { request.prompt[1] = 100; }), "");
  EXPECT_NE(complaint([](Request& request) { request.eos_token_ids = {100}; }), "");
}

TEST(Request, EmittedChoicesMustBeOnesTheRequestCanHave) {
  EXPECT_EQ(complaint([](Request& request) { request.emitted = {{0, false, {1, 2}}}; }), "");
  EXPECT_NE(complaint([](Request& request) { request.emitted = {{1, false, {1, 2}}}; }), "");
  EXPECT_NE(complaint([](Request& request) { request.emitted = {{0, false, {1}}, {0, false, {1}}}; }), "");
  EXPECT_NE(complaint([](Request& request) { request.emitted = {{0, false, std::vector<int32_t>(17, 1)}}; }), "");
  EXPECT_NE(complaint([](Request& request) { request.emitted = {{0, false, {100}}}; }), "");
}

TEST(FinishReason, HasTheNamesTheFrontShows) {
  EXPECT_STREQ(finish_reason_name(FinishReason::stop), "stop");
  EXPECT_STREQ(finish_reason_name(FinishReason::length), "length");
  EXPECT_STREQ(finish_reason_name(FinishReason::abort), "abort");
}

}  // namespace
}  // namespace trireme
