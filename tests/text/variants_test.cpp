// Every kind of model, normalizer, pre-tokenizer, post-processor and decoder, against Hugging Face's results.
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "tests/text/golden.h"
#include "text/detokenizer.h"

namespace trireme {
namespace {

using test::golden_json;
using test::ids_of;
using test::text_of;

std::unique_ptr<Tokenizer> tokenizer_of(const json::object& golden, const json::object& models) {
  json::object root = golden.at("parts").as_object();
  root["model"] = models.at(text_of(golden.at("model")));
  TokenizerSource source;
  source.tokenizer_json = json::serialize(root);
  return make_tokenizer(source);
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.add(id);
  return text + detokenizer.finish();
}

void expect_decodes(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip, const std::string& text) {
  EXPECT_EQ(tokenizer.decode(ids, skip), text);
  EXPECT_EQ(streamed(tokenizer, ids, skip), text);
}

void expect_case(const json::object& golden, const json::array& texts, const json::object& models) {
  const auto tokenizer = tokenizer_of(golden, models);
  const auto* full = golden.if_contains("full");
  const auto* decoded = golden.if_contains("decoded");
  for (size_t i = 0; i < texts.size(); ++i) {
    SCOPED_TRACE(json::serialize(texts[i]));
    const std::string text = text_of(texts[i]);
    EXPECT_EQ(tokenizer->encode(text, {.add_special_tokens = false}), ids_of(golden.at("ids").at(i)));
    const auto ids = ids_of(full ? full->at(i) : golden.at("ids").at(i));
    EXPECT_EQ(tokenizer->encode(text), ids);
    if (decoded) expect_decodes(*tokenizer, ids, false, text_of(decoded->at(i)));
  }
  for (size_t i = 0; i < golden.at("noise").as_array().size(); ++i) {
    const auto ids = ids_of(golden.at("noise").at(i));
    expect_decodes(*tokenizer, ids, false, text_of(golden.at("noise_decoded").at(i).at(0)));
    expect_decodes(*tokenizer, ids, true, text_of(golden.at("noise_decoded").at(i).at(1)));
  }
}

TEST(Variants, EveryPartDoesWhatHuggingFaceDoes) {
  const json::value goldens = golden_json("variant_goldens.json");
  for (const auto& golden : goldens.at("cases").as_array()) {
    SCOPED_TRACE(text_of(golden.at("name")));
    expect_case(golden.as_object(), goldens.at("texts").as_array(), goldens.at("models").as_object());
  }
}

// Single bytes changed and ends cut off: an error or a tokenizer that works, never a crash.
TEST(Variants, DamagedFilesAreErrorsOrTokenizers) {
  const json::value goldens = golden_json("variant_goldens.json");
  std::mt19937 random(5);
  int accepted = 0, refused = 0;
  for (const auto& golden : goldens.at("cases").as_array()) {
    if (text_of(golden.at("name")) != "llama" && text_of(golden.at("name")) != "unigram_bytes") continue;
    json::object root = golden.at("parts").as_object();
    root["model"] = goldens.at("models").as_object().at(text_of(golden.at("model")));
    const std::string whole = json::serialize(root);
    for (int round = 0; round < 300; ++round) {
      TokenizerSource source;
      source.tokenizer_json = whole;
      if (round % 2 == 0)
        source.tokenizer_json[random() % (round % 3 ? whole.size() : 3000)] =
            "0123456789\"{}[],:\\x\xFF"[random() % 20];
      else
        source.tokenizer_json.resize(random() % whole.size());
      try {
        const auto tokenizer = make_tokenizer(source);
        tokenizer->decode(tokenizer->encode("some text 123 <s> \u8239"));
        ++accepted;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_EQ(accepted + refused, 600);
  EXPECT_GT(accepted, 0);
  EXPECT_GT(refused, 300);  // every cut
}

}  // namespace
}  // namespace trireme
