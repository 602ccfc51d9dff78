#include "launcher/generate_output.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace trireme {
namespace {

// What a sink writes.
class Written {
 public:
  Written() : file_(open_memstream(&text_, &size_)) {}
  ~Written() {
    std::fclose(file_);
    std::free(text_);
  }
  std::FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return std::string(text_, size_);
  }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

FinishedPrompt answer(size_t index, std::vector<std::string> texts) {
  FinishedPrompt prompt;
  prompt.index = index;
  prompt.prompt = "q" + std::to_string(index);
  for (const std::string& text : texts) {
    FinishedChoice choice;
    choice.text = text;
    choice.finish = FinishReason::stop;
    prompt.choices.push_back(choice);
  }
  return prompt;
}

TEST(TextSink, StreamsOnePromptAndRepeatsNothing) {
  Written out;
  const auto sink = make_text_sink(out.file(), 1, true);
  sink->on_text(0, 0, "Hel");
  EXPECT_EQ(out.text(), "Hel");
  sink->on_text(0, 0, "lo");
  sink->on_finished(answer(0, {"Hello"}));
  EXPECT_EQ(out.text(), "Hello\n");
}

TEST(TextSink, PutsManyAnswersUnderTheirPrompts) {
  Written out;
  const auto sink = make_text_sink(out.file(), 2, true);
  sink->on_text(1, 0, "ignored until whole");
  sink->on_finished(answer(0, {"a"}));
  sink->on_finished(answer(1, {"b", "c"}));
  EXPECT_EQ(out.text(), "=== prompt 1: q0\na\n=== prompt 2: q1\n--- output 1\nb\n--- output 2\nc\n");
}

TEST(JsonSink, WritesOneLinePerPrompt) {
  Written out;
  const auto sink = make_json_sink(out.file());
  sink->on_finished(answer(0, {"a\nb"}));
  EXPECT_EQ(out.text(),
            "{\"index\":0,\"prompt\":\"q0\",\"prompt_ids\":[],\"outputs\":[{\"token_ids\":[],\"text\":\"a\\nb\","
            "\"finish_reason\":\"stop\",\"cumulative_logprob\":0E0,\"score\":null,\"logprobs\":null}]}\n");
}

TEST(Summary, SeparatesPrefillFromDecodeForOnePrompt) {
  GenerateSummary summary;
  summary.prompts = summary.finished = 1;
  summary.prompt_tokens = 100;
  summary.generated_tokens = 11;
  summary.first_token_seconds = {0.5};
  summary.started = TimePoint(std::chrono::seconds(1));
  summary.first_token = summary.started + std::chrono::milliseconds(500);
  summary.last_token = summary.started + std::chrono::milliseconds(1500);
  summary.most_kv_use = 0.25;
  EXPECT_EQ(summary_line(summary),
            "1 prompt: 100 prompt tokens at 200.0 tok/s, 11 generated at 10.0 tok/s, TTFT 500 ms, KV cache at most "
            "25.0 % full");
  EXPECT_EQ(summary_line(GenerateSummary{}), "");
}

TEST(ProgressBar, FillsToItsWidth) {
  EXPECT_EQ(progress_bar(0, 10, 30), "[..................]   0% 0/10");
  EXPECT_EQ(progress_bar(10, 10, 40).find('.'), std::string::npos);
}

TEST(TextSink, PutsBeamsUnderTheirScores) {
  Written out;
  const auto sink = make_text_sink(out.file(), 1, true);
  FinishedPrompt prompt = answer(0, {"a", "b"});
  prompt.output.is_beam_search = true;
  prompt.choices[0].record.beam_score = -0.25f;
  prompt.choices[1].record.beam_score = -1.5f;
  sink->on_finished(prompt);
  EXPECT_EQ(out.text(), "--- beam 1, score -0.2500\na\n--- beam 2, score -1.5000\nb\n");
}

}  // namespace
}  // namespace trireme
