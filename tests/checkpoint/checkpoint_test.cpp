#include "checkpoint/checkpoint.h"

#include "tests/checkpoint/gguf_builder.h"
#include "tests/checkpoint/test_files.h"

namespace trireme::test {
namespace {

namespace fs = std::filesystem;

void copy_model(const std::string& name, const TempDirectory& folder) {
  fs::copy(model_folder(name), folder.path(), fs::copy_options::recursive);
}

void expect_open_fails(const std::string& model, const std::vector<std::string>& parts,
                       const CheckpointOptions& options = {}) {
  expect_error([&] { open_checkpoint(model, options); }, parts);
}

TEST(Checkpoint, OpensASingleFileModel) {
  const Checkpoint checkpoint = open_checkpoint(model_folder("tiny-llama") + "/");
  EXPECT_EQ(checkpoint.name, "tiny-llama");
  EXPECT_EQ(checkpoint.format, "safetensors");
  EXPECT_EQ(checkpoint.config.num_heads, 9);
  EXPECT_EQ(checkpoint.config.rope.theta, 10000);
  EXPECT_EQ(checkpoint.config.eos_token_ids, (std::vector<int64_t>{1}));
  EXPECT_EQ(checkpoint.source->require("model.layers.4.mlp.down_proj.weight", {144, 200}).dtype, DType::f32);
  EXPECT_NE(checkpoint.tokenizer.tokenizer_json.find("\"vocab\""), std::string::npos);
  EXPECT_NE(checkpoint.tokenizer.chat_template.find("add_generation_prompt"), std::string::npos);
}

TEST(Checkpoint, OpensAShardedModelWithTemplateFileAndSeveralEndIds) {
  const Checkpoint checkpoint = open_checkpoint(model_folder("tiny-llama3"));
  EXPECT_EQ(checkpoint.config.rope.type, "llama3");
  EXPECT_EQ(checkpoint.config.dtype, DType::bf16);
  EXPECT_EQ(checkpoint.config.eos_token_ids, (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(checkpoint.config.tie_word_embeddings);
  EXPECT_EQ(checkpoint.source->require("model.layers.0.self_attn.q_proj.weight", {256, 96}).dtype, DType::bf16);
  EXPECT_EQ(checkpoint.source->find("lm_head.weight"), nullptr);
  EXPECT_EQ(checkpoint.tokenizer.chat_template, slurp(model_folder("tiny-llama3") + "/chat_template.jinja"));
}

TEST(Checkpoint, OpensGpt2) {
  const Checkpoint checkpoint = open_checkpoint(model_folder("tiny-gpt2"));
  EXPECT_EQ(checkpoint.config.architecture, "GPT2LMHeadModel");
  checkpoint.source->require("transformer.h.0.attn.c_attn.weight", {96, 288});
  EXPECT_TRUE(checkpoint.tokenizer.chat_template.empty());
}

TEST(Checkpoint, OpensGguf) {
  const Checkpoint checkpoint = open_checkpoint(golden_path("tiny.gguf"));
  EXPECT_EQ(checkpoint.format, "gguf");
  EXPECT_EQ(checkpoint.name, "tiny");
  EXPECT_EQ(checkpoint.tokenizer.tokens.size(), 40u);
  EXPECT_NE(checkpoint.source, nullptr);
}

TEST(Checkpoint, OpensABareConfigWithoutWeights) {
  const std::string path = std::string(TRIREME_SOURCE_DIR) + "/configs/models/llama-3.1-8b.json";
  const Checkpoint checkpoint = open_checkpoint(path, {.need_weights = false, .need_tokenizer = false});
  EXPECT_EQ(checkpoint.name, "llama-3.1-8b");
  EXPECT_EQ(checkpoint.format, "config");
  EXPECT_EQ(checkpoint.source, nullptr);
  expect_open_fails(path, {"llama-3.1-8b.json", "without weights", "--load-format dummy"});
  expect_open_fails(path, {"without a tokenizer"}, {.need_weights = false});
}

TEST(Checkpoint, WeightsAndTokenizerMayBeAbsentWhenNotNeeded) {
  const TempDirectory folder;
  copy_model("tiny-llama", folder);
  fs::remove(folder.path() + "/model.safetensors");
  fs::remove(folder.path() + "/tokenizer.json");
  fs::remove(folder.path() + "/generation_config.json");
  const Checkpoint checkpoint = open_checkpoint(folder.path(), {.need_weights = false, .need_tokenizer = false});
  EXPECT_EQ(checkpoint.source, nullptr);
  expect_open_fails(folder.path(), {"tokenizer.json is missing", "save_pretrained"});
  expect_open_fails(folder.path(), {"model.safetensors", "download"}, {.need_tokenizer = false});
}

TEST(Checkpoint, ResolvesNamesInTheHubCache) {
  const TempDirectory cache;
  const std::string commit(40, '0');
  fs::create_directories(cache.path() + "/models--org--tiny/snapshots");
  fs::copy(model_folder("tiny-llama3"), cache.path() + "/models--org--tiny/snapshots/" + commit);
  cache.write("models--org--tiny/refs/main", commit);
  ::setenv("HF_HUB_CACHE", cache.path().c_str(), 1);
  EXPECT_EQ(open_checkpoint("org/tiny").name, "org/tiny");
  expect_open_fails("org/absent", {"org/absent", cache.path(), "hf download org/absent"});
  fs::remove(cache.path() + "/models--org--tiny/snapshots/" + commit + "/model-00002-of-00002.safetensors");
  expect_open_fails("org/tiny", {"model-00002-of-00002.safetensors is missing", "hf download org/tiny"});
  ::unsetenv("HF_HUB_CACHE");
}

TEST(Checkpoint, SaysWhatTheModelArgumentMayBe) {
  for (const std::string model : {"", "/nonexistent/model", "../nowhere/x", "a/b/c", "models/x.gguf/"})
    expect_open_fails(model, {"directory", ".gguf", "org/name"});
}

TEST(Checkpoint, PointsAtTheFileThatWasMeant) {
  const TempDirectory folder;
  expect_open_fails(folder.path(), {"config.json is missing"});
  const std::string gguf = folder.write("m.gguf", small_llama_gguf().bytes());
  expect_open_fails(folder.path(), {"config.json is missing", "name the file " + gguf});
  EXPECT_EQ(open_checkpoint(gguf).config.vocab_size, 5);
  expect_open_fails(folder.write("model.safetensors", "x"), {"name the directory"});
  expect_open_fails(folder.write("notes.txt", "hello there"), {"notes.txt", "GGUF"});
}

TEST(Checkpoint, ChoosesTheChatTemplate) {
  const TempDirectory folder;
  copy_model("tiny-gpt2", folder);
  const auto chosen = [&](const std::string& tokenizer_config) {
    folder.write("tokenizer_config.json", tokenizer_config);
    return open_checkpoint(folder.path()).tokenizer.chat_template;
  };
  EXPECT_EQ(chosen("{}"), "");
  EXPECT_EQ(chosen(R"({"chat_template":"A"})"), "A");
  EXPECT_EQ(chosen(R"({"chat_template":[{"name":"rag","template":"R"},{"name":"default","template":"D"}]})"), "D");
  EXPECT_EQ(chosen(R"({"chat_template":[{"name":"rag","template":"R"},{"name":"tools","template":"T"}]})"), "R");
  expect_error([&] { chosen(R"({"chat_template":7})"); }, {"tokenizer_config.json", "chat_template"});
  expect_error([&] { chosen(R"({"chat_template":[7]})"); }, {"tokenizer_config.json", "chat_template"});
  folder.write("chat_template.jinja", "F");
  EXPECT_EQ(chosen(R"({"chat_template":"A"})"), "F");
}

TEST(Checkpoint, KeepsNamedChatTemplates) {
  const TempDirectory folder;
  copy_model("tiny-gpt2", folder);
  folder.write("tokenizer_config.json",
               R"({"chat_template":[{"name":"rag","template":"R"},{"name":"default","template":"D"}]})");
  folder.write("additional_chat_templates/tool_use.jinja", "T");
  const TokenizerMaterial material = open_checkpoint(folder.path()).tokenizer;
  EXPECT_EQ(material.chat_template, "D");
  EXPECT_EQ(material.named_templates,
            (std::map<std::string, std::string>{{"default", "D"}, {"rag", "R"}, {"tool_use", "T"}}));
}

TEST(Checkpoint, CompletesTheNamesOfInnerModels) {
  const TempDirectory folder;
  copy_model("tiny-gpt2", folder);
  const std::string path = folder.path() + "/model.safetensors";
  std::string bytes = slurp(path);
  for (size_t at; (at = bytes.find("\"transformer.")) != std::string::npos;) {
    bytes.replace(at, 13, "\"");
    bytes.insert(bytes.find("}}", at) + 2, 12, ' ');
  }
  folder.write("model.safetensors", bytes);
  open_checkpoint(folder.path()).source->require("transformer.wte.weight", {515, 96});
}

TEST(Checkpoint, TruncatedWeightsAreNamed) {
  const TempDirectory folder;
  copy_model("tiny-llama3", folder);
  const std::string path = folder.path() + "/model-00001-of-00002.safetensors";
  fs::resize_file(path, fs::file_size(path) - 1);
  expect_open_fails(folder.path(), {path, "tensor \"model.", "truncated", "download"});
}

}  // namespace
}  // namespace trireme::test
