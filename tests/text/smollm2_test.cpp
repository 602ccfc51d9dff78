// The tokenizer and chat template of a real model file: TRIREME_SMOLLM2_GGUF names SmolLM2-135M-Instruct.Q4_1.gguf.
#include <gtest/gtest.h>

#include <cstdlib>

#include "checkpoint/checkpoint.h"
#include "tests/text/golden.h"
#include "tests/text/tokenizer_source_of.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"

namespace trireme {
namespace {

using test::golden_json;
using test::golden_path;
using test::ids_of;
using test::text_of;
using test::tokenizer_source_of;

TEST(SmolLm2, IdsTextsAndTemplateAreThoseOfHuggingFace) {
  const char* path = std::getenv("TRIREME_SMOLLM2_GGUF");
  if (!path) GTEST_SKIP() << "TRIREME_SMOLLM2_GGUF does not name the model file";
  const Checkpoint checkpoint = open_checkpoint(path, {.need_weights = false});
  const auto tokenizer = make_tokenizer(tokenizer_source_of(checkpoint.tokenizer));
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->eos_id(), tokenizer->token_id("<|im_end|>"));

  const json::value goldens = golden_json("smollm2_goldens.json");
  for (const auto& golden : goldens.at("encode").as_array()) {
    const std::string text = text_of(golden.at("text"));
    const auto ids = ids_of(golden.at("ids"));
    EXPECT_EQ(tokenizer->encode(text), ids) << json::serialize(golden.at("text"));
    const auto* decoded = golden.as_object().if_contains("decoded");
    EXPECT_EQ(tokenizer->decode(ids, false), decoded ? text_of(*decoded) : text);
  }
  for (const auto& golden : goldens.at("decode").as_array()) {
    Detokenizer detokenizer(*tokenizer);
    std::string text;
    for (const int32_t id : ids_of(golden.at("ids"))) text += detokenizer.add(id);
    EXPECT_EQ(text + detokenizer.finish(), text_of(golden.at("text")));
  }
  EXPECT_EQ(checkpoint.tokenizer.chat_template, read_text_file(golden_path("templates/smollm2.jinja")));
}

}  // namespace
}  // namespace trireme
