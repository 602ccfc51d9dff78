#include "gateway/generate_job.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "tests/gateway/letter_tokenizer.h"

namespace trireme {
namespace {

class RecordingPort final : public RequestPort {
 public:
  void submit(Request request) override { open.emplace(request.id, std::move(request)); }
  void cancel(RequestId id, int32_t choice) override {
    if (choice >= 0) return cancelled_choices.emplace_back(id, choice), void();
    cancelled.push_back(id);
    open.erase(id);
  }
  std::map<RequestId, Request> open;
  std::vector<RequestId> cancelled;
  std::vector<std::pair<RequestId, int32_t>> cancelled_choices;
};

class RecordingSink final : public OutputSink {
 public:
  void on_text(size_t index, int choice, const std::string& text) override { texts[{index, choice}] += text; }
  void on_finished(const FinishedPrompt& prompt) override { finished.push_back(prompt); }
  std::map<std::pair<size_t, int>, std::string> texts;
  std::vector<FinishedPrompt> finished;
};

const TimePoint kNow{std::chrono::seconds(9)};

class GenerateJobTest : public testing::Test {
 protected:
  GenerateJobTest() {
    assets_.tokenizer = std::make_unique<LetterTokenizer>();
    assets_.checkpoint.config.eos_token_ids = {0};
    facts_.vocab_size = 128;
    facts_.max_model_len = 64;
    facts_.num_slots = 2;
  }

  void make(const std::vector<std::string>& prompts, const SamplingFlags& sampling = {}) {
    std::vector<PromptLine> lines;
    for (const std::string& prompt : prompts) lines.emplace_back().text = prompt;
    job_ = std::make_unique<GenerateJob>(lines, assets_, GenerateOptions{.sampling = sampling}, sink_);
    job_->start(facts_, port_, kNow);
  }

  // One token of one choice; `last` ends it.
  void answer(RequestId id, char letter, bool last = false, int choice = 0) {
    TokenEvent event;
    event.request = id;
    event.choice = choice;
    event.index = next_index_[{id, choice}]++;
    event.token = {letter, -0.25f};
    event.rank = 1;
    event.finish = last ? (letter == 0 ? FinishReason::stop : FinishReason::length) : FinishReason::none;
    if (last && letter == 0) event.stop_id = 0;
    job_->on_events({event}, kNow + std::chrono::milliseconds(50));
    if (last) port_.open.erase(id);
  }

