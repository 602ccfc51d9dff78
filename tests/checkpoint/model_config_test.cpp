#include "checkpoint/model_config.h"

#include "checkpoint/rope_scaling.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

json::object llama() {
  return parse_json(
             R"({"architectures":["LlamaForCausalLM"],"hidden_size":144,"intermediate_size":200,"num_hidden_layers":5,
    "num_attention_heads":9,"num_key_value_heads":3,"vocab_size":515,"max_position_embeddings":2048,"rms_norm_eps":1e-5,
    "bos_token_id":0,"eos_token_id":1,"torch_dtype":"bfloat16"})",
             "test")
      .as_object();
}

ModelConfig parse(const json::object& object) { return parse_model_config(json::serialize(object), "config.json"); }

ModelConfig parse_with(json::object object, const std::string& key, const std::string& value) {
  object[key] = parse_json(value, "value");
  return parse(object);
}

void expect_refused(const json::object& object, const std::string& key, const std::string& value,
                    const std::vector<std::string>& parts) {
  expect_error([&] { parse_with(object, key, value); }, parts);
}

ModelConfig parse_folder(const std::string& path) { return parse_model_config(slurp(path), path); }

TEST(ModelConfig, ReadsLlamaAndFillsInWhatIsAbsent) {
  const ModelConfig config = parse(llama());
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.hidden_act, "silu");
  EXPECT_EQ(config.rope.type, "default");
  EXPECT_EQ(config.rope.theta, 10000);
  EXPECT_EQ(config.rope.rotary_dim, 16);
  EXPECT_EQ(config.dtype, DType::bf16);
  EXPECT_FALSE(config.tie_word_embeddings || config.attention_bias || config.mlp_bias);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{1}));
  json::object object = llama();
  object.erase("num_key_value_heads");
  EXPECT_EQ(parse(object).num_kv_heads, 9);
}

TEST(ModelConfig, ReadsBothSpellingsOfRope) {
  const std::string figures =
      R"("factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64)";
  json::object old_spelling = llama();
  old_spelling["rope_theta"] = 500000.0;
  for (const std::string type : {"rope_type", "type"}) {
    const RopeConfig rope =
        parse_with(old_spelling, "rope_scaling", "{\"" + type + "\":\"llama3\"," + figures + "}").rope;
    EXPECT_EQ(rope.type, "llama3");
    EXPECT_EQ(rope.theta, 500000);
    EXPECT_EQ(rope.factor, 8);
    EXPECT_EQ(rope.original_max_positions, 64);
  }
  const RopeConfig rope =
      parse_with(llama(), "rope_parameters", "{\"rope_type\":\"llama3\",\"rope_theta\":500000.0," + figures + "}").rope;
  EXPECT_EQ(rope.type, "llama3");
  EXPECT_EQ(rope.theta, 500000);
  EXPECT_EQ(rope.high_freq_factor, 4);
  EXPECT_EQ(parse_with(llama(), "rope_parameters", R"({"rope_type":"default","rope_theta":7.0})").rope.theta, 7);
  EXPECT_EQ(parse_with(old_spelling, "rope_scaling", "null").rope.theta, 500000);
}

TEST(ModelConfig, RefusesRopeThatIsNotComputed) {
  for (const std::string type : {"linear", "dynamic", "yarn", "longrope"})
    expect_refused(llama(), "rope_scaling", "{\"rope_type\":\"" + type + "\",\"factor\":2}",
                   {"config.json", type, "supported: default, llama3"});
  expect_refused(llama(), "rope_scaling", R"({"rope_type":"llama3"})", {"rope_scaling", "\"factor\"", "missing"});
  expect_refused(llama(), "rope_scaling",
                 R"({"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1,)"
                 R"("original_max_position_embeddings":64})",
                 {"low_freq_factor"});
  expect_refused(llama(), "rope_scaling", "7", {"rope_scaling", "object"});
  expect_refused(llama(), "rope_theta", "0", {"rope_theta", "positive"});
  expect_refused(llama(), "partial_rotary_factor", "0.5", {"partial_rotary_factor"});
}

TEST(ModelConfig, ReadsBothSpellingsOfDtype) {
  EXPECT_EQ(parse_with(llama(), "dtype", "\"float16\"").dtype, DType::f16);
  EXPECT_EQ(parse_with(llama(), "torch_dtype", "\"float32\"").dtype, DType::f32);
  EXPECT_EQ(parse_with(llama(), "torch_dtype", "null").dtype, DType::f32);
  expect_refused(llama(), "dtype", "\"int3\"", {"\"dtype\"", "int3", "bfloat16"});
}

TEST(ModelConfig, ReadsGpt2) {
  json::object object =
      parse_json(R"({"architectures":["GPT2LMHeadModel"],"n_embd":96,"n_head":6,"n_layer":4,"n_positions":64,)"
                 R"("vocab_size":60000})",
                 "test")
          .as_object();
  const ModelConfig config = parse(object);
  EXPECT_EQ(config.architecture, "GPT2LMHeadModel");
  EXPECT_EQ(config.intermediate_size, 384);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.num_kv_heads, 6);
  EXPECT_EQ(config.max_positions, 64);
  EXPECT_EQ(config.hidden_act, "gelu_new");
  EXPECT_TRUE(config.tie_word_embeddings && config.attention_bias && config.mlp_bias);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{50256}));
  EXPECT_EQ(parse_with(object, "n_inner", "136").intermediate_size, 136);
  EXPECT_FALSE(parse_with(object, "tie_word_embeddings", "false").tie_word_embeddings);
  EXPECT_TRUE(parse_with(object, "vocab_size", "1000").eos_token_ids.empty());  // the family's default is outside
  expect_refused(object, "activation_function", "\"relu\"", {"activation_function", "gelu_new", "relu"});
  expect_refused(object, "n_head", "7", {"n_head", "divide"});
  expect_refused(object, "scale_attn_weights", "false", {"scale_attn_weights"});
  expect_refused(object, "scale_attn_by_inverse_layer_idx", "true", {"scale_attn_by_inverse_layer_idx"});
}

