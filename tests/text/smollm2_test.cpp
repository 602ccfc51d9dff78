// The tokenizer and chat template of a real model file: TRIREME_SMOLLM2_GGUF names SmolLM2-135M-Instruct.Q4_1.gguf.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "checkpoint/checkpoint.h"
#include "tests/text/golden.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"

namespace trireme {
namespace {

using testing::golden_json;
using testing::golden_path;
using testing::ids_of;
using testing::text_of;

TokenizerSource source_of(const TokenizerMaterial& material) {
  TokenizerSource source;
  source.gguf_model = material.gguf_model;
  source.gguf_pre = material.gguf_pre;
  source.tokens = material.tokens;
  source.token_types = material.token_types;
  source.merges = material.merges;
  source.bos_id = material.bos_id;
  source.eos_id = material.eos_id;
  source.unknown_id = material.unknown_id;
  source.pad_id = material.pad_id;
  source.add_bos = material.add_bos.value_or(false);
  source.add_space_prefix = material.add_space_prefix.value_or(false);
  return source;
}

TEST(SmolLm2, IdsTextsAndTemplateAreThoseOfHuggingFace) {
  const char* path = std::getenv("TRIREME_SMOLLM2_GGUF");
  if (!path) GTEST_SKIP() << "TRIREME_SMOLLM2_GGUF does not name the model file";
  const Checkpoint checkpoint = open_checkpoint(path, {.need_weights = false});
  const auto start = std::chrono::steady_clock::now();
  const auto tokenizer = make_tokenizer(source_of(checkpoint.tokenizer));
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  std::printf("tokenizer of %d tokens made in %.1f ms\n", tokenizer->vocab_size(), elapsed.count());
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

TEST(SmolLm2, EncodesMegabytesQuickly) {
  const char* path = std::getenv("TRIREME_SMOLLM2_GGUF");
  if (!path) GTEST_SKIP() << "TRIREME_SMOLLM2_GGUF does not name the model file";
  const auto tokenizer = make_tokenizer(source_of(open_checkpoint(path, {.need_weights = false}).tokenizer));
  std::string text;
  for (int i = 0; text.size() < 4'000'000; ++i)
    text += "The rowers of the trireme listened to the piper, and number " + std::to_string(i * 7919) +
            " wasn't late; Stra\u00dfe!\n    return x;\n";
  const auto start = std::chrono::steady_clock::now();
  const auto ids = tokenizer->encode(text);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("encode: %.1f MB/s, %zu ids\n", double(text.size()) / 1e6 / seconds.count(), ids.size());
  EXPECT_EQ(tokenizer->decode(ids), text);
}

}  // namespace
}  // namespace trireme