  ModelAssets assets_;
  EngineFacts facts_;
  RecordingPort port_;
  RecordingSink sink_;
  std::unique_ptr<GenerateJob> job_;
  std::map<std::pair<RequestId, int>, int> next_index_;
};

TEST_F(GenerateJobTest, KeepsABoundedNumberInFlightAndTheOrderOfThePrompts) {
  make({"a", "b", "c", "d", "e", "f"});
  EXPECT_EQ(port_.open.size(), 4u);  // twice the slots
  for (RequestId id : {4u, 3u, 2u}) answer(id, 'x', true);
  EXPECT_TRUE(sink_.finished.empty());  // the first is still out
  EXPECT_EQ(port_.open.size(), 3u);
  answer(1, 'y', true);
  ASSERT_EQ(sink_.finished.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(sink_.finished[i].index, i);
  EXPECT_FALSE(job_->done());
  answer(5, 'x', true);
  answer(6, 'x', true);
  EXPECT_TRUE(job_->done());
  EXPECT_EQ(job_->summary().generated_tokens, 6);
  EXPECT_EQ(job_->exit_code(), 0);
}

TEST_F(GenerateJobTest, PassesTextOnAsItBecomesFinal) {
  make({"hi"});
  answer(1, 'A');
  EXPECT_EQ((sink_.texts[{0, 0}]), "A");
  answer(1, 'B');
  answer(1, 0, true);
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_EQ(sink_.finished[0].choices[0].text, "AB");
  EXPECT_EQ(sink_.finished[0].choices[0].finish, FinishReason::stop);
  EXPECT_EQ(sink_.finished[0].choices[0].record.ids, (std::vector<int32_t>{'A', 'B', 0}));
}

TEST_F(GenerateJobTest, CancelsTheEngineWhenAStopStringEndsTheText) {
  SamplingFlags sampling;
  sampling.stop = {"CD"};
  make({"hi"}, sampling);
  for (char letter : {'A', 'B', 'C', 'D'}) answer(1, letter);
  EXPECT_EQ(port_.cancelled, std::vector<RequestId>{1});
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_EQ(sink_.finished[0].choices[0].text, "AB");
  EXPECT_EQ(sink_.finished[0].choices[0].finish, FinishReason::stop);
  answer(1, 'E');  // was on its way
  EXPECT_TRUE(job_->done());
}

TEST_F(GenerateJobTest, WaitsForEveryChoice) {
  SamplingFlags sampling;
  sampling.n = 2;
  sampling.stop = {"X"};
  make({"hi"}, sampling);
  answer(1, 'X', false, 0);
  answer(1, 'Y', false, 0);  // the engine does not know yet; the text has ended
  EXPECT_TRUE(sink_.finished.empty());
  answer(1, 'b', true, 1);
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_EQ(sink_.finished[0].choices[0].text, "");
  EXPECT_EQ(sink_.finished[0].choices[0].record.ids, std::vector<int32_t>{'X'});
  EXPECT_EQ(sink_.finished[0].choices[1].text, "b");
}

TEST_F(GenerateJobTest, ReportsPromptsThatCannotBeAndGoesOn) {
  make({std::string(64, 'a'), "b"});
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_NE(sink_.finished[0].error.find("--max-model-len"), std::string::npos);
  answer(2, 'x', true);
  EXPECT_TRUE(job_->done());
  EXPECT_EQ(job_->exit_code(), 1);
}

TEST_F(GenerateJobTest, ReportsARequestThatTheEngineRefuses) {
  make({"a"});
  job_->on_events({RequestFailedEvent{1, true, "no room"}}, kNow);
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_EQ(sink_.finished[0].error, "no room");
  EXPECT_TRUE(job_->done());
}

TEST_F(GenerateJobTest, KnowsItsKvUseBeforeTheEngineTellsAny) {
  facts_.num_blocks = 10;
  facts_.block_size = 4;
  make({"abcdef"});
  EXPECT_EQ(job_->summary().most_kv_use, 0);  // submitted, not begun
  answer(1, 'x');
  answer(1, 'y');
  answer(1, 'z');  // 9 tokens: 3 blocks of 4
  EXPECT_DOUBLE_EQ(job_->summary().most_kv_use, 0.3);
  answer(1, 'z', true);
  EXPECT_DOUBLE_EQ(job_->summary().most_kv_use, 0.3);
}

TEST_F(GenerateJobTest, CancelStopsEverythingInFlight) {
  make({"a", "b", "c", "d", "e"});
  job_->cancel();
  EXPECT_EQ(port_.cancelled.size(), 4u);
  answer(1, 'x');  // dropped
  EXPECT_TRUE(sink_.texts.empty());
}

TEST_F(GenerateJobTest, AChatNeedsATemplate) {
  std::vector<PromptLine> lines(1);
  lines[0].text = "hi";
  GenerateJob job(lines, assets_, GenerateOptions{.sampling = {}, .chat = true}, sink_);
  job.start(facts_, port_, kNow);
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_NE(sink_.finished[0].error.find("no chat template"), std::string::npos);
}

TEST_F(GenerateJobTest, WritesTheDocumentedJson) {
  make({"hi"});
  answer(1, 'A');
  answer(1, 0, true);
  EXPECT_EQ(json_line(sink_.finished.at(0)),
            "{\"index\":0,\"prompt\":\"hi\",\"prompt_ids\":[104,105],\"outputs\":[{\"token_ids\":[65,0],\"text\":\"A\","
            "\"finish_reason\":\"stop\",\"cumulative_logprob\":-5E-1,\"score\":null,\"logprobs\":null}]}");
  sink_.finished[0].output.logprobs = true;
  const json::value with = parse_json(json_line(sink_.finished.at(0)), "line");
  const json::value& first = with.at("outputs").at(0).at("logprobs").at(0);
  EXPECT_EQ(first.at("token_id").as_int64(), 65);
  EXPECT_DOUBLE_EQ(first.at("logprob").as_double(), -0.25);
}

TEST_F(GenerateJobTest, CancelsOneChoiceThatItsTextEnds) {
  SamplingFlags sampling;
  sampling.n = 2;
  sampling.stop = {"X"};
  make({"hi"}, sampling);
  answer(1, 'X', false, 0);
  EXPECT_EQ(port_.cancelled_choices, (std::vector<std::pair<RequestId, int32_t>>{{1, 0}}));
  answer(1, 'Y', false, 0);  // was on its way
  EXPECT_EQ(port_.cancelled_choices.size(), 1u);
  EXPECT_TRUE(port_.cancelled.empty());
  TokenEvent end;  // the engine's answer
  end.request = 1;
  end.finish = FinishReason::abort;
  job_->on_events({end}, kNow);
  answer(1, 'b', true, 1);
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_EQ(sink_.finished[0].choices[0].finish, FinishReason::stop);
  EXPECT_TRUE(port_.cancelled.empty());
}

TEST_F(GenerateJobTest, BestOfReturnsTheLikeliestPerTokenAndShowsNothingBefore) {
  SamplingFlags sampling;
  sampling.n = 2;
  sampling.best_of = 4;
  make({"hi"}, sampling);
  EXPECT_EQ(port_.open.at(1).sampling.n, 4);
  const std::vector<std::vector<float>> logprobs = {{-1, -2}, {-0.5f}, {-2, -0.25f, -0.75f}, {-1}};  // 0, 2: by token
  for (int choice = 0; choice < 4; ++choice)
    for (size_t i = 0; i < logprobs[size_t(choice)].size(); ++i) {
      TokenEvent event;
      event.request = 1;
      event.choice = choice;
      event.index = int32_t(i);
      event.token = {'a' + choice, logprobs[size_t(choice)][i]};
      event.finish = i + 1 == logprobs[size_t(choice)].size() ? FinishReason::length : FinishReason::none;
      job_->on_events({event}, kNow);
    }
  EXPECT_TRUE(sink_.texts.empty());
  ASSERT_EQ(sink_.finished.size(), 1u);
  ASSERT_EQ(sink_.finished[0].choices.size(), 2u);
  EXPECT_EQ(sink_.finished[0].choices[0].text, "b");
  EXPECT_EQ(sink_.finished[0].choices[1].text, "ccc");  // -1 like "d": the lower choice
  EXPECT_EQ(job_->summary().generated_tokens, 7);       // of all
}

TEST_F(GenerateJobTest, BeamsComeWholeWithTheirScoresAndTheFrontCutsAtStopStrings) {
  SamplingFlags sampling;
  sampling.beam_width = 3;
  sampling.n = 2;
  sampling.stop = {"CD"};
  make({"hi", "b"}, sampling);
  EXPECT_EQ(port_.open.size(), 2u);  // of 3 sequences each
  std::vector<EngineEvent> events;
  for (int choice = 0; choice < 2; ++choice)
    for (const char letter : {'A', 'C', 'D'}) {
      TokenEvent event;
      event.request = 1;
      event.choice = choice;
      event.index = int32_t(letter == 'A' ? 0 : letter - 'B');
      event.token = {letter, -0.5f};
      events.emplace_back(event);
    }
  for (int choice = 0; choice < 2; ++choice) {  // the ends come by themselves
    TokenEvent end;
    end.request = 1;
    end.choice = choice;
    end.finish = FinishReason::stop;
    end.beam_score = -0.5f - float(choice);
    end.stop_text = "CD";
    events.emplace_back(end);
  }
  job_->on_events(events, kNow);
  EXPECT_TRUE(sink_.texts.empty());
  EXPECT_TRUE(port_.cancelled.empty() && port_.cancelled_choices.empty());
  ASSERT_EQ(sink_.finished.size(), 1u);
  EXPECT_EQ(sink_.finished[0].choices[1].text, "A");
  EXPECT_EQ(sink_.finished[0].choices[1].record.ids, (std::vector<int32_t>{'A', 'C', 'D'}));
  const json::value line = parse_json(json_line(sink_.finished[0]), "line");
  EXPECT_DOUBLE_EQ(line.at("outputs").at(1).at("score").as_double(), -1.5);
}

TEST_F(GenerateJobTest, EchoBeginsTheTextWithThePrompt) {
  SamplingFlags sampling;
  sampling.echo = true;
  make({"hi"}, sampling);
  answer(1, 'A');
  answer(1, 'B', true);
  EXPECT_EQ((sink_.texts[{0, 0}]), "hiAB");
  EXPECT_EQ(sink_.finished.at(0).choices[0].text, "hiAB");
}

TEST_F(GenerateJobTest, WritesPromptLogprobsWhereAskedFor) {
  SamplingFlags sampling;
  sampling.prompt_logprobs = 1;
  make({"hi!"}, sampling);
  job_->on_events({PromptLogprobsEvent{1, 1, {{'i', -1}}, {{{'x', -0.5f}}}}}, kNow);
  job_->on_events({PromptLogprobsEvent{1, 2, {{'!', -2}}, {{}}}}, kNow);
  answer(1, 'A', true);
  const json::value line = parse_json(json_line(sink_.finished.at(0)), "line");
  EXPECT_EQ(json::serialize(line.at("prompt_logprobs")),
            "[null,{\"token_id\":105,\"logprob\":-1E0,\"top\":[{\"token_id\":120,\"logprob\":-5E-1}]},"
            "{\"token_id\":33,\"logprob\":-2E0,\"top\":[]}]");
}

TEST_F(GenerateJobTest, GoesOnAfterTheEngineWasLost) {
  SamplingFlags sampling;
  sampling.n = 2;
  sampling.seed = 4;
  sampling.stop = {"X"};
  make({"a", "b", "c"}, sampling);
  EXPECT_EQ(port_.open.size(), 2u);
  answer(1, 'A');
  answer(1, 'B', true, 1);
  answer(2, 'C');
  answer(2, 'X', false, 1);  // ended by its text; the engine has not heard of it
  port_.open.clear();
  job_->on_engine_lost({}, kNow);
  job_->start(facts_, port_, kNow);
  ASSERT_EQ(port_.open.size(), 2u);
  EXPECT_EQ(port_.open.at(1).emitted, (std::vector<EmittedChoice>{{0, false, {'A'}}, {1, true, {'B'}}}));
  EXPECT_EQ(port_.open.at(2).emitted, (std::vector<EmittedChoice>{{0, false, {'C'}}, {1, true, {'X'}}}));
  EXPECT_EQ(port_.open.at(1).sampling.seed, 4u);
  answer(1, 'D', true);
  answer(2, 'E', true);
  ASSERT_EQ(sink_.finished.size(), 2u);
  EXPECT_EQ((sink_.texts[{0, 0}]), "AD");
  EXPECT_EQ((sink_.texts[{1, 0}]), "CE");
  EXPECT_TRUE(port_.open.contains(3));  // there is room for the next
}

TEST_F(GenerateJobTest, SubmitsNothingWhileThereIsNoEngine) {
  make({"a", "b", "c", "d", "e"});
  job_->on_engine_lost({}, kNow);
  port_.open.clear();
  job_->on_request_poisoned(2, "it kills", kNow);
  EXPECT_TRUE(port_.open.empty());
  job_->start(facts_, port_, kNow);
  EXPECT_FALSE(port_.open.contains(2));
  EXPECT_TRUE(port_.open.contains(5));
  EXPECT_TRUE(port_.open.at(1).emitted.empty());  // as if it were new
  answer(1, 'A', true);
  ASSERT_EQ(sink_.finished.size(), 2u);
  EXPECT_EQ(sink_.finished[1].error, "request_poisoned: it kills");
  EXPECT_EQ(job_->exit_code(), 1);
}

}  // namespace
}  // namespace trireme
