#include "gateway/model_assets.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "gateway/generate_job.h"

namespace trireme {
namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    "{% if thinking is defined and not thinking %}SHORT {% endif %}"
    "{% if add_generation_prompt %}assistant: {% endif %}";

std::string model_file(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/models/tiny-llama" + (name.empty() ? "" : "/" + name);
}

// The tiny model's tokenizer, whose end token is called <|im_end|>.
std::unique_ptr<Tokenizer> tokenizer_with_im_end() {
  const auto renamed = [](std::string text) {
    const std::string old = "<|end_of_text|>";
    for (size_t at = text.find(old); at != std::string::npos; at = text.find(old, at))
      text.replace(at, old.size(), "<|im_end|>");
    return text;
  };
  TokenizerSource source;
  source.tokenizer_json = renamed(read_text_file(model_file("tokenizer.json")));
  source.tokenizer_config_json = renamed(read_text_file(model_file("tokenizer_config.json")));
  return make_tokenizer(source);
}

class NoEngine final : public RequestPort {
 public:
  void submit(Request request) override { prompts.push_back(request.prompt); }
  void cancel(RequestId, int32_t) override {}
  std::vector<std::vector<int32_t>> prompts;
};

class NoOutput final : public OutputSink {
 public:
  void on_text(size_t, int, const std::string&) override {}
  void on_finished(const FinishedPrompt& prompt) override { errors.push_back(prompt.error); }
  std::vector<std::string> errors;
};

class ModelAssetsTest : public testing::Test {
 protected:
  ModelAssetsTest() {
    assets_.tokenizer = tokenizer_with_im_end();
    assets_.chat_templates = ChatTemplateSet(kTemplate, {{"tool_use", "T{{ tools | length }}"}, {"rag", "R"}});
    im_end_ = assets_.tokenizer->token_id("<|im_end|>");
  }

  // The prompt that one line of a prompts file becomes.
  std::vector<int32_t> submitted(const std::string& line, GenerateOptions options = {}) {
    NoEngine engine;
    NoOutput output;
    EngineFacts facts;
    facts.vocab_size = assets_.tokenizer->vocab_size();
    facts.max_model_len = 256;
    GenerateJob job(parse_prompt_file(line, "f"), assets_, options, output);
    job.start(facts, engine, TimePoint{});
    error_ = output.errors.empty() ? "" : output.errors[0];
    return engine.prompts.empty() ? std::vector<int32_t>{} : engine.prompts[0];
  }
  std::string text(const std::vector<int32_t>& ids) const { return assets_.tokenizer->decode(ids, false); }

  ModelAssets assets_;
  int32_t im_end_ = -1;
  std::string error_;
};

TEST_F(ModelAssetsTest, SpecialTokensInAMessageArePlainTextUnlessTrusted) {
  const std::string line = R"({"messages":[{"role":"user","content":"a<|im_end|>b"}]})";
  ASSERT_TRUE(assets_.tokenizer->is_special(im_end_));
  const std::vector<int32_t> plain = submitted(line), trusted = submitted(line, {.trust_special_tokens = true});
  EXPECT_EQ(std::ranges::count(plain, im_end_), 1);  // the template's
  EXPECT_EQ(std::ranges::count(trusted, im_end_), 2);
  EXPECT_EQ(text(plain), "user: a<|im_end|>b<|im_end|>assistant: ");
  EXPECT_EQ(text(trusted), text(plain));
  // --chat makes a message of a plain prompt.
  EXPECT_EQ(submitted("a<|im_end|>b", {.chat = true}), plain);
  EXPECT_EQ(submitted("a<|im_end|>b", {.chat = true, .trust_special_tokens = true}), trusted);
}

TEST_F(ModelAssetsTest, TemplateVariablesComeFromTheFlagAndTheLineWins) {
  const GenerateOptions flag{.chat_template_kwargs = {{"thinking", false}}};
  const std::string head = R"({"messages":[{"role":"user","content":"a"}])";
  EXPECT_EQ(text(submitted(head + "}")), "user: a<|im_end|>assistant: ");
  EXPECT_EQ(text(submitted(head + "}", flag)), "user: a<|im_end|>SHORT assistant: ");
  EXPECT_EQ(text(submitted(head + R"(,"chat_template_kwargs":{"thinking":false}})")),
            "user: a<|im_end|>SHORT assistant: ");
  EXPECT_EQ(text(submitted(head + R"(,"chat_template_kwargs":{"thinking":true}})", flag)),
            "user: a<|im_end|>assistant: ");
}

TEST_F(ModelAssetsTest, ToolsAndNamesChooseTheTemplate) {
  const std::string head = R"({"messages":[{"role":"user","content":"a"}])";
  EXPECT_EQ(text(submitted(head + R"(,"tools":[{"name":"f"}]})")), "T1");
  EXPECT_EQ(text(submitted(head + R"(,"tools":[]})")), "T0");
  EXPECT_EQ(text(submitted(head + R"(,"tools":[],"chat_template":"rag"})")), "R");
  EXPECT_TRUE(submitted(head + R"(,"chat_template":"other"})").empty());
  EXPECT_NE(error_.find("default, rag, tool_use"), std::string::npos) << error_;
}

TEST_F(ModelAssetsTest, AChatMayEndInTheMiddleOfItsLastMessage) {
  const std::string head = R"({"messages":[{"role":"assistant","content":"I am"}])";
  EXPECT_EQ(text(submitted(head + R"(,"continue_final_message":true})")), "assistant: I am");
  EXPECT_EQ(text(submitted(head + R"(,"add_generation_prompt":false})")), "assistant: I am<|im_end|>");
}

TEST_F(ModelAssetsTest, AFileTakesThePlaceOfTheModelsTemplates) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("trireme-template-" + std::to_string(::getpid()) + ".jinja");
  const auto open = [&](const std::string& source) {
    std::ofstream(path) << source;
    return open_model_assets(model_file(""), true, path);
  };
  EXPECT_EQ(open("[{{ messages[0].content }}]").render_chat(user_message("hi")).text, "[hi]");
  const auto refusal = [&](const auto& act) -> std::string {
    try {
      act();
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  const std::string unparsable = refusal([&] { open("a\n{% if %}"); }), empty = refusal([&] { open(""); });
  std::filesystem::remove(path);
  const std::string missing = refusal([&] { open_model_assets(model_file(""), true, path); });
  const std::string folder = refusal([&] { open_model_assets(model_file(""), true, model_file("")); });
  EXPECT_NE(folder.find("directory"), std::string::npos) << folder;
  for (const std::string& text : {unparsable, empty, missing})
    EXPECT_EQ(text.find("--chat-template " + path + ": "), 0u) << text;
  EXPECT_NE(unparsable.find("line 2"), std::string::npos) << unparsable;
  EXPECT_NE(missing.find("cannot open"), std::string::npos) << missing;
}

}  // namespace
}  // namespace trireme
