#include "gateway/text_assembler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/json.h"
#include "tests/gateway/letter_tokenizer.h"
#include "text/unicode.h"

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

TEST(TextAssembler, TheFirstToBeCompleteWins) {
  TextAssembler text(&kLetters, {.stop = {"xyz", "y"}});
  EXPECT_EQ(shown(text, "axyz"), "a||x||");
  EXPECT_EQ(text.matched_stop(), "y");
  TextAssembler same_end(&kLetters, {.stop = {"z", "yz"}});
  EXPECT_EQ(shown(same_end, "xyz"), "x|||");
  EXPECT_EQ(same_end.matched_stop(), "yz");
}

TEST(TextAssembler, HoldsNothingBackWhereStopStringsStay) {
  TextAssembler text(&kLetters, {.stop = {"xyz", "ya"}, .include_stop = true});
  EXPECT_EQ(shown(text, "axyxyz!"), "a|x|y|x|y|z||");
  EXPECT_EQ(text.matched_stop(), "xyz");
}

TEST(TextAssembler, HasNoTextWithoutATokenizer) {
  TextAssembler text(nullptr, {.stop = {"a"}});
  EXPECT_EQ(text.add('a'), "");
  EXPECT_FALSE(text.finished());
  EXPECT_EQ(text.num_tokens(), 1);
}

// 1,000 random outputs of a real byte-level tokenizer and random stop strings, against a reference that looks at the
// whole text: byte by byte, the first place where a stop string ends.

const char* const kSentences =
    "The crew could count many ships in the harbour. Nobody saw the 世界 turn, and the bank said: naïve café \u20ac5 "
    "\U0001F6A3\U0001F6A3 row! aaaa abab ababab 12345 Number\n\nThe water was all about, about, about.";

const Tokenizer& tokenizer() {
  static const std::unique_ptr<Tokenizer> made = [] {
    TokenizerSource source;
    const std::string models = std::string(TRIREME_SOURCE_DIR) + "/tests/models/";
    source.tokenizer_json = read_text_file(models + "tiny-llama/tokenizer.json");
    return make_tokenizer(source);
  }();
  return *made;
}

std::string substring(const std::string& text, std::mt19937& random, size_t most_chars) {
  const size_t chars = count_chars(text);
  const size_t begin = random() % chars, length = 1 + random() % most_chars;
  const size_t from = char_offset(text, begin);
  return text.substr(from, char_offset(text, std::min(begin + length, chars)) - from);
}

struct Case {
  std::vector<int32_t> ids;
  std::string prompt;
  std::vector<std::string> stops;
  bool include = false;
};

Case random_case(std::mt19937& random) {
  Case made;
  made.prompt = substring(kSentences, random, 30);
  const size_t pieces = 1 + random() % 4;
  for (size_t piece = 0; piece < pieces; ++piece) {
    for (int32_t id : tokenizer().encode(substring(kSentences, random, 40), {.add_special_tokens = false}))
      made.ids.push_back(id);
    if (random() % 4 == 0) made.ids.push_back(int32_t(random() % 515));  // parts of characters, special ids
  }
  const std::string text = tokenizer().decode(made.ids) + "?";
  made.include = random() % 2;
  for (size_t count = random() % 4; made.stops.size() < count;) {
    const std::string stop = substring(random() % 4 ? text : made.prompt, random, random() % 2 ? 3 : 14);
    made.stops.push_back(stop);
    const size_t kind = random() % 5;
    if (kind == 0) made.stops.push_back(stop + substring(text, random, 2));
    if (kind == 1) made.stops.push_back(stop.substr(char_offset(stop, 1)) + "a");
    if (kind == 2) made.stops.push_back(stop.substr(0, char_offset(stop, count_chars(stop) - 1)) + "z");
  }
  std::erase(made.stops, "");
  std::shuffle(made.stops.begin(), made.stops.end(), random);
  return made;
}

struct Reference {
  size_t end = std::string::npos;  // in the whole text, behind the stop string
  std::string stop, text;
};

