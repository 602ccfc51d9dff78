#include "gateway/ledger.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

Request request(RequestId id, int n = 1) {
  Request request;
  request.id = id;
  request.prompt = {1, 2};
  request.sampling.n = n;
  request.sampling.seed = 77;
  return request;
}

TokenEvent token(RequestId id, int index, int32_t value, int choice = 0, FinishReason finish = FinishReason::none) {
  TokenEvent event;
  event.request = id;
  event.choice = choice;
  event.index = index;
  event.token = {value, -0.5f};
  event.finish = finish;
  return event;
}

const TimePoint kNow{std::chrono::seconds(5)};

TEST(Ledger, KeepsEveryTokenInOrder) {
  Ledger ledger;
  ledger.admit(request(1, 2), kNow);
  ledger.append(token(1, 0, 10), kNow);
  ledger.append(token(1, 0, 20, 1), kNow);
  RequestRecord* record = ledger.append(token(1, 1, 11, 0, FinishReason::stop), kNow);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->choices[0].ids, (std::vector<int32_t>{10, 11}));
  EXPECT_DOUBLE_EQ(record->choices[0].cumulative_logprob(), -1.0);
  EXPECT_FALSE(record->ended());
  TokenEvent end = token(1, 1, -1, 1, FinishReason::abort);  // an end without a token
  EXPECT_TRUE(ledger.append(end, kNow)->ended());
  EXPECT_EQ(record->choices[1].ids, std::vector<int32_t>{20});
}

TEST(Ledger, RefusesGapsDuplicatesAndTokensAfterTheEnd) {
  Ledger ledger;
  ledger.admit(request(1), kNow);
  ledger.append(token(1, 0, 10), kNow);
  EXPECT_THROW(ledger.append(token(1, 0, 10), kNow), InternalError);
  EXPECT_THROW(ledger.append(token(1, 2, 10), kNow), InternalError);
  EXPECT_THROW(ledger.append(token(1, 1, 10, 1), kNow), InternalError);
  EXPECT_THROW(ledger.append(token(1, 1, 10, -1), kNow), InternalError);
  ledger.append(token(1, 1, 11, 0, FinishReason::length), kNow);
  EXPECT_THROW(ledger.append(token(1, 2, 12), kNow), InternalError);
  EXPECT_THROW(ledger.admit(request(1), kNow), InternalError);
}

TEST(Ledger, DropsWhatArrivesForRequestsItNoLongerHolds) {
  Ledger ledger;
  ledger.admit(request(1), kNow).cancelled = true;
  EXPECT_FALSE(ledger.append(token(1, 5, 10), kNow));
  ledger.erase(1);
  EXPECT_FALSE(ledger.append(token(1, 0, 10), kNow));
  EXPECT_FALSE(ledger.fail({2, true, "late"}));
  EXPECT_EQ(ledger.size(), 0u);
}

TEST(Ledger, ReplaysWithEverythingEmitted) {
  Ledger ledger;
  RequestRecord& record = ledger.admit(request(1, 2), kNow);
  ledger.append(token(1, 0, 10), kNow);
  ledger.append(token(1, 0, 20, 1, FinishReason::stop), kNow);
  const Request again = Ledger::replay(record);
  EXPECT_EQ(again.sampling.seed, 77u);
  EXPECT_EQ(again.emitted, (std::vector<EmittedChoice>{{0, false, {10}}, {1, true, {20}}}));
}

TEST(Ledger, ReplaysWhatHasNothingOutAsIfItWereNew) {
  Ledger ledger;
  EXPECT_EQ(Ledger::replay(ledger.admit(request(1, 2), kNow)), request(1, 2));
}

TEST(Ledger, KeepsPromptScoresAndAsksForThemAgainUntilTheyAreComplete) {
  Ledger ledger;
  Request asked = request(1);
  asked.prompt = {5, 6, 7, 8};
  asked.sampling.prompt_logprobs = 1;
  RequestRecord& record = ledger.admit(asked, kNow);
  EXPECT_EQ(Ledger::replay(record).sampling.prompt_logprobs, 1);
  ledger.append(PromptLogprobsEvent{1, 1, {{6, -1}, {7, -2}}, {{{6, -1}}, {{9, -1}}}});
  EXPECT_FALSE(record.has_prompt_scores());
  EXPECT_EQ(Ledger::replay(record).sampling.prompt_logprobs, 1);
  EXPECT_THROW(ledger.append(PromptLogprobsEvent{1, 4, {{8, -3}}, {{}}}), InternalError);  // a gap
  EXPECT_THROW(ledger.append(PromptLogprobsEvent{1, 3, {{7, -3}}, {{}}}), InternalError);  // another's id
  ledger.append(PromptLogprobsEvent{1, 1, {{6, -1.5f}}, {{}}});                            // the next attempt
  EXPECT_EQ(record.prompt_scores, (std::vector<TokenScore>{{6, -1.5f}}));
  EXPECT_THROW(ledger.append(PromptLogprobsEvent{1, 2, {{7, -2}, {8, -3}, {8, -3}}, {{}, {}, {}}}), InternalError);
  ledger.append(PromptLogprobsEvent{1, 2, {{7, -2}, {8, -3}}, {{}, {}}});
  EXPECT_TRUE(record.has_prompt_scores());
  EXPECT_EQ(Ledger::replay(record).sampling.prompt_logprobs, -1);
  EXPECT_THROW(ledger.append(PromptLogprobsEvent{1, 1, {{6, -1}}, {{}}}), InternalError);  // nobody waits
  EXPECT_FALSE(ledger.append(PromptLogprobsEvent{9, 1, {}, {}}));
}

TEST(Ledger, KeepsABeamsScore) {
  Ledger ledger;
  RequestRecord& record = ledger.admit(request(1), kNow);
  TokenEvent end = token(1, 0, 10, 0, FinishReason::stop);
  end.beam_score = -0.75f;
  end.stop_text = "END";
  ledger.append(end, kNow);
  EXPECT_EQ(record.choices[0].beam_score, -0.75f);
  EXPECT_EQ(record.choices[0].stop_text, "END");
}

}  // namespace
}  // namespace trireme
