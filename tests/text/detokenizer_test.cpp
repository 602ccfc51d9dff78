#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/text/golden.h"
#include "text/unicode.h"

namespace trireme {
namespace {

using test::golden_tokenizer;

TEST(Detokenizer, EveryPieceIsValidUtf8AndTogetherTheyAreDecode) {
  const auto tokenizer = golden_tokenizer("llama3");
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const bool skip_special = round % 2 == 0;
    std::vector<int32_t> ids(random() % 20);
    for (int32_t& id : ids) id = int32_t(random() % (round % 3 ? 256 : uint32_t(tokenizer->vocab_size())));
    Detokenizer detokenizer(*tokenizer, skip_special);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = detokenizer.add(id);
      EXPECT_EQ(find_invalid_utf8(piece), kValidUtf8);
      text += piece;
    }
    text += detokenizer.finish();
    EXPECT_EQ(text, tokenizer->decode(ids, skip_special));
  }
}

TEST(Detokenizer, HoldsBackTheBytesOfAnUnfinishedCharacter) {
  const auto tokenizer = golden_tokenizer("gpt2");
  const auto byte = [&](const char* spelled) { return tokenizer->token_id(spelled); };
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.add(byte("\u00e4")), "");        // E4
  EXPECT_EQ(detokenizer.add(byte("\u00bd")), "");        // BD
  EXPECT_EQ(detokenizer.add(byte("\u0142")), "\u4f60");  // A0
  EXPECT_EQ(detokenizer.add(byte("\u00e4")), "");
  EXPECT_EQ(detokenizer.add(byte("a")), "\ufffda");
  EXPECT_EQ(detokenizer.add(byte("\u00e4")), "");
  EXPECT_EQ(detokenizer.finish(), "\ufffd");
  EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, SkipsSpecialTokensAndUnknownIds) {
  const auto tokenizer = golden_tokenizer("gpt2");
  const int32_t end = tokenizer->token_id("<|im_end|>");
  EXPECT_EQ(Detokenizer(*tokenizer).add(end), "");
  EXPECT_EQ(Detokenizer(*tokenizer, false).add(end), "<|im_end|>");
  EXPECT_EQ(Detokenizer(*tokenizer).add(-1), "");
  EXPECT_EQ(Detokenizer(*tokenizer).add(1 << 30), "");
}

}  // namespace
}  // namespace trireme
