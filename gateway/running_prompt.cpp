#include "gateway/running_prompt.h"

#include <algorithm>

namespace trireme {

RunningPrompt::RunningPrompt(const Tokenizer* tokenizer, int32_t choices, const OutputOptions& output, std::string echo)
    : tokenizer_(tokenizer), output_(output), echo_(std::move(echo)) {
  const TextOptions options{
      .stop = output.stop, .include_stop = output.include_stop, .skip_special = output.skip_special};
  for (int32_t i = 0; i < choices; ++i) texts_.emplace_back(tokenizer, options);
  echoes_.assign(texts_.size(), echo_);
  echo_returned_.assign(texts_.size(), false);
}

void RunningPrompt::restart() { *this = RunningPrompt(tokenizer_, num_choices(), output_, echo_); }

std::string RunningPrompt::add(const TokenEvent& event) {
  const auto choice = size_t(event.choice);
  TextAssembler& text = texts_[choice];
  if (text.finished()) return {};
  std::string out;
  if (event.token.id >= 0) {
    if (event.index == 0 && output_.echo) echoes_[choice] += dropped_space(*tokenizer_, event.token.id);
    // The id that ended the choice is part of its ids, not of its text.
    const bool is_end = event.finish == FinishReason::stop && event.stop_id == event.token.id;
    if (!is_end) out = text.add(event.token.id);
  }
  if (event.finish != FinishReason::none) out += text.end(event.finish);
  if (echo_returned_[choice]) return out;
  echo_returned_[choice] = true;
  return echoes_[choice] + out;
}

bool RunningPrompt::finished() const { return std::ranges::all_of(texts_, &TextAssembler::finished); }

FinishedPrompt RunningPrompt::finish(RequestRecord&& record) {
  FinishedPrompt finished;
  finished.prompt_ids = std::move(record.request.prompt);
  finished.output = output_;
  finished.prompt_scores = std::move(record.prompt_scores);
  finished.prompt_top = std::move(record.prompt_top);
  finished.cached_tokens = record.cached_tokens;
  for (size_t i = 0; i < texts_.size(); ++i) {
    const TextAssembler& text = texts_[i];
    ChoiceRecord& choice = record.choices[i];
    if (!text.matched_stop().empty()) {
      cut(choice, size_t(text.num_tokens()));
      choice.stop_text = text.matched_stop();
      choice.stop_id = -1;
    }
    finished.generated_tokens += int64_t(choice.ids.size());
    finished.choices.push_back({std::move(choice), echoes_[i] + text.text(), text.finish()});
  }
  if (output_.best_first) keep_best(finished.choices, size_t(output_.returned));
  return finished;
}

}  // namespace trireme
