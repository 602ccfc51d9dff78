#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "tests/text/golden.h"
#include "text/detokenizer.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/tokenizer.h"

namespace trireme {
namespace {

using test::golden_json;
using test::ids_of;
using test::text_of;

TokenizerSource sentencepiece_source(const json::value& golden) {
  TokenizerSource source;
  source.gguf_model = "llama";
  for (const auto& token : golden.at("tokens").as_array()) source.tokens.push_back(text_of(token));
  for (const auto& score : golden.at("scores").as_array()) source.scores.push_back(score.to_number<float>());
  source.token_types = ids_of(golden.at("types"));
  source.unknown_id = 0;
  source.bos_id = 1;
  source.eos_id = 2;
  if (!golden.at("prefix").as_bool()) source.add_space_prefix = false;
  return source;
}

TEST(TokenizerGguf, ScoresGiveTheIdsOfSentencePiece) {
  const json::value goldens = golden_json("sentencepiece_goldens.json");
  for (const auto& golden : goldens.as_array()) {
    const auto tokenizer = make_tokenizer(sentencepiece_source(golden));
    for (const auto& entry : golden.at("encode").as_array()) {
      SCOPED_TRACE(json::serialize(entry.at("text")));
      auto ids = ids_of(entry.at("ids"));
      const std::string text = text_of(entry.at("text"));
      EXPECT_EQ(tokenizer->encode(text, {.add_special_tokens = false, .parse_special = false}), ids);
      EXPECT_EQ(tokenizer->decode(ids), text_of(entry.at("decoded")));
      ids.insert(ids.begin(), 1);
      EXPECT_EQ(tokenizer->encode(text, {.parse_special = false}), ids);
    }
  }
}

TEST(TokenizerGguf, FlagsOfTheFileWinOverTheDefaults) {
  const json::value goldens = golden_json("sentencepiece_goldens.json");
  TokenizerSource source = sentencepiece_source(goldens.at(0));
  source.add_bos = false;
  source.add_eos = true;
  const auto ids = make_tokenizer(source)->encode("oar");
  EXPECT_NE(ids.front(), 1);
  EXPECT_EQ(ids.back(), 2);
}

TEST(TokenizerGguf, ControlTokensAreParsedAndPlainTextOnRequest) {
  const json::value goldens = golden_json("sentencepiece_goldens.json");
  const auto tokenizer = make_tokenizer(sentencepiece_source(goldens.at(1)));
  const int32_t turn = tokenizer->token_id("<turn>"), tool = tokenizer->token_id("<tool>");
  EXPECT_EQ(tokenizer->encode("<turn><tool>", {.add_special_tokens = false}), (std::vector<int32_t>{turn, tool}));
  const auto plain = tokenizer->encode("<turn><tool>", {.add_special_tokens = false, .parse_special = false});
  EXPECT_GT(plain.size(), 2u);
  EXPECT_EQ(plain.back(), tool);  // user defined, not special
}

TEST(TokenizerGguf, NamesWhatIsWrongWithScores) {
  const json::value goldens = golden_json("sentencepiece_goldens.json");
  const auto message = [&](auto change) {
    TokenizerSource source = sentencepiece_source(goldens.at(0));
    change(source);
    try {
      make_tokenizer(source);
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message([](auto&) {}), "accepted");
  EXPECT_NE(message([](auto& s) { s.scores.pop_back(); }).find("scores has 1099 entries for 1100"), std::string::npos);
  EXPECT_NE(message([](auto& s) { s.scores.clear(); }).find("scores has 0 entries"), std::string::npos);
  EXPECT_NE(message([](auto& s) { s.scores[3] = std::numeric_limits<float>::quiet_NaN(); }).find("not finite"),
            std::string::npos);
  EXPECT_NE(message([](auto& s) { s.unknown_id = 4000; }).find("unknown_token_id"), std::string::npos);
}

TEST(TokenizerGguf, EveryPreTokenizerNameCanBeMade) {
  const json::value root = golden_json("gpt2/tokenizer.json");
  for (const char* name :
       {"gpt-2",       "default",      "smollm", "starcoder", "command-r",   "llama-bpe",      "dbrx",       "glm4",
        "chatglm-bpe", "qwen2",        "qwen35", "stablelm2", "gpt-4o",      "llama4",         "minimax-m2", "tekken",
        "kimi-k2",     "deepseek-llm", "falcon", "bloom",     "deepseek-v3", "deepseek-coder", "bailingmoe", "viking",
        "poro-chat",   "smaug-bpe",    "olmo",   "refact",    "gpt3-finnish"}) {
    json::value changed = root;
    changed.at("pre_tokenizer") = describe(find_gguf_pre_tokenizer(name));
    TokenizerSource source;
    source.tokenizer_json = json::serialize(changed);
    const auto tokenizer = make_tokenizer(source);
    const std::string text = "The ship's 1234 oars, \u8239\u8239 123\u00e9t\u00e9\r\n  STOP!  \n";
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
  }
}

}  // namespace
}  // namespace trireme
