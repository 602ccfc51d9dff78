#pragma once
// One choice's ids -> its text and its end, as a pure function of the ids in order: detokenized incrementally, cut at
// the stop string whose last byte comes first (of several that end there, at the longest), however the ids divide the
// text. What may turn out to be the beginning of a stop string is held back, unless stop strings stay in the text.

#include <optional>
#include <string>
#include <vector>

#include "protocol/events.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace trireme {

struct TextOptions {
  std::vector<std::string> stop;  // none empty
  bool include_stop = false;      // leave the stop string in the text
  bool skip_special = true;
};

class TextAssembler {
 public:
  // Without a tokenizer every text is empty and only the engine ends choices.
  TextAssembler(const Tokenizer* tokenizer, const TextOptions& options);

  // The text that became final with this id. After finished() returns empty.
  std::string add(int32_t id);
  // The engine's end of the choice: what was held back.
  std::string end(FinishReason reason);

  FinishReason finish() const { return finish_; }  // stop as soon as a stop string is complete
  bool finished() const { return finish_ != FinishReason::none; }
  const std::string& text() const { return text_; }  // everything returned so far
  const std::string& matched_stop() const { return matched_stop_; }
  int num_tokens() const { return num_tokens_; }  // ids up to the end

 private:
  std::string take(const std::string& fresh, bool last);
  std::string cut_at(const std::string& stop, size_t end);
  size_t open_length() const;

  TextOptions options_;
  std::optional<Detokenizer> detokenizer_;
  std::string tail_;  // what may begin a stop string; returned already if include_stop, else held back
  std::string text_, matched_stop_;
  FinishReason finish_ = FinishReason::none;
  int num_tokens_ = 0;
};

}  // namespace trireme
