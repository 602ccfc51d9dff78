#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

std::vector<std::string> matches_of(std::string_view expression, std::string_view text) {
  std::vector<Span> spans;
  make_own_regex_pattern(expression)->find_matches(text, spans);
  std::vector<std::string> found;
  for (const Span& span : spans) found.emplace_back(text.substr(span.begin, span.size()));
  return found;
}

using Found = std::vector<std::string>;

// More of what is supported is compared with Hugging Face in variants_test.
TEST(Regex, FindsWhatOnigurumaFinds) {
  EXPECT_EQ(matches_of(R"(\p{N}{1,3})", "1234567"), (Found{"123", "456", "7"}));
  EXPECT_EQ(matches_of(R"(\p{N}{1,3}+)", "1234567"), (Found{"1234567"}));  // Ruby: a repetition of the repetition
  EXPECT_EQ(matches_of(R"(a+?|b++)", "aabb"), (Found{"a", "a", "bb"}));
  EXPECT_EQ(matches_of(R"(\s+$)", "a \n b  "), (Found{" ", "  "}));  // $ is the end of any line
  EXPECT_EQ(matches_of(R"((?i:'s|'ll))", "'S'\u017f'Ll"), (Found{"'S", "'\u017f", "'Ll"}));
  EXPECT_EQ(matches_of(R"([\p{L}&&[^a-c]]+)", "abcdefa"), (Found{"def"}));
  EXPECT_EQ(matches_of(R"(\s+(?!\S)|\s+)", "  x"), (Found{" ", " "}));
  EXPECT_EQ(matches_of(R"(\s)", "\u180e\u0085\x1c"), (Found{"\u0085"}));
  EXPECT_EQ(matches_of(R"(x*)", "axb"), (Found{"", "x"}));  // not right after a match
}

TEST(Regex, SaysWhatItDoesNotSupport) {
  for (const char* expression : {"(", "a)", "[a", "[]a]", "a**", "(?<=a)b", "(ab)+", R"(\1)", R"(\p{Klingon})",
                                 R"(\p{L)", "a{3,1}", "+", R"(\h)", "(?x: a)", "[[:alpha:]]", "\xFF"})
    EXPECT_EQ(make_own_regex_pattern(expression), nullptr) << expression;
  std::string many;
  for (int i = 0; i < 300; ++i) many += "a";
  EXPECT_EQ(make_own_regex_pattern(many), nullptr);
}

TEST(Regex, GivesUpOnATextInsteadOfHanging) {
  EXPECT_THROW(matches_of(R"(\s+x)", std::string(200'000, ' ')), RequestError);
}

}  // namespace
}  // namespace trireme
