// The four normalization forms over the generated tables.
#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "text/char_set.h"
#include "text/unicode.h"

namespace trireme {
namespace {

struct Decomposition {  // one canonical step; second may be 0
  char32_t code, first, second;
  bool composes;
};
struct CombiningRange {
  char32_t first, last;
  uint8_t combining_class;
};
struct CompatibilityDecomposition {  // all steps; a stretch of kCompatibilityText
  char32_t code;
  uint32_t offset, length;
};

#include "text/unicode_forms.inc"

uint8_t combining_class(char32_t code) {
  if (code < 0x300) return 0;
  const auto* after = std::upper_bound(std::begin(kCombining), std::end(kCombining), code,
                                       [](char32_t value, const CombiningRange& range) { return value < range.first; });
  return after != std::begin(kCombining) && code <= after[-1].last ? after[-1].combining_class : 0;
}

constexpr char32_t kHangulBase = 0xAC00, kLeadBase = 0x1100, kVowelBase = 0x1161, kTailBase = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTails = 28;

// Recursion is bounded by the Unicode data: no canonical decomposition is longer than four steps.
void append_decomposed(std::vector<char32_t>& out, char32_t code) {
  if (code < 0xC0) return out.push_back(code);
  if (code >= kHangulBase && code < kHangulBase + kLeads * kVowels * kTails) {
    const char32_t index = code - kHangulBase;
    out.push_back(kLeadBase + index / (kVowels * kTails));
    out.push_back(kVowelBase + index % (kVowels * kTails) / kTails);
    if (index % kTails != 0) out.push_back(kTailBase + index % kTails);
    return;
  }
  const auto* found = std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), code,
                                       [](const Decomposition& d, char32_t value) { return d.code < value; });
  if (found == std::end(kDecompositions) || found->code != code) return out.push_back(code);
  append_decomposed(out, found->first);
  if (found->second != 0) append_decomposed(out, found->second);
}

// Zero when the two do not compose.
char32_t compose(char32_t first, char32_t second) {
  static const auto pairs = [] {
    std::unordered_map<uint64_t, char32_t> map;
    for (const auto& d : kDecompositions)
      if (d.composes) map.emplace(uint64_t(d.first) << 32 | d.second, d.code);
    return map;
  }();
  if (first >= kLeadBase && first < kLeadBase + kLeads && second >= kVowelBase && second < kVowelBase + kVowels)
    return kHangulBase + ((first - kLeadBase) * kVowels + (second - kVowelBase)) * kTails;
  const bool open_syllable =
      first >= kHangulBase && first < kHangulBase + kLeads * kVowels * kTails && (first - kHangulBase) % kTails == 0;
  if (open_syllable && second > kTailBase && second < kTailBase + kTails) return first + (second - kTailBase);
  const auto found = pairs.find(uint64_t(first) << 32 | second);
  return found == pairs.end() ? 0 : found->second;
}

void sort_marks(std::vector<char32_t>& codes) {
  for (size_t begin = 0; begin < codes.size();) {
    if (combining_class(codes[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + std::ptrdiff_t(begin), codes.begin() + std::ptrdiff_t(end),
                     [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return uint8_t(c) < 0x80; });
}

std::vector<char32_t> decomposed(std::string_view text, bool compatibility) {
  std::vector<char32_t> codes;
  codes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    at += bytes;
    const auto* found = std::end(kCompatibility);
    if (compatibility && code >= 0xA0)
      found = std::lower_bound(std::begin(kCompatibility), std::end(kCompatibility), code,
                               [](const CompatibilityDecomposition& d, char32_t value) { return d.code < value; });
    if (found != std::end(kCompatibility) && found->code == code)
      codes.insert(codes.end(), kCompatibilityText + found->offset, kCompatibilityText + found->offset + found->length);
    else
      append_decomposed(codes, code);
  }
  sort_marks(codes);
  return codes;
}

void compose_all(std::vector<char32_t>& codes) {
  size_t length = 0, starter = codes.size();
  int last_class = -1;  // of the character kept before; -1: the starter itself
  for (const char32_t code : codes) {
    const int own_class = combining_class(code);
    const bool blocked = last_class >= own_class && last_class != -1;
    const char32_t composed = starter < length && !blocked ? compose(codes[starter], code) : 0;
    if (composed != 0) {
      codes[starter] = composed;
      continue;
    }
    if (own_class == 0) starter = length;
    last_class = own_class == 0 ? -1 : own_class;
    codes[length++] = code;
  }
  codes.resize(length);
}

std::string to_text(const std::vector<char32_t>& codes) {
  std::string out;
  out.reserve(codes.size());
  for (const char32_t code : codes) append_utf8(out, code);
  return out;
}

// What may change, or change the character before it. All else stands still: only a run of active characters and the
// one before it have to be looked at.
CharRanges nfc_active() {
  CharRanges active = {{kVowelBase, kVowelBase + kVowels - 1}, {kTailBase + 1, kTailBase + kTails - 1}};
  for (const auto& range : kCombining) active.push_back({range.first, range.last});
  for (const auto& d : kDecompositions) {
    if (d.composes)
      active.push_back({d.second, d.second});
    else
      active.push_back({d.code, d.code});
  }
  return united(active, {});
}

}  // namespace

std::string to_nfd(std::string_view text) {
  return is_ascii(text) ? std::string(text) : to_text(decomposed(text, false));
}
std::string to_nfkd(std::string_view text) {
  return is_ascii(text) ? std::string(text) : to_text(decomposed(text, true));
}
std::string to_nfc(std::string_view text) {
  static const CharSet active(nfc_active());
  std::string out;
  size_t done = 0, previous = 0;  // where the character before `at` begins
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    if (code < 0x300 || !active.contains(code)) {
      previous = at;
      at += bytes;
      continue;
    }
    const size_t begin = std::max(done, previous);
    while (at < text.size() && active.contains(decode_char(text, at).code)) at += decode_char(text, at).bytes;
    auto codes = decomposed(text.substr(begin, at - begin), false);
    compose_all(codes);
    out.append(text.substr(done, begin - done)) += to_text(codes);
    done = previous = at;
  }
  return out.append(text.substr(done));
}
std::string to_nfkc(std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  auto codes = decomposed(text, true);
  compose_all(codes);
  return to_text(codes);
}

}  // namespace trireme
