#include "text/unicode.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(Unicode, FindsTheFirstInvalidByte) {
  EXPECT_EQ(find_invalid_utf8(""), kValidUtf8);
  EXPECT_EQ(find_invalid_utf8("a\u00e9\u4f60\U0001f600"), kValidUtf8);
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2u);
  EXPECT_EQ(find_invalid_utf8("\xC0\xAF"), 0u);            // overlong
  EXPECT_EQ(find_invalid_utf8("x\xED\xA0\x80"), 1u);       // surrogate
  EXPECT_EQ(find_invalid_utf8("xy\xF4\x90\x80\x80"), 2u);  // past the last code point
  EXPECT_EQ(find_invalid_utf8("xyz\xE4\xBD"), 3u);         // cut off
}

TEST(Unicode, DecodesAndAppendsEveryLength) {
  for (const char32_t code : {U'a', U'\u00e9', U'\u4f60', U'\U0001f600', U'\U0010ffff'}) {
    std::string text = "x";
    append_utf8(text, code);
    const auto [decoded, bytes] = decode_char(text, 1);
    EXPECT_EQ(decoded, code);
    EXPECT_EQ(bytes + 1, text.size());
  }
  EXPECT_EQ(count_chars("a\u00e9\u4f60\U0001f600"), 4u);
  EXPECT_EQ(char_offset("a\u00e9\u4f60", 2), 3u);
  EXPECT_EQ(char_offset("a\u00e9\u4f60", 9), 6u);
}

TEST(Unicode, KnowsCategories) {
  EXPECT_TRUE(is_letter('a') && is_letter(U'\u4f60') && is_letter(U'\u0939') && !is_letter('1') && !is_letter('_'));
  EXPECT_TRUE(is_number('1') && is_number(U'\u00bd') && is_number(U'\u0663') && !is_number(U'\u4e00'));
  EXPECT_TRUE(is_space(U'\u00a0') && is_space(U'\u3000') && is_space(U'\u0085') && !is_space(U'\u180e') &&
              !is_space(U'\u200b'));
  EXPECT_TRUE(!is_space(0x1C) && is_python_space(0x1C));
  EXPECT_TRUE(is_mark(U'\u0301') && is_punctuation('!') && !is_punctuation('+') && is_word('_'));
  EXPECT_EQ(category(0x10FFFF), Category::Cn);
}

TEST(Unicode, MapsCaseLikePython) {
  EXPECT_EQ(to_upper("stra\u00dfe \ufb01 \u01c6"), "STRASSE FI \u01c4");
  EXPECT_EQ(to_lower("\u0130 \u039f\u0394\u039f\u03a3 \u03a3 A\u03a3B"),
            "i\u0307 \u03bf\u03b4\u03bf\u03c2 \u03c3 a\u03c3b");
  EXPECT_EQ(to_title("they're bill's \u01c6 \u00dfx x1y"), "They'Re Bill'S \u01c5 Ssx X1Y");
  EXPECT_EQ(to_capitalized("\u00c9COLE nORMALE"), "\u00c9cole normale");
}

TEST(Unicode, ComposesToNfc) {
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(to_nfc("\u212b \u2126 \u0344"), "\u00c5 \u03a9 \u0308\u0301");
  EXPECT_EQ(to_nfc("\u1100\u1161\u11a8"), "\uac01");
  EXPECT_EQ(to_nfc("\u0958"), "\u0915\u093c");  // excluded from composition
  EXPECT_EQ(to_nfc("a\u0301\u0301 \u0301"), "\u00e1\u0301 \u0301");
}

std::string repair(std::initializer_list<std::string_view> parts) {
  Utf8Repair utf8;
  std::string out;
  for (const auto part : parts) {
    utf8.append(part, out);
    EXPECT_EQ(find_invalid_utf8(out), kValidUtf8);
  }
  utf8.finish(out);
  return out;
}

TEST(Unicode, RepairHoldsBackPartsAndReplacesMaximalPrefixes) {
  EXPECT_EQ(repair({"\xF0", "\x9F", "\x98", "\x80!"}), "\U0001f600!");
  EXPECT_EQ(repair({"\xE4\xBD", "x"}), "\ufffdx");
  EXPECT_EQ(repair({"\xE4\xBD", "\xE4\xBD\xA0"}), "\ufffd\u4f60");
  EXPECT_EQ(repair({"\x80\x80", "a\xFF"}), "\ufffd\ufffda\ufffd");
  EXPECT_EQ(repair({"\xED", "\xA0", "\x80"}), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(repair({"\xF0\x9F\x98"}), "\ufffd");
}

}  // namespace
}  // namespace trireme
