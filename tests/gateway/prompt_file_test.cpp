#include "gateway/prompt_file.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme {
namespace {

std::string refusal(std::string_view text) {
  try {
    parse_prompt_file(text, "f");
  } catch (const RequestError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PromptFile, ReadsOnePromptPerLine) {
  const auto lines = parse_prompt_file("\xEF\xBB\xBFone\r\n\n  two \nthree", "f");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].text, "one");
  EXPECT_EQ(lines[1].text, "  two ");
  EXPECT_EQ(lines[2].text, "three");
  EXPECT_TRUE(parse_prompt_file("\n \n", "f").empty());
}

TEST(PromptFile, ReadsJsonLinesWithSamplingBesideThePrompt) {
  const auto lines = parse_prompt_file(
      "{\"prompt\":\"a\",\"temperature\":0.5,\"top_k\":4,\"stop\":\"x\",\"seed\":18446744073709551615,\"max_tokens\":7}"
      "\n"
      "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"n\":2,\"stop\":[\"x\",\"y\"]}\n"
      "{\"prompt_token_ids\":[1,2,3],\"ignore_eos\":true,\"stop_token_ids\":[4]}\n",
      "f");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].text, "a");
  EXPECT_EQ(lines[0].sampling.temperature, 0.5);
  EXPECT_EQ(lines[0].sampling.seed, UINT64_MAX);
  EXPECT_EQ(lines[0].sampling.max_new_tokens, 7);
  EXPECT_EQ(lines[0].sampling.stop, std::vector<std::string>{"x"});
  EXPECT_TRUE(lines[1].chat);
  EXPECT_EQ(lines[1].sampling.stop.size(), 2u);
  EXPECT_EQ(lines[2].ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(lines[2].sampling.ignore_eos, true);
}

TEST(PromptFile, NamesTheLineOfAMistake) {
  EXPECT_NE(refusal("{\"prompt\":\"a\"}\n\n{\"prompt\"").find("f line 3: "), std::string::npos);
  for (const char* line :
       {"{}", "{\"prompt\":1}", "{\"prompt\":\"a\",\"messages\":[]}", "{\"prompt\":\"a\",\"top_k\":1.5}",
        "{\"prompt\":\"a\",\"tpo_k\":1}", "{\"prompt\":\"a\",\"n\":\"two\"}", "{\"prompt_token_ids\":[-1]}",
        "{\"prompt\":\"a\",\"seed\":-1}", "{\"prompt\":\"a\",\"stop\":3}"})
    EXPECT_NE(refusal(line).find("f line 1: "), std::string::npos) << line << " -> " << refusal(line);
}

TEST(PromptFile, ReadsWhatStandsBesideMessages) {
  const auto lines = parse_prompt_file(
      R"({"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f"}],"documents":[{"text":"d"}],)"
      R"("chat_template_kwargs":{"enable_thinking":false},"add_generation_prompt":false,"chat_template":"rag","n":2})"
      "\n"
      R"({"messages":[{"role":"user","content":"hi"}],"tools":null,"continue_final_message":true})",
      "f");
  ASSERT_EQ(lines.size(), 2u);
  const ChatRequest& chat = *lines[0].chat;
  EXPECT_EQ(json::serialize(chat.tools), R"([{"name":"f"}])");
  EXPECT_EQ(json::serialize(chat.documents), R"([{"text":"d"}])");
  EXPECT_EQ(json::serialize(chat.template_kwargs), R"({"enable_thinking":false})");
  EXPECT_EQ(chat.add_generation_prompt, false);
  EXPECT_FALSE(chat.continue_final_message);
  EXPECT_EQ(chat.template_name, "rag");
  EXPECT_EQ(lines[0].sampling.n, 2);
  EXPECT_TRUE(lines[1].chat->tools.is_null());
  EXPECT_TRUE(lines[1].chat->continue_final_message);
  EXPECT_FALSE(lines[1].chat->add_generation_prompt);
}

TEST(PromptFile, NamesTheKeyOfAChatThatIsWrong) {
  const std::string messages = R"({"messages":[{"role":"user","content":"hi"}],)";
  const std::pair<const char*, const char*> wrong[] = {{"tools", "{}"},
                                                       {"tools", "[1]"},
                                                       {"documents", "\"d\""},
                                                       {"chat_template_kwargs", "[]"},
                                                       {"add_generation_prompt", "1"},
                                                       {"continue_final_message", "\"content\""},
                                                       {"chat_template", "7"}};
  for (const auto& [key, value] : wrong) {
    const std::string text = refusal(messages + "\"" + key + "\":" + value + "}");
    EXPECT_NE(text.find(std::string("f line 1: ") + key), std::string::npos) << text;
  }
  EXPECT_NE(refusal(R"({"messages":["hi"]})").find("messages"), std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"a","tools":[]})").find("tools belongs to messages"), std::string::npos);
  EXPECT_NE(refusal(messages + R"("continue_final_message":true,"add_generation_prompt":true})").find("exclude"),
            std::string::npos);
}

}  // namespace
}  // namespace trireme
