#include "text/regex.h"

#include "base/error.h"

namespace trireme {
namespace {

using Kind = RegexItem::Kind;
using Mode = RegexItem::Mode;

// What is left to match after the innermost group.
struct Rest {
  const RegexSequence* sequence;
  size_t index;
  const Rest* outer;
};

constexpr size_t kFail = size_t(-1);

// One text. Recursion is as deep as the expression, not as long as the text.
class Matcher {
 public:
  Matcher(std::string_view text, const std::string& expression)
      : text_(text), expression_(expression), steps_left_(text.size() * 100 + 1'000'000) {}

  // The end of the match that begins at `at`, or kFail.
  size_t match(const RegexSequence& sequence, size_t at) { return match(sequence, 0, at, nullptr); }

 private:
  size_t match(const RegexAlternatives& alternatives, size_t at, const Rest* rest) {
    for (const RegexSequence& sequence : alternatives.sequences)
      if (const size_t end = match(sequence, 0, at, rest); end != kFail) return end;
    return kFail;
  }

  size_t match(const RegexSequence& sequence, size_t index, size_t at, const Rest* rest) {
    if (index == sequence.size()) return rest ? match(*rest->sequence, rest->index, at, rest->outer) : at;
    const RegexItem& item = sequence[index];
    switch (item.kind) {
      case Kind::set:
        return match_set(sequence, index, at, rest);
      case Kind::group:
        return match_group(sequence, index, at, rest);
      case Kind::look_ahead:
      case Kind::not_ahead:
        spend(1);
        if ((match(*item.body, at, nullptr) != kFail) != (item.kind == Kind::look_ahead)) return kFail;
        break;
      case Kind::line_begin:
        if (at != 0 && !(text_[at - 1] == '\n' && at < text_.size())) return kFail;
        break;
      case Kind::line_end:
        if (at != text_.size() && text_[at] != '\n') return kFail;
        break;
      case Kind::text_begin:
        if (at != 0) return kFail;
        break;
      case Kind::text_end:
        if (at != text_.size()) return kFail;
        break;
    }
    return match(sequence, index + 1, at, rest);
  }

  size_t match_group(const RegexSequence& sequence, size_t index, size_t at, const Rest* rest) {
    const RegexItem& item = sequence[index];
    const Rest after{&sequence, index + 1, rest};
    spend(1);
    if (item.min == 0 && item.mode == Mode::lazy)
      if (const size_t end = match(sequence, index + 1, at, rest); end != kFail) return end;
    if (const size_t end = match(*item.body, at, &after); end != kFail) return end;
    return item.min == 0 && item.mode != Mode::lazy ? match(sequence, index + 1, at, rest) : kFail;
  }

  size_t match_set(const RegexSequence& sequence, size_t index, size_t at, const Rest* rest) {
    const RegexItem& item = sequence[index];
    size_t low = at, count = 0;
    for (; count < item.min; ++count)
      if (!step(*item.set, low)) return kFail;
    if (item.mode == Mode::lazy) return match_lazily(sequence, index, low, count, rest);
    size_t high = low;
    while (count < item.max && step(*item.set, high)) ++count;
    if (index + 1 == sequence.size() && !rest) return high;
    for (;;) {
      if (const size_t end = match(sequence, index + 1, high, rest); end != kFail) return end;
      if (item.mode == Mode::possessive) spend(high - low);
      if (high == low || item.mode == Mode::possessive) return kFail;
      high = previous_char(text_, high);
      spend(1);
    }
  }

  size_t match_lazily(const RegexSequence& sequence, size_t index, size_t at, size_t count, const Rest* rest) {
    for (;; ++count) {
      if (const size_t end = match(sequence, index + 1, at, rest); end != kFail) return end;
      if (count >= sequence[index].max || !step(*sequence[index].set, at)) return kFail;
      spend(1);
    }
  }

  bool step(const CharSet& set, size_t& at) const {
    if (at >= text_.size()) return false;
    const auto [code, bytes] = decode_char(text_, at);
    if (!set.contains(code)) return false;
    at += bytes;
    return true;
  }

  void spend(size_t steps) {
    if (steps_left_ < steps)
      throw RequestError("the tokenizer's pattern `" + expression_ + "` gave up on this text: too many steps");
    steps_left_ -= steps;
  }

  std::string_view text_;
  const std::string& expression_;
  size_t steps_left_;
};

// Adds what the alternatives can begin with; false when they can match nothing at all.
bool add_first(const RegexAlternatives& alternatives, CharRanges& first);

bool add_first(const RegexSequence& sequence, CharRanges& first) {
  for (const RegexItem& item : sequence) {
    if (item.kind == Kind::set) first = united(first, item.ranges);
    const bool consumes = (item.kind == Kind::set && item.min > 0) ||
                          (item.kind == Kind::group && add_first(*item.body, first) && item.min > 0);
    if (consumes) return true;
  }
  return false;
}

bool add_first(const RegexAlternatives& alternatives, CharRanges& first) {
  bool all = true;
  for (const RegexSequence& sequence : alternatives.sequences) all = add_first(sequence, first) && all;
  return all;
}

class OwnRegexPattern final : public Pattern {
 public:
  OwnRegexPattern(std::string_view expression, std::shared_ptr<const RegexAlternatives> alternatives)
      : expression_(expression), alternatives_(std::move(alternatives)) {
    CharRanges any;
    for (const RegexSequence& sequence : alternatives_->sequences) {
      CharRanges first;
      if (!add_first(sequence, first)) first = {{0, 0x10FFFF}};
      first_.emplace_back(first);
      any = united(any, first);
    }
    any_first_ = std::make_unique<CharSet>(any);
  }

  void find_matches(std::string_view text, std::vector<Span>& matches) const override {
    Matcher matcher(text, expression_);
    size_t last_end = kFail;  // an empty match right there does not count
    for (size_t at = 0; at < text.size();) {
      const auto [code, bytes] = decode_char(text, at);
      const size_t end = any_first_->contains(code) ? match(matcher, code, at) : kFail;
      if (end != kFail && (end > at || at != last_end)) {
        matches.push_back({at, end});
        last_end = end;
      }
      at = end != kFail && end > at ? end : at + bytes;
    }
  }

 private:
  size_t match(Matcher& matcher, char32_t code, size_t at) const {
    for (size_t i = 0; i < first_.size(); ++i) {
      if (!first_[i].contains(code)) continue;
      if (const size_t end = matcher.match(alternatives_->sequences[i], at); end != kFail) return end;
    }
    return kFail;
  }

  std::string expression_;
  std::shared_ptr<const RegexAlternatives> alternatives_;
  std::vector<CharSet> first_;  // what each alternative can begin with
  std::unique_ptr<CharSet> any_first_;
};

}  // namespace

std::unique_ptr<Pattern> make_own_regex_pattern(std::string_view expression) {
  auto alternatives = parse_regex(expression);
  return alternatives ? std::make_unique<OwnRegexPattern>(expression, std::move(alternatives)) : nullptr;
}

}  // namespace trireme
