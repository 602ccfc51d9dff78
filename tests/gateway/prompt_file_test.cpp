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
  EXPECT_TRUE(lines[1].messages);
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

}  // namespace
}  // namespace trireme