TEST(ModelConfig, ListsTheArchitecturesThatAreSupported) {
  expect_refused(llama(), "architectures", R"(["MambaForCausalLM"])",
                 {"config.json", "MambaForCausalLM", "LlamaForCausalLM, GPT2LMHeadModel"});
  expect_refused(llama(), "architectures", "[]", {"architectures"});
  json::object object = llama();
  object.erase("architectures");
  expect_error([&] { parse(object); }, {"supported: LlamaForCausalLM"});
  object["model_type"] = "llama";
  EXPECT_EQ(parse(object).architecture, "LlamaForCausalLM");
}

TEST(ModelConfig, RefusesFiguresThatDoNotFit) {
  expect_refused(llama(), "hidden_size", "0", {"\"hidden_size\"", "got 0"});
  expect_refused(llama(), "hidden_size", "145", {"num_attention_heads", "divide"});
  expect_refused(llama(), "hidden_size", "1e30", {"\"hidden_size\""});
  expect_refused(llama(), "num_key_value_heads", "4", {"num_key_value_heads", "divide"});
  expect_refused(llama(), "num_hidden_layers", "\"5\"", {"num_hidden_layers", "integer"});
  expect_refused(llama(), "num_hidden_layers", "null", {"num_hidden_layers", "missing"});
  expect_refused(llama(), "vocab_size", "99999999999", {"vocab_size"});
  expect_refused(llama(), "head_dim", "15", {"head_dim", "even"});
  expect_refused(llama(), "hidden_act", "\"gelu\"", {"hidden_act", "silu"});
  expect_refused(llama(), "rms_norm_eps", "-1", {"epsilon"});
  expect_refused(llama(), "attention_bias", "1", {"attention_bias", "true or false"});
  expect_refused(llama(), "quantization_config", "{}", {"quantization_config", "GGUF"});
  expect_refused(llama(), "eos_token_id", "515", {"eos_token_id", "515"});
  expect_error([] { parse_model_config("[]", "config.json"); }, {"config.json", "object"});
  expect_error([] { parse_model_config("{", "config.json"); }, {"config.json", "line 1"});
}

TEST(ModelConfig, UnitesEndOfSequenceIds) {
  ModelConfig config = parse_with(llama(), "eos_token_id", "[1, 5]");
  const GenerationDefaults defaults =
      parse_generation_config(R"({"eos_token_id":[5,7],"temperature":0.6,"top_p":0.9,"top_k":50,"do_sample":true,)"
                              R"("max_new_tokens":10,"min_p":null})",
                              "generation_config.json", config);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{1, 5, 7}));
  EXPECT_EQ(defaults.temperature, 0.6);
  EXPECT_EQ(defaults.top_p, 0.9);
  EXPECT_EQ(defaults.top_k, 50);
  EXPECT_EQ(defaults.do_sample, true);
  EXPECT_EQ(defaults.max_new_tokens, 10);
  EXPECT_FALSE(defaults.min_p || defaults.max_length || defaults.repetition_penalty);
  EXPECT_TRUE(parse_with(llama(), "eos_token_id", "null").eos_token_ids.empty());
  EXPECT_TRUE(parse_with(llama(), "eos_token_id", "-1").eos_token_ids.empty());
  EXPECT_EQ(parse_with(llama(), "bos_token_id", "null").bos_token_id, -1);
  expect_error([&] { parse_generation_config(R"({"top_p":"x"})", "generation_config.json", config); },
               {"generation_config.json", "top_p"});
}

TEST(ModelConfig, ReadsTheCommittedShapes) {
  const std::string folder = std::string(TRIREME_SOURCE_DIR) + "/configs/models/";
  const ModelConfig llama8 = parse_folder(folder + "llama-3.1-8b.json");
  EXPECT_EQ(llama8.head_dim, 128);
  EXPECT_EQ(llama8.rope.type, "llama3");
  EXPECT_EQ(llama8.eos_token_ids.size(), 3u);
  EXPECT_EQ(parse_folder(folder + "llama-3.1-70b.json").num_layers, 80);
  EXPECT_EQ(parse_folder(folder + "smollm2-135m.json").num_heads, 9);
  EXPECT_EQ(parse_folder(folder + "gpt2-124m.json").intermediate_size, 3072);
}

TEST(RopeScaling, DivisorsEqualTransformers) {
  RopeConfig rope{.type = "llama3",
                  .theta = 500000,
                  .factor = 8,
                  .low_freq_factor = 1,
                  .high_freq_factor = 4,
                  .original_max_positions = 8192,
                  .rotary_dim = 128};
  const std::vector<float> expected = golden_floats(golden_path("gguf.json"), "llama31_rope_freqs");
  const std::vector<double> divisors = rope_divisors(rope);
  ASSERT_EQ(divisors.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(divisors[i], expected[i], 1e-5 * expected[i]) << i;
  rope.type = "default";
  EXPECT_EQ(rope_divisors(rope), std::vector<double>(64, 1.0));
}

}  // namespace
}  // namespace trireme::test