Reference reference(const std::string& whole, const Case& given) {
  for (size_t end = 1; end <= whole.size(); ++end) {
    std::string longest;
    for (const std::string& stop : given.stops)
      if (whole.substr(0, end).ends_with(stop) && stop.size() > longest.size()) longest = stop;
    if (!longest.empty()) return {end, longest, whole.substr(0, given.include ? end : end - longest.size())};
  }
  return {std::string::npos, "", whole};
}

// The text of the first `count` ids less a last character that more bytes may still complete.
std::string complete_text(const Case& given, size_t count) {
  std::vector<int32_t> ids(given.ids.begin(), given.ids.begin() + std::ptrdiff_t(count));
  std::string bytes;
  for (int32_t id : ids)
    if (!tokenizer().is_special(id)) bytes += tokenizer().token_bytes(id);
  std::string text = tokenizer().decode(ids);
  const std::string replacement = "\uFFFD";
  for (const char* rest : {"\x80", "\xBF", "\x80\x80", "\xBF\x80", "\x80\x80\x80", "\x90\x80\x80"})
    for (size_t cut = 1; cut <= std::min<size_t>(3, bytes.size()); ++cut)
      if (find_invalid_utf8(bytes.substr(bytes.size() - cut) + rest) == kValidUtf8) {
        EXPECT_TRUE(text.ends_with(replacement));
        return text.substr(0, text.size() - replacement.size());
      }
  return text;
}

std::string without_open_end(std::string text, const Case& given) {
  if (given.include) return text;
  size_t open = 0;
  for (const std::string& stop : given.stops)
    for (size_t length = 1; length < stop.size(); ++length)
      if (text.ends_with(stop.substr(0, length))) open = std::max(open, length);
  return text.substr(0, text.size() - open);
}

TEST(StopStrings, AThousandRandomCasesAgreeWithAReferenceThatSeesTheWholeText) {
  std::mt19937 random(20261124);
  std::map<std::string, int> seen;
  for (int round = 0; round < 1000; ++round) {
    const Case given = random_case(random);
    const std::string whole = tokenizer().decode(given.ids);
    const Reference wanted = reference(whole, given);
    SCOPED_TRACE("round " + std::to_string(round) + ": " + whole + " stops " + testing::PrintToString(given.stops));

    TextAssembler assembler(&tokenizer(), {.stop = given.stops, .include_stop = given.include});
    std::string shown;
    size_t used = 0;
    while (used < given.ids.size() && !assembler.finished()) {
      shown += assembler.add(given.ids[used++]);
      const std::string complete = complete_text(given, used);
      const bool over = wanted.end <= complete.size();
      ASSERT_EQ(assembler.finished(), over) << "after " << used << " ids";
      ASSERT_EQ(shown, over ? wanted.text : without_open_end(complete, given)) << "after " << used << " ids";
    }
    const bool by_id = assembler.finished();
    shown += assembler.end(FinishReason::length);
    ASSERT_EQ(shown, wanted.text);
    ASSERT_EQ(assembler.text(), wanted.text);
    ASSERT_EQ(assembler.matched_stop(), wanted.stop);
    ASSERT_EQ(assembler.finish(), wanted.stop.empty() ? FinishReason::length : FinishReason::stop);
    ASSERT_EQ(assembler.num_tokens(), int(used));

    if (wanted.stop.empty()) {
      ++seen["no stop"];
      for (const std::string& stop : given.stops)
        seen["only in the prompt"] += given.prompt.find(stop) != std::string::npos;
      continue;
    }
    if (!by_id) ++seen["in the flush at the end"];
    if (complete_text(given, used).size() > wanted.end) ++seen["inside an id"];
    if (used >= 3 && complete_text(given, used - 2).size() > wanted.end - wanted.stop.size()) ++seen["three ids"];
    if (count_chars(wanted.stop) < wanted.stop.size()) ++seen["multi-byte"];
    for (const std::string& stop : given.stops)
      seen["prefix of another"] += stop.size() > wanted.stop.size() && stop.starts_with(wanted.stop);
    ++seen[given.include ? "kept" : "cut"];
  }
  for (const char* kind :
       {"no stop", "only in the prompt", "inside an id", "three ids", "multi-byte", "prefix of another", "kept", "cut"})
    EXPECT_GT(seen[kind], 30) << kind;
}

}  // namespace
}  // namespace trireme
