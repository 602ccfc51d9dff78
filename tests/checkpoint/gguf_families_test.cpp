// The same tiny model as Hugging Face directory and as GGUF file must be the same model: every tensor bit for bit,
// every figure of the config (scripts/goldens/make_gguf_families.py).

#include <set>

#include "base/half.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_names.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

const char* const kFamilies[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"};

Checkpoint open_family(const std::string& name) {
  return open_checkpoint(golden_path("families/" + name), {.need_weights = true, .need_tokenizer = false});
}

std::vector<std::byte> read_all(const TensorSource& source, const TensorInfo& tensor) {
  std::vector<std::byte> bytes(size_t(tensor.bytes));
  source.read(tensor, 0, tensor.rows(), 0, tensor.columns(), bytes.data());
  return bytes;
}

std::vector<float> to_floats(DType dtype, const std::vector<std::byte>& bytes) {
  const size_t size = size_t(dtype_block_bytes(dtype));
  std::vector<float> values(bytes.size() / size);
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::f32) {
      std::memcpy(&values[i], &bytes[4 * i], 4);
    } else {
      uint16_t half;
      std::memcpy(&half, &bytes[2 * i], 2);
      EXPECT_EQ(dtype, DType::f16);
      values[i] = f16_to_f32(half);
    }
  }
  return values;
}

// As Hugging Face has it.
std::vector<float> values_of(const TensorSource& source, const TensorInfo& tensor) {
  const std::vector<float> stored = to_floats(tensor.dtype, read_all(source, tensor));
  if (!tensor.transposed) return stored;
  const size_t rows = size_t(tensor.rows()), columns = size_t(tensor.columns());
  std::vector<float> turned(stored.size());
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c) turned[c * rows + r] = stored[r * columns + c];
  return turned;
}

void expect_same_tensors(const std::string& family, const TensorSource& gguf, const TensorSource& directory) {
  std::set<std::string> seen;
  for (const TensorInfo& expected : directory.tensors()) {
    const TensorInfo* tensor = gguf.find(expected.name);
    ASSERT_NE(tensor, nullptr) << family << " " << expected.name;
    std::vector<int64_t> shape = tensor->shape;
    if (tensor->transposed) std::swap(shape[0], shape[1]);
    EXPECT_EQ(shape, expected.shape) << expected.name;
    std::vector<float> wanted = values_of(directory, expected);
    const bool one_added = family.starts_with("gemma") && expected.name.ends_with("norm.weight");
    for (float& value : wanted) value += one_added ? 1.0f : 0.0f;
    EXPECT_EQ(values_of(gguf, *tensor), wanted) << family << " " << expected.name;
    seen.insert(expected.name);
  }
  for (const TensorInfo& tensor : gguf.tensors())
    EXPECT_TRUE(seen.contains(tensor.name)) << family << " " << tensor.name;
}

TEST(GgufFamilies, TensorsEqualTheHuggingFaceDirectory) {
  for (const std::string family : kFamilies) {
    const Checkpoint gguf = open_family(family + ".gguf"), directory = open_family(family);
    expect_same_tensors(family, *gguf.source, *directory.source);
  }
}

void expect_same_rope(const RopeConfig& a, const RopeConfig& b, const std::string& family) {
  EXPECT_EQ(a.type, b.type) << family;
  EXPECT_EQ(a.theta, b.theta) << family;
  EXPECT_EQ(a.rotary_dim, b.rotary_dim) << family;
  EXPECT_EQ(a.interleaved, b.interleaved) << family;
  EXPECT_EQ(a.short_factor, b.short_factor) << family;
  EXPECT_EQ(a.long_factor, b.long_factor) << family;
  EXPECT_NEAR(a.attention_factor, b.attention_factor, 1e-6) << family;
  if (a.type == "default") return;
  EXPECT_EQ(a.factor, b.factor) << family;
  EXPECT_EQ(a.original_max_positions, b.original_max_positions) << family;
  EXPECT_EQ(a.beta_fast, b.beta_fast) << family;
  EXPECT_EQ(a.beta_slow, b.beta_slow) << family;
}

void expect_same_windows(const ModelConfig& a, const ModelConfig& b, const std::string& family) {
  for (int64_t layer = 0; layer < a.num_layers; ++layer)
    EXPECT_EQ(a.window(layer), b.window(layer)) << family << " layer " << layer;
}

