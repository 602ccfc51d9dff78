// Category, case and canonical form look-ups over the generated ranges.
#include <algorithm>
#include <array>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "text/unicode.h"

namespace trireme {
namespace {

struct CategoryRange {
  char32_t first, last;
  Category category;
};
struct CodePointRange {
  char32_t first, last;
};
struct CaseRun {  // code points first, first + step, ..., last map to themselves + delta
  char32_t first, last;
  uint32_t step;
  int32_t delta;
};
struct SpecialCase {  // one code point to several; zero ends
  char32_t code;
  char32_t mapped[3];
};
struct Decomposition {  // one canonical step; second may be 0
  char32_t code, first, second;
  bool composes;
};
struct CombiningRange {
  char32_t first, last;
  uint8_t combining_class;
};

#include "text/unicode_tables.inc"

// The range that holds `code`, or null; ranges are sorted and do not overlap.
template <typename Range, size_t n>
const Range* find_range(const Range (&ranges)[n], char32_t code) {
  const auto* after = std::upper_bound(std::begin(ranges), std::end(ranges), code,
                                       [](char32_t value, const Range& range) { return value < range.first; });
  if (after == std::begin(ranges)) return nullptr;
  return code <= after[-1].last ? after - 1 : nullptr;
}

template <size_t n>
const SpecialCase* find_special(const SpecialCase (&cases)[n], char32_t code) {
  const auto* found = std::lower_bound(std::begin(cases), std::end(cases), code,
                                       [](const SpecialCase& c, char32_t value) { return c.code < value; });
  return found != std::end(cases) && found->code == code ? found : nullptr;
}

template <size_t n>
char32_t map_simple(const CaseRun (&runs)[n], char32_t code) {
  const CaseRun* run = find_range(runs, code);
  return run && (code - run->first) % run->step == 0 ? char32_t(int64_t(code) + run->delta) : code;
}

template <size_t n, size_t m>
void append_mapped(std::string& out, const CaseRun (&runs)[n], const SpecialCase (&special)[m], char32_t code) {
  if (const auto* found = find_special(special, code)) {
    for (const char32_t mapped : found->mapped)
      if (mapped != 0) append_utf8(out, mapped);
  } else {
    append_utf8(out, map_simple(runs, code));
  }
}

bool is_cased(char32_t code) {
  const Category c = category(code);
  return c == Category::Lu || c == Category::Ll || c == Category::Lt || map_simple(kLowerRuns, code) != code ||
         map_simple(kUpperRuns, code) != code;
}

bool is_case_ignorable(char32_t code) {
  const Category c = category(code);
  return c == Category::Mn || c == Category::Me || c == Category::Cf || c == Category::Lm || c == Category::Sk ||
         code == '\'' || code == '.' || code == ':' || code == 0xB7 || code == 0x2018 || code == 0x2019 ||
         code == 0x2024;
}

// A capital sigma ends its word when a cased letter stands before it and none follows.
bool is_final_sigma(const std::vector<char32_t>& text, size_t at) {
  size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

std::vector<char32_t> to_code_points(std::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = decode_char(text, at);
    out.push_back(code);
    at += bytes;
  }
  return out;
}

void append_lower(std::string& out, const std::vector<char32_t>& text, size_t at) {
  if (text[at] == 0x3A3) return append_utf8(out, is_final_sigma(text, at) ? 0x3C2 : 0x3C3);
  append_mapped(out, kLowerRuns, kLowerSpecial, text[at]);
}

std::array<Category, 128> make_ascii_categories() {
  std::array<Category, 128> table{};
  for (char32_t c = 0; c < 128; ++c) {
    const auto* range = find_range(kCategories, c);
    table[c] = range ? range->category : Category::Cn;
  }
  return table;
}

uint8_t combining_class(char32_t code) {
  if (code < 0x300) return 0;
  const auto* range = find_range(kCombining, code);
  return range ? range->combining_class : 0;
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

}  // namespace

Category category(char32_t code) {
  static const auto ascii = make_ascii_categories();
  if (code < 128) return ascii[code];
  const auto* range = find_range(kCategories, code);
  return range ? range->category : Category::Cn;
}

bool is_letter(char32_t code) {
  const Category c = category(code);
  return c >= Category::Lu && c <= Category::Lo;
}
bool is_mark(char32_t code) {
  const Category c = category(code);
  return c >= Category::Mn && c <= Category::Me;
}
bool is_number(char32_t code) {
  const Category c = category(code);
  return c >= Category::Nd && c <= Category::No;
}
bool is_punctuation(char32_t code) {
  const Category c = category(code);
  return c >= Category::Pc && c <= Category::Po;
}
bool is_space(char32_t code) {
  if (code < 128) return code == ' ' || (code >= 9 && code <= 13);
  return find_range(kSpaces, code) != nullptr;
}
bool is_python_space(char32_t code) { return is_space(code) || (code >= 0x1C && code <= 0x1F); }
bool is_word(char32_t code) {
  const Category c = category(code);
  return is_letter(code) || is_mark(code) || c == Category::Nd || c == Category::Nl || c == Category::Pc;
}

std::string to_lower(std::string_view text) {
  const auto codes = to_code_points(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) append_lower(out, codes, i);
  return out;
}

std::string to_upper(std::string_view text) {
  std::string out;
  for (const char32_t code : to_code_points(text)) append_mapped(out, kUpperRuns, kUpperSpecial, code);
  return out;
}

std::string to_title(std::string_view text) {
  const auto codes = to_code_points(text);
  std::string out;
  bool in_word = false;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (in_word)
      append_lower(out, codes, i);
    else
      append_mapped(out, kTitleRuns, kTitleSpecial, codes[i]);
    in_word = is_cased(codes[i]);
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  const auto codes = to_code_points(text);
  std::string out;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (i == 0)
      append_mapped(out, kTitleRuns, kTitleSpecial, codes[i]);
    else
      append_lower(out, codes, i);
  }
  return out;
}

std::string to_nfc(std::string_view text) {
  // Nothing below U+0300 combines or decomposes to something that does not compose again.
  const auto is_low = [](char c) { return uint8_t(c) < 0xCC; };
  if (std::all_of(text.begin(), text.end(), is_low)) return std::string(text);
  std::vector<char32_t> codes;
  for (const char32_t code : to_code_points(text)) append_decomposed(codes, code);
  sort_marks(codes);
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
  std::string out;
  for (size_t i = 0; i < length; ++i) append_utf8(out, codes[i]);
  return out;
}

}  // namespace trireme
