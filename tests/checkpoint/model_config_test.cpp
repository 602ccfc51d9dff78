#include "checkpoint/model_config.h"

#include <cmath>

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

TEST(ModelConfig, ReadsEveryRopeType) {
  const auto rope = [](const std::string& figures) { return parse_with(llama(), "rope_scaling", figures).rope; };
  EXPECT_EQ(rope(R"({"type":"linear","factor":4.0})").factor, 4);
  const RopeConfig dynamic = rope(R"({"type":"dynamic","factor":2.0})");
  EXPECT_EQ(dynamic.original_max_positions, 2048);
  const RopeConfig yarn = rope(R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":512})");
  EXPECT_EQ(yarn.beta_fast, 32);
  EXPECT_TRUE(yarn.truncate);
  EXPECT_NEAR(yarn.attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  EXPECT_NEAR(rope(R"({"rope_type":"yarn","factor":40,"mscale":1.0,"mscale_all_dim":0.707})").attention_factor,
              (0.1 * std::log(40.0) + 1) / (0.0707 * std::log(40.0) + 1), 1e-12);
  EXPECT_EQ(rope(R"({"rope_type":"yarn","factor":40,"attention_factor":1.5})").attention_factor, 1.5);
  const RopeConfig longrope = rope(R"({"type":"longrope","short_factor":[1,1,1,1,1,1,1,1],)"
                                   R"("long_factor":[1,2,3,4,5,6,7,8],"original_max_position_embeddings":64})");
  EXPECT_EQ(longrope.long_factor.back(), 8);
  EXPECT_NEAR(longrope.attention_factor, std::sqrt(1 + std::log(32.0) / std::log(64.0)), 1e-12);
}

TEST(ModelConfig, ScaledRopeExtendsTheContext) {
  const auto read = [](const std::string& figures) { return parse_with(llama(), "rope_scaling", figures); };
  EXPECT_EQ(read(R"({"type":"linear","factor":4.0})").max_positions, 8192);
  EXPECT_EQ(read(R"({"type":"dynamic","factor":2.0})").max_positions, 2048);
  EXPECT_EQ(read(R"({"type":"dynamic","factor":2.0})").longest_context(), 4096);
  EXPECT_EQ(read(R"({"type":"yarn","factor":4.0,"original_max_position_embeddings":2048})").max_positions, 8192);
  EXPECT_EQ(read(R"({"type":"yarn","factor":4.0,"original_max_position_embeddings":512})").max_positions, 2048);
  EXPECT_EQ(parse(llama()).longest_context(), 2048);
  EXPECT_EQ(read(R"({"type":"linear","factor":1e300})").max_positions, int64_t(1) << 31);
}

TEST(ModelConfig, RefusesRopeThatIsNotComputed) {
  expect_refused(llama(), "rope_scaling", R"({"rope_type":"mrope","factor":2})",
                 {"config.json", "mrope", "supported: default, linear, dynamic, llama3, yarn, longrope"});
  expect_refused(llama(), "rope_scaling", R"({"rope_type":"llama3"})", {"rope_scaling", "\"factor\"", "missing"});
  expect_refused(llama(), "rope_scaling",
                 R"({"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1,)"
                 R"("original_max_position_embeddings":64})",
                 {"low_freq_factor"});
  expect_refused(llama(), "rope_scaling", R"({"type":"linear","factor":0.5})", {"linear", "factor >= 1"});
  expect_refused(llama(), "rope_scaling", R"({"type":"yarn","factor":2,"beta_fast":1,"beta_slow":4})", {"beta_fast"});
  expect_refused(llama(), "rope_scaling", R"({"type":"longrope","short_factor":[1],"long_factor":[1]})",
                 {"longrope", "8 positive numbers", "short_factor"});
  expect_refused(llama(), "rope_scaling", R"({"type":"longrope","short_factor":"x"})", {"short_factor", "list"});
  expect_refused(llama(), "rope_scaling", "7", {"rope_scaling", "object"});
  expect_refused(llama(), "rope_theta", "0", {"rope_theta", "positive"});
  expect_refused(llama(), "partial_rotary_factor", "0.2", {"partial_rotary_factor", "even"});
  expect_refused(llama(), "partial_rotary_factor", "2", {"partial_rotary_factor"});
  expect_refused(llama(), "rope_parameters", R"({"full_attention":{"rope_type":"default"}})", {"by layer type"});
  EXPECT_EQ(parse_with(llama(), "partial_rotary_factor", "0.5").rope.rotary_dim, 8);
}

json::object family(const std::string& architecture) {
  json::object object = llama();
  object["architectures"] = json::array{json::string(architecture)};
  return object;
}

