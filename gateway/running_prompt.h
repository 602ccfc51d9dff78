#pragma once
// The front's half of one prompt in work: the text of its choices, as a function of the tokens its ledger got.

#include "gateway/finished_prompt.h"
#include "gateway/text_assembler.h"

namespace trireme {

class RunningPrompt {
 public:
  // `echo`: what comes before every choice's text (output.echo), else empty. The tokenizer may be null and must outlive
  // this.
  RunningPrompt(const Tokenizer* tokenizer, int32_t choices, const OutputOptions& output, std::string echo);

  // The text that became final with the event, with the first one of a choice its echo as well.
  std::string add(const TokenEvent& event);
  void restart();  // as if nothing had come (beams of an attempt that died)

  const OutputOptions& output() const { return output_; }
  const TextAssembler& text(int32_t choice) const { return texts_[size_t(choice)]; }
  int32_t num_choices() const { return int32_t(texts_.size()); }
  bool finished() const;  // every choice, by its text or by the engine
  // `record`: of the ledger, which has no more use for it.
  FinishedPrompt finish(RequestRecord&& record);

 private:
  const Tokenizer* tokenizer_;
  OutputOptions output_;
  std::string echo_;
  std::vector<TextAssembler> texts_;
  std::vector<std::string> echoes_;  // by choice: with the space that belongs between echo and text
  std::vector<bool> echo_returned_;
};

}  // namespace trireme
