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

// The longest stop string that ends at `end` of the tail.
const std::string* stop_at(const std::string& tail, size_t end, const std::vector<std::string>& stops) {
  const std::string* longest = nullptr;
  for (const std::string& stop : stops)
    if (stop.size() <= end && tail.compare(end - stop.size(), stop.size(), stop) == 0 &&
        (!longest || stop.size() > longest->size()))
      longest = &stop;
  return longest;
}

}  // namespace

TextAssembler::TextAssembler(const Tokenizer* tokenizer, const TextOptions& options) : options_(options) {
  for (const std::string& stop : options_.stop) CHECK(!stop.empty()) << "stop string";
  if (tokenizer) detokenizer_.emplace(*tokenizer, options.skip_special);
}

size_t TextAssembler::open_length() const {
  size_t longest = 0;
  for (const std::string& stop : options_.stop) longest = std::max(longest, open_suffix(tail_, stop));
  return longest;
}

std::string TextAssembler::cut_at(const std::string& stop, size_t end) {
  matched_stop_ = stop;
  finish_ = FinishReason::stop;
  return tail_.substr(0, options_.include_stop ? end : end - stop.size());
}

std::string TextAssembler::take(const std::string& fresh, bool last) {
  const size_t returned = options_.include_stop ? tail_.size() : 0;
  const size_t searched = tail_.size();
  tail_ += fresh;
  std::string out;
  for (size_t end = searched + 1; end <= tail_.size() && !finished(); ++end)
    if (const std::string* stop = stop_at(tail_, end, options_.stop)) out = cut_at(*stop, end);
  if (!finished()) {
    const size_t open = open_length();
    out = tail_.substr(0, tail_.size() - (last || options_.include_stop ? 0 : open));
    tail_.erase(0, tail_.size() - open);
  }
  out.erase(0, returned);
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