TEST(ModelConfig, ReadsMistral) {
  const json::object mistral = family("MistralForCausalLM");
  EXPECT_EQ(parse_with(mistral, "sliding_window", "64").layer_windows, std::vector<int32_t>(5, 64));
  EXPECT_EQ(parse_with(mistral, "sliding_window", "null").window(4), 0);
  EXPECT_EQ(parse(mistral).window(0), 4096);  // what the family has where the key is absent
  EXPECT_EQ(parse_with(mistral, "head_dim", "32").head_dim, 32);
  EXPECT_EQ(parse_with(mistral, "head_dim", "null").head_dim, 16);
  EXPECT_FALSE(parse(mistral).attention_bias);
  json::object ministral = family("MinistralForCausalLM");
  ministral["sliding_window"] = 8;
  const std::string types = R"(["sliding_attention","full_attention","full_attention","full_attention",)"
                            R"("sliding_attention"])";
  EXPECT_EQ(parse_with(ministral, "layer_types", types).layer_windows, (std::vector<int32_t>{8, 0, 0, 0, 8}));
  expect_refused(ministral, "layer_types", R"(["full_attention"])", {"layer_types", "1 layers of 5"});
  expect_refused(ministral, "layer_types", R"(["a","b","c","d","e"])", {"layer_types", "sliding_attention", "\"a\""});
}

TEST(ModelConfig, ReadsQwen) {
  json::object qwen2 = family("Qwen2ForCausalLM");
  qwen2["sliding_window"] = 32;
  qwen2["max_window_layers"] = 3;
  EXPECT_TRUE(parse(qwen2).attention_bias);
  EXPECT_FALSE(parse(qwen2).output_bias);
  EXPECT_EQ(parse(qwen2).window(4), 0);
  EXPECT_EQ(parse_with(qwen2, "use_sliding_window", "true").layer_windows, (std::vector<int32_t>{0, 0, 0, 32, 32}));
  const json::object qwen3 = family("Qwen3ForCausalLM");
  EXPECT_EQ(parse(qwen3).head_dim, 128);
  EXPECT_FALSE(parse(qwen3).attention_bias);
  EXPECT_TRUE(parse_with(qwen3, "attention_bias", "true").output_bias);
}

TEST(ModelConfig, ReadsGemma2) {
  json::object gemma = family("Gemma2ForCausalLM");
  gemma["query_pre_attn_scalar"] = 144;
  const ModelConfig config = parse(gemma);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.hidden_act, "gelu_tanh");
  EXPECT_EQ(config.norm_offset, 1);
  EXPECT_EQ(config.embedding_scale, 12);
  EXPECT_NEAR(config.attention_scale, 1.0 / 12, 1e-15);
  EXPECT_EQ(config.attention_soft_cap, 50);
  EXPECT_EQ(config.logits_soft_cap, 30);
  EXPECT_EQ(config.layer_windows, (std::vector<int32_t>{4096, 0, 4096, 0, 4096}));
  EXPECT_EQ(parse_with(gemma, "attn_logit_softcapping", "null").attention_soft_cap, 0);
  expect_refused(gemma, "attn_logit_softcapping", "-1", {"attn_logit_softcapping"});
  expect_refused(gemma, "hidden_activation", "\"relu\"", {"hidden_activation", "gelu_pytorch_tanh"});
  expect_refused(gemma, "use_bidirectional_attention", "true", {"use_bidirectional_attention"});
}

// As the first multimodal checkpoints were published: nearly everything left to the defaults.
TEST(ModelConfig, ReadsNestedGemma3InBothSpellings) {
  const json::object old_spelling =
      parse_json(R"({"architectures":["Gemma3ForConditionalGeneration"],"eos_token_id":[1,106],"torch_dtype":"bfloat16",
      "text_config":{"hidden_size":2560,"intermediate_size":10240,"num_hidden_layers":34,"sliding_window":1024,
      "rope_scaling":{"factor":8.0,"rope_type":"linear"}}})",
                 "test")
          .as_object();
  const json::object new_spelling =
      parse_json(R"({"architectures":["Gemma3ForConditionalGeneration"],"eos_token_id":[1,106],"text_config":{
      "hidden_size":2560,"intermediate_size":10240,"num_hidden_layers":34,"sliding_window":1024,"dtype":"bfloat16",
      "rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0,"rope_theta":1000000.0},
                         "sliding_attention":{"rope_type":"default","rope_theta":10000.0}}}})",
                 "test")
          .as_object();
  for (const json::object& object : {old_spelling, new_spelling}) {
    const ModelConfig config = parse(object);
    EXPECT_EQ(config.num_heads, 8);
    EXPECT_EQ(config.head_dim, 256);
    EXPECT_EQ(config.vocab_size, 262208);
    EXPECT_EQ(config.max_positions, 131072);
    EXPECT_EQ(config.window(4), 1024);
    EXPECT_EQ(config.window(5), 0);
    EXPECT_EQ(config.rope.type, "linear");
    EXPECT_EQ(config.rope.theta, 1000000);
    ASSERT_TRUE(config.windowed_rope);
    EXPECT_EQ(config.windowed_rope->type, "default");
    EXPECT_EQ(config.windowed_rope->theta, 10000);
    EXPECT_EQ(config.dtype, DType::bf16);
    EXPECT_EQ(config.bos_token_id, 2);
    EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{1, 106}));
  }
  expect_refused(old_spelling, "text_config", "null", {"text_config", "missing"});
}

