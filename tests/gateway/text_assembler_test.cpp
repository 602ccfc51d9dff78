#include "gateway/text_assembler.h"

#include <gtest/gtest.h>

#include "tests/gateway/letter_tokenizer.h"

namespace trireme {
namespace {

const LetterTokenizer kLetters;

// What is shown after each letter, separated by '|'.
std::string shown(TextAssembler& text, const std::string& letters) {
  std::string out;
  for (char letter : letters) out += text.add(letter) + "|";
  return out;
}

TEST(TextAssembler, ShowsTextAsItComes) {
  TextAssembler text(&kLetters, {});
  EXPECT_EQ(shown(text, "abc"), "a|b|c|");
  EXPECT_EQ(text.end(FinishReason::length), "");
  EXPECT_EQ(text.text(), "abc");
  EXPECT_EQ(text.finish(), FinishReason::length);
}

TEST(TextAssembler, FindsAStopStringAcrossTokens) {
  TextAssembler text(&kLetters, {.stop = {"END"}});
  EXPECT_EQ(shown(text, "aENbENDzz"), "a|||ENb||||||");
  EXPECT_EQ(text.text(), "aENb");
  EXPECT_EQ(text.finish(), FinishReason::stop);
  EXPECT_EQ(text.matched_stop(), "END");
  EXPECT_EQ(text.num_tokens(), 7);
}

TEST(TextAssembler, HoldsBackTheLongestPossibleBeginning) {
  TextAssembler text(&kLetters, {.stop = {"aab"}});
  EXPECT_EQ(shown(text, "aaab"), "||a||");
  EXPECT_EQ(text.text(), "a");
  EXPECT_TRUE(text.finished());
}

TEST(TextAssembler, ReleasesWhatItHeldWhenTheEngineEnds) {
  TextAssembler text(&kLetters, {.stop = {"END"}});
  EXPECT_EQ(shown(text, "aEN"), "a|||");
  EXPECT_EQ(text.end(FinishReason::stop), "EN");
  EXPECT_TRUE(text.matched_stop().empty());
}

TEST(TextAssembler, TheEarliestStopWinsAndMayStayInTheText) {
  TextAssembler text(&kLetters, {.stop = {"xyz", "y"}, .include_stop = true});
  EXPECT_EQ(shown(text, "axyz"), "a||xy||");
  EXPECT_EQ(text.matched_stop(), "y");
}

TEST(TextAssembler, HasNoTextWithoutATokenizer) {
  TextAssembler text(nullptr, {.stop = {"a"}});
  EXPECT_EQ(text.add('a'), "");
  EXPECT_FALSE(text.finished());
  EXPECT_EQ(text.num_tokens(), 1);
}

}  // namespace
}  // namespace trireme
