#include "gateway/text_assembler.h"

#include <algorithm>

#include "base/check.h"

namespace trireme {
namespace {

// How many bytes at the end of `text` may be the beginning of `stop`.
size_t open_suffix(const std::string& text, const std::string& stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length)
    if (text.compare(text.size() - length, length, stop, 0, length) == 0) return length;
  return 0;
}

}  // namespace

TextAssembler::TextAssembler(const Tokenizer* tokenizer, const TextOptions& options) : options_(options) {
  for (const std::string& stop : options_.stop) CHECK(!stop.empty()) << "stop string";
  if (tokenizer) detokenizer_.emplace(*tokenizer, options.skip_special);
}

std::string TextAssembler::take(const std::string& fresh, bool last) {
  held_ += fresh;
  size_t at = std::string::npos;
  const std::string* found = nullptr;
  for (const std::string& stop : options_.stop) {
    const size_t position = held_.find(stop);
    if (position < at) {  // the earliest; of two at one place the first given
      at = position;
      found = &stop;
    }
  }
  std::string out;
  if (found) {
    matched_stop_ = *found;
    finish_ = FinishReason::stop;
    out = held_.substr(0, at + (options_.include_stop ? found->size() : 0));
    held_.clear();
  } else {
    size_t keep = 0;
    if (!last)
      for (const std::string& stop : options_.stop) keep = std::max(keep, open_suffix(held_, stop));
    out = held_.substr(0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
  }
  text_ += out;
  return out;
}

std::string TextAssembler::add(int32_t id) {
  if (finished()) return {};
  ++num_tokens_;
  return detokenizer_ ? take(detokenizer_->add(id), false) : std::string();
}

std::string TextAssembler::end(FinishReason reason) {
  if (finished()) return {};
  std::string out = detokenizer_ ? take(detokenizer_->finish(), true) : std::string();
  if (!finished()) finish_ = reason;
  return out;
}

}  // namespace trireme
