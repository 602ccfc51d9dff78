#include "text/jinja/text_value.h"

#include <algorithm>

namespace trireme::jinja {
namespace {

constexpr size_t kMaxSpans = 1 << 16;  // then the last one swallows what follows it

bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return uint8_t(c) >= 0x80; });
}

}  // namespace

Text Text::untrusted(std::string bytes) {
  Text text(std::move(bytes));
  text.mark(0, text.size());
  return text;
}

void Text::mark(size_t begin, size_t end) {
  if (begin == end) return;
  if (!untrusted_.empty() && (untrusted_.back().end == begin || untrusted_.size() == kMaxSpans))
    untrusted_.back().end = end;
  else
    untrusted_.push_back({begin, end});
}

Text Text::slice(size_t begin, size_t end) const {
  Text part(bytes_.substr(begin, end - begin));
  part.markup_ = markup_;
  end = begin + part.size();
  auto span = std::upper_bound(untrusted_.begin(), untrusted_.end(), begin,
                               [](size_t at, const TextSpan& s) { return at < s.end; });
  for (; span != untrusted_.end() && span->begin < end; ++span)
    part.mark(std::max(span->begin, begin) - begin, std::min(span->end, end) - begin);
  return part;
}

void Text::append(const Text& other) {
  const size_t base = size();
  bytes_ += other.bytes_;
  for (const TextSpan& span : other.untrusted_) mark(base + span.begin, base + span.end);
}

void Text::append(std::string_view bytes, bool untrusted) {
  const size_t base = size();
  bytes_ += bytes;
  if (untrusted) mark(base, size());
}

Text Text::mapped(std::string bytes) const {
  const bool aligned = bytes.size() == size() && is_ascii(bytes_) && is_ascii(bytes);
  Text text = aligned ? Text(std::move(bytes)) : derived(std::move(bytes));
  if (aligned) text.untrusted_ = untrusted_;
  text.markup_ = markup_;
  return text;
}

Text Text::as_markup(bool markup) const {
  Text text = *this;
  text.markup_ = markup;
  return text;
}

}  // namespace trireme::jinja