TEST(ModelConfig, ReadsPhi3) {
  json::object phi = family("Phi3ForCausalLM");
  phi["original_max_position_embeddings"] = 64;
  for (const std::string type : {"su", "longrope", "yarn"}) {
    const RopeConfig rope = parse_with(phi, "rope_scaling",
                                       "{\"type\":\"" + type + "\",\"short_factor\":[1,1,1,1,1,1,1,1]," +
                                           "\"long_factor\":[1,1,1,1,1,1,1,2]}")
                                .rope;
    EXPECT_EQ(rope.type, "longrope");
    EXPECT_EQ(rope.original_max_positions, 64);
  }
  EXPECT_EQ(parse_with(phi, "sliding_window", "2047").window(3), 2047);
  EXPECT_EQ(parse(phi).window(3), 0);
  expect_refused(phi, "attention_bias", "true", {"attention_bias"});
}

TEST(ModelConfig, ReadsOlmo2AndGlm4) {
  EXPECT_EQ(parse_with(family("Olmo2ForCausalLM"), "rms_norm_eps", "null").norm_eps, 1e-5);
  json::object glm = family("Glm4ForCausalLM");
  glm["head_dim"] = 16;
  const ModelConfig config = parse(glm);
  EXPECT_TRUE(config.attention_bias && config.rope.interleaved);
  EXPECT_FALSE(config.output_bias);
  EXPECT_EQ(config.rope.rotary_dim, 8);
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
                 {"config.json", "MambaForCausalLM", "LlamaForCausalLM, MistralForCausalLM", "GPT2LMHeadModel"});
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
  const ModelConfig qwen3 = parse_folder(folder + "qwen3-0.6b.json");
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_EQ(qwen3.rope.theta, 1000000);
  EXPECT_TRUE(qwen3.tie_word_embeddings);
  EXPECT_EQ(qwen3.window(27), 0);
  EXPECT_EQ(parse_folder(folder + "qwen2.5-7b.json").num_kv_heads, 4);
  EXPECT_EQ(parse_folder(folder + "mistral-7b.json").window(0), 0);
  EXPECT_EQ(parse_folder(folder + "gemma-2-9b.json").attention_scale, 1.0 / 16);
  const ModelConfig gemma3 = parse_folder(folder + "gemma-3-1b.json");
  EXPECT_EQ(gemma3.window(4), 512);
  EXPECT_EQ(gemma3.window(5), 0);
  EXPECT_EQ(gemma3.rope.theta, 1000000);
  EXPECT_EQ(gemma3.windowed_rope->theta, 10000);
  EXPECT_EQ(parse_folder(folder + "phi-4.json").rope.theta, 250000);
  EXPECT_EQ(parse_folder(folder + "olmo-2-7b.json").head_dim, 128);
  EXPECT_EQ(parse_folder(folder + "glm-4-9b.json").rope.rotary_dim, 64);
  for (const auto& file : std::filesystem::directory_iterator(folder))
    EXPECT_GT(parse_folder(file.path().string()).vocab_size, 0) << file.path();
}

TEST(RopeScaling, FrequenciesEqualTransformers) {
  const std::string path = golden_path("rope.json");
  const json::value document = parse_json(slurp(path), path);
  for (const json::value& entry : document.at("cases").as_array()) {
    const std::string name(entry.at("name").as_string());
    SCOPED_TRACE(name);
    const ModelConfig config = parse_model_config(std::string(entry.at("config").as_string()), "config.json");
    const std::vector<float> expected = golden_floats(path, name);
    const std::vector<float> got = rope_frequencies(config.rope, entry.at("length").as_int64());
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 4e-7 * double(expected[i])) << i;
    EXPECT_NEAR(config.rope.attention_factor, entry.at("attention_factor").to_number<double>(), 1e-12);
  }
}

TEST(RopeScaling, DivisorsEqualTransformers) {
  RopeConfig rope;
  rope.type = "llama3";
  rope.theta = 500000;
  rope.rotary_dim = 128;
  rope.factor = 8;
  rope.original_max_positions = 8192;
  const std::vector<float> expected = golden_floats(golden_path("gguf.json"), "llama31_rope_freqs");
  const std::vector<double> divisors = rope_divisors(rope);
  ASSERT_EQ(divisors.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(divisors[i], expected[i], 1e-5 * expected[i]) << i;
  rope.type = "default";
  EXPECT_EQ(rope_divisors(rope), std::vector<double>(64, 1.0));
}

}  // namespace
}  // namespace trireme::test
