// Category, case and canonical form look-ups over the generated ranges.
#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <vector>

#include "text/unicode.h"

namespace trireme {
namespace {

struct CategoryRange {
  char32_t first, last;
  Category category;
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
struct LaterCase {  // lower case that a later Unicode version brought
  char32_t code, lower;
};

#include "text/unicode_tables.inc"

constexpr std::string_view kCategoryNames[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                               "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                               "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"};

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

// The category of every code point: blocks of 256, equal ones stored once.
class CategoryTable {
 public:
  CategoryTable() {
    std::map<std::array<Category, 256>, uint16_t> known;
    for (char32_t block = 0; block < blocks_.size(); ++block) {
      std::array<Category, 256> categories{};
      for (char32_t i = 0; i < 256;) i = fill(categories, block << 8, i);
      const auto [found, is_new] = known.try_emplace(categories, uint16_t(stored_.size()));
      if (is_new) stored_.push_back(categories);
      blocks_[block] = found->second;
    }
  }
  Category operator[](char32_t code) const { return stored_[blocks_[code >> 8]][code & 0xFF]; }

 private:
  // Fills from index i to the end of the range or gap that holds it; returns the next index.
  static char32_t fill(std::array<Category, 256>& categories, char32_t base, char32_t i) {
    const auto* after =
        std::upper_bound(std::begin(kCategories), std::end(kCategories), base + i,
                         [](char32_t value, const CategoryRange& range) { return value < range.first; });
    const bool inside = after != std::begin(kCategories) && base + i <= after[-1].last;
    const char32_t next = inside ? after[-1].last + 1 : after == std::end(kCategories) ? 0x110000 : after->first;
    const char32_t end = std::min<char32_t>(next - base, 256);
    std::fill(categories.begin() + i, categories.begin() + end, inside ? after[-1].category : Category::Cn);
    return end;
  }

  std::array<uint16_t, 0x1100> blocks_{};
  std::vector<std::array<Category, 256>> stored_;
};

}  // namespace

Category category(char32_t code) {
  static const CategoryTable table;
  return code < 0x110000 ? table[code] : Category::Cn;
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

std::vector<CodePointRange> property_ranges(std::string_view name) {
  if (name == "space") return {std::begin(kSpaces), std::end(kSpaces)};
  if (name == "word") return {std::begin(kExpressionWord), std::end(kExpressionWord)};
  if (name == "Han") return {std::begin(kHan), std::end(kHan)};
  const auto* begin = std::begin(kCategoryNames);
  std::vector<CodePointRange> ranges;
  for (const auto& [first, last, category] : kCategories) {
    const std::string_view own = begin[size_t(category)];
    if (own != name && own.substr(0, 1) != name) continue;
    if (!ranges.empty() && ranges.back().last + 1 == first)
      ranges.back().last = last;
    else
      ranges.push_back({first, last});
  }
  return ranges;
}

bool is_rust_number(char32_t code) { return is_number(code) || (code > 0x10FFF && find_range(kLaterNumbers, code)); }
bool is_rust_word(char32_t code) { return find_range(kRustWord, code) != nullptr; }
bool is_split_punctuation(char32_t code) { return find_range(kPunctuation, code) != nullptr; }
bool is_accent(char32_t code) { return code >= 0x300 && find_range(kAccents, code) != nullptr; }

std::string to_rust_lower(std::string_view text) {
  std::string out;
  for (const char32_t code : to_code_points(text)) {
    const auto* later = std::find_if(std::begin(kLaterLower), std::end(kLaterLower),
                                     [&](const LaterCase& entry) { return entry.code == code; });
    if (code >= 0x1C89 && later != std::end(kLaterLower))
      append_utf8(out, later->lower);
    else
      append_mapped(out, kLowerRuns, kLowerSpecial, code);
  }
  return out;
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

}  // namespace trireme