TEST(GgufFamilies, ConfigsEqualConfigJson) {
  for (const std::string family : kFamilies) {
    const ModelConfig a = open_family(family + ".gguf").config, b = open_family(family).config;
    EXPECT_EQ(a.architecture, b.architecture);
    EXPECT_EQ(a.hidden_size, b.hidden_size) << family;
    EXPECT_EQ(a.intermediate_size, b.intermediate_size) << family;
    EXPECT_EQ(a.num_layers, b.num_layers) << family;
    EXPECT_EQ(a.num_heads, b.num_heads) << family;
    EXPECT_EQ(a.num_kv_heads, b.num_kv_heads) << family;
    EXPECT_EQ(a.head_dim, b.head_dim) << family;
    EXPECT_EQ(a.vocab_size, b.vocab_size) << family;
    EXPECT_EQ(a.max_positions, b.max_positions) << family;
    EXPECT_EQ(float(a.norm_eps), float(b.norm_eps)) << family;
    EXPECT_EQ(a.norm_offset, family.starts_with("gemma") ? 0 : b.norm_offset) << family;
    EXPECT_EQ(a.hidden_act, b.hidden_act) << family;
    EXPECT_EQ(a.tie_word_embeddings, b.tie_word_embeddings) << family;
    EXPECT_EQ(a.attention_bias, b.attention_bias) << family;
    EXPECT_EQ(a.output_bias, b.output_bias) << family;
    EXPECT_EQ(a.mlp_bias, b.mlp_bias) << family;
    EXPECT_EQ(a.attention_scale, b.attention_scale) << family;
    EXPECT_EQ(a.attention_soft_cap, b.attention_soft_cap) << family;
    EXPECT_EQ(a.logits_soft_cap, b.logits_soft_cap) << family;
    EXPECT_EQ(a.embedding_scale, b.embedding_scale) << family;
    EXPECT_EQ(a.dtype, b.dtype) << family;
    EXPECT_EQ(a.bos_token_id, b.bos_token_id) << family;
    EXPECT_EQ(a.eos_token_ids, b.eos_token_ids) << family;
    expect_same_windows(a, b, family);
    ASSERT_EQ(a.windowed_rope.has_value(), b.windowed_rope.has_value()) << family;
    if (a.windowed_rope) expect_same_rope(*a.windowed_rope, *b.windowed_rope, family);
    if (family != "gpt2") expect_same_rope(a.rope, b.rope, family);
  }
}

TEST(GgufFamilies, APartOfASplitModelOpensTheWhole) {
  const Checkpoint directory = open_family("qwen2");
  for (const std::string part : {"1", "2", "3"}) {
    const Checkpoint split = open_family("qwen2-split-0000" + part + "-of-00003.gguf");
    EXPECT_EQ(split.config.architecture, "Qwen2ForCausalLM");
    EXPECT_EQ(split.name, "qwen2-split");
    expect_same_tensors("qwen2", *split.source, *directory.source);
  }
}

class SplitFiles {
 public:
  SplitFiles() {
    for (int part = 1; part <= 3; ++part) std::filesystem::copy(golden_path("families/" + name(part)), folder_.path());
  }
  static std::string name(int part) { return "qwen2-split-0000" + std::to_string(part) + "-of-00003.gguf"; }
  std::string path(int part) const { return folder_.path() + "/" + name(part); }
  void expect_refused(const std::vector<std::string>& parts) const {
    expect_error([&] { open_gguf_model(path(1)); }, parts);
  }

 private:
  TempDirectory folder_;
};

TEST(GgufFamilies, RefusesSplitModelsThatAreNotWhole) {
  SplitFiles missing;
  std::filesystem::remove(missing.path(2));
  missing.expect_refused({SplitFiles::name(2), "is missing", "all parts"});
  SplitFiles repeated;
  std::filesystem::copy_file(repeated.path(3), repeated.path(2), std::filesystem::copy_options::overwrite_existing);
  repeated.expect_refused({"part 2 of 3"});
  SplitFiles foreign;
  std::filesystem::copy_file(golden_path("families/qwen2.gguf"), foreign.path(2),
                             std::filesystem::copy_options::overwrite_existing);
  foreign.expect_refused({"part 2 of 3"});
  SplitFiles renamed;
  std::filesystem::rename(renamed.path(1), renamed.path(1) + ".x.gguf");
  expect_error([&] { open_gguf_model(renamed.path(1) + ".x.gguf"); }, {"3 files", "-of-00003.gguf"});
}

TEST(GgufFamilies, TokenizerMaterialIsComplete) {
  const TokenizerMaterial material = open_family("llama.gguf").tokenizer;
  EXPECT_EQ(material.gguf_model, "llama");
  EXPECT_EQ(material.tokens.size(), 24u);
  ASSERT_EQ(material.scores.size(), 24u);
  EXPECT_EQ(material.scores[3], -0.375f);
  EXPECT_EQ(material.token_types[2], 3);
  EXPECT_EQ(material.add_bos, std::optional<bool>(true));
  EXPECT_EQ(material.add_eos, std::optional<bool>(false));
  EXPECT_EQ(material.add_space_prefix, std::nullopt);
  EXPECT_EQ(material.bos_id, 1);
  EXPECT_EQ(material.eos_id, 2);
  EXPECT_EQ(material.pad_id, 0);
  EXPECT_EQ(material.unknown_id, -1);
  EXPECT_EQ(material.chat_template, "{{ messages }}");
  EXPECT_EQ(material.named_templates.at("tool_use"), "{{ tools }}");
}

// Published files name their parts in ways that no tiny model here has.
TEST(GgufFamilies, NamesOutsideTheTablesAreRefused) {
  const GgufFamily& gemma = find_gguf_family("gemma2", "f");
  EXPECT_EQ(translate_gguf_name(gemma, "blk.1.post_ffw_norm.weight", 2)->hugging_face,
            "model.layers.1.post_feedforward_layernorm.weight");
  EXPECT_FALSE(translate_gguf_name(find_gguf_family("qwen2", "f"), "blk.1.post_ffw_norm.weight", 2));
  EXPECT_FALSE(translate_gguf_name(gemma, "blk.2.ffn_up.weight", 2));
  expect_error([] { find_gguf_family("mamba", "f.gguf"); }, {"f.gguf", "\"mamba\"", "llama", "gemma3", "phi3"});
}

}  // namespace
}  // namespace trireme::test
