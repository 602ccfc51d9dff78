#include "checkpoint/gguf.h"
#include "tests/checkpoint/gguf_builder.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

ModelConfig read_config(const GgufBuilder& builder) {
  const TempDirectory folder;
  return gguf_model_config(open_gguf_model(folder.write("x.gguf", builder.bytes())));
}

TokenizerMaterial read_tokenizer(const GgufBuilder& builder) {
  const TempDirectory folder;
  return gguf_tokenizer(read_gguf_header(InputFile(folder.write("x.gguf", builder.bytes()))).metadata);
}

TEST(GgufConfig, ReadsTheGoldenFile) {
  const ModelConfig config = gguf_model_config(open_gguf_model(golden_path("tiny.gguf")));
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.intermediate_size, 32);
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.num_heads, 4);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.vocab_size, 40);
  EXPECT_EQ(config.max_positions, 128);
  EXPECT_EQ(config.norm_eps, double(1e-5f));
  EXPECT_EQ(config.hidden_act, "silu");
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.rope.type, "default");
  EXPECT_EQ(config.rope.rotary_dim, 16);
  EXPECT_EQ(config.dtype, DType::bf16);
  EXPECT_EQ(config.bos_token_id, 0);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{1, 2}));
}

TEST(GgufConfig, ReadsTheTokenizerOfTheGoldenFile) {
  const TokenizerMaterial material = gguf_tokenizer(read_gguf_header(InputFile(golden_path("tiny.gguf"))).metadata);
  EXPECT_EQ(material.gguf_model, "gpt2");
  EXPECT_EQ(material.gguf_pre, "smollm");
  EXPECT_EQ(material.tokens.size(), 40u);
  EXPECT_EQ(material.token_types[1], 3);
  EXPECT_EQ(material.merges, (std::vector<std::string>{"t 1", "t 2"}));
  EXPECT_EQ(material.bos_id, 0);
  EXPECT_EQ(material.eos_id, 1);
  EXPECT_EQ(material.unknown_id, -1);
  EXPECT_EQ(material.add_bos, std::optional<bool>(false));
  EXPECT_EQ(material.chat_template, "{{ messages }}");
}

TEST(GgufConfig, AbsentTokenizerFlagsAreToldFromFalse) {
  EXPECT_EQ(read_tokenizer(small_llama_gguf()).add_bos, std::nullopt);
  EXPECT_EQ(read_tokenizer(small_llama_gguf().flag("tokenizer.ggml.add_bos_token", false)).add_bos,
            std::optional<bool>(false));
  EXPECT_EQ(read_tokenizer(small_llama_gguf().flag("tokenizer.ggml.add_eos_token", true)).add_eos,
            std::optional<bool>(true));
}

TEST(GgufConfig, IdsOutsideTheVocabularyMeanNone) {
  EXPECT_EQ(read_tokenizer(small_llama_gguf().u32("tokenizer.ggml.padding_token_id", 0xffffffff)).pad_id, -1);
  EXPECT_EQ(read_config(small_llama_gguf().u32("tokenizer.ggml.eot_token_id", 77)).eos_token_ids,
            (std::vector<int64_t>{4}));
}

TEST(GgufConfig, RefusesTokenTypesThatDoNotMatch) {
  expect_error(
      [] {
        read_tokenizer(small_llama_gguf().key("tokenizer.ggml.token_type", kArray,
                                              little_endian(kI32, 4) + little_endian(1, 8) + little_endian(1, 4)));
      },
      {"1 token types for 5 tokens"});
}

TEST(GgufConfig, RefusesWhatIsNotRead) {
  const auto with_architecture = [](const std::string& name) {
    return GgufBuilder().text("general.architecture", name);
  };
  expect_error([&] { read_config(with_architecture("mamba")); }, {"x.gguf", "\"mamba\"", "llama, qwen2"});
  expect_error([&] { read_config(with_architecture("llama")); }, {"token_embd.weight"});
  expect_error([&] { read_config(small_llama_gguf().u32("llama.expert_count", 8)); }, {"mixture of experts"});
  expect_error([&] { read_config(small_llama_gguf().u32("split.count", 3)); }, {"3 files", "-of-00003.gguf"});
}

TEST(GgufConfig, RefusesFiguresThatDoNotFit) {
  const auto with = [](const std::string& key, uint64_t value) {
    return small_llama_gguf().u32("llama." + key, value);
  };
  expect_error([&] { read_config(with("attention.key_length", 3)); }, {"head size 3"});
  expect_error([&] { read_config(with("attention.value_length", 8)); }, {"head size 4"});
  expect_error([&] { read_config(with("rope.dimension_count", 2)); }, {"2 of 4 dimensions"});
  expect_error([&] { read_config(with("rope.scaling.factor", 2).text("llama.rope.scaling.type", "spiral")); },
               {"\"spiral\"", "llama3"});
  expect_error([&] { read_config(with("rope.freq_base", 0)); }, {"rope_theta"});
  GgufBuilder builder;
  builder.text("general.architecture", "llama").zeros("token_embd.weight", {8, 5});
  expect_error([&] { read_config(builder); }, {"llama.embedding_length", "missing"});
  builder.u32("llama.embedding_length", 0xffffffff);
  expect_error([&] { read_config(builder); }, {"llama.embedding_length", "4294967295"});
}

TEST(GgufConfig, ReadsLinearAndYarnScaling) {
  const ModelConfig linear = read_config(small_llama_gguf().f32("llama.rope.scale_linear", 4));
  EXPECT_EQ(linear.rope.type, "linear");
  EXPECT_EQ(linear.rope.factor, 4);
  EXPECT_EQ(linear.max_positions, 256);
  const ModelConfig yarn = read_config(small_llama_gguf()
                                           .text("llama.rope.scaling.type", "yarn")
                                           .f32("llama.rope.scaling.factor", 8)
                                           .u32("llama.rope.scaling.original_context_length", 32));
  EXPECT_EQ(yarn.rope.type, "yarn");
  EXPECT_EQ(yarn.rope.original_max_positions, 32);
  EXPECT_EQ(yarn.max_positions, 256);
  EXPECT_NEAR(yarn.rope.attention_factor, 1.2079442, 1e-6);
}

GgufBuilder llama31(const std::vector<float>& divisors) {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").u32("llama.context_length", 131072).u32("llama.embedding_length", 8);
  builder.u32("llama.block_count", 1).u32("llama.feed_forward_length", 6).u32("llama.attention.head_count", 1);
  builder.u32("llama.attention.key_length", 128).f32("llama.rope.freq_base", 500000);
  return builder.zeros("token_embd.weight", {8, 5}).tensor("rope_freqs.weight", {uint64_t(divisors.size())}, divisors);
}

TEST(GgufConfig, RecognisesLlama31RopeByItsDivisors) {
  std::vector<float> divisors = golden_floats(golden_path("gguf.json"), "llama31_rope_freqs");
  const ModelConfig config = read_config(llama31(divisors));
  EXPECT_EQ(config.rope.type, "llama3");
  EXPECT_NEAR(config.rope.factor, 8, 1e-4);
  EXPECT_EQ(config.rope.low_freq_factor, 1);
  EXPECT_EQ(config.rope.high_freq_factor, 4);
  EXPECT_EQ(config.rope.original_max_positions, 8192);
  divisors[30] *= 1.1f;
  expect_error([&] { read_config(llama31(divisors)); }, {"rope_freqs.weight", "Llama 3.1"});
  expect_error([&] { read_config(llama31({1, 8})); }, {"rope_freqs.weight"});
}

}  // namespace
}  // namespace trireme::test
