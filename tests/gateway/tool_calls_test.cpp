#include "gateway/tool_calls.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"

namespace trireme {
namespace {

struct Whole {
  std::string content;
  std::vector<ToolDelta> calls;  // merged
  bool operator==(const Whole&) const = default;
};

void merge(Whole& whole, const ToolParse& part) {
  whole.content += part.content;
  for (const ToolDelta& delta : part.calls) {
    if (!delta.name.empty()) {
      EXPECT_EQ(size_t(delta.index), whole.calls.size());
      whole.calls.push_back({delta.index, delta.name, ""});
    }
    ASSERT_LT(size_t(delta.index), whole.calls.size()) << "arguments before a name";
    whole.calls[size_t(delta.index)].arguments += delta.arguments;
  }
}

Whole parse(ToolFormat format, const std::vector<std::string>& parts) {
  ToolCallParser parser(format);
  Whole whole;
  for (const std::string& part : parts) merge(whole, parser.add(part));
  merge(whole, parser.finish());
  return whole;
}

// However the text is divided, the same comes out.
Whole parse_every_way(ToolFormat format, const std::string& text) {
  const Whole whole = parse(format, {text});
  for (size_t cut = 0; cut <= text.size(); ++cut)
    EXPECT_EQ(parse(format, {text.substr(0, cut), text.substr(cut)}), whole) << "cut at " << cut;
  std::vector<std::string> letters;
  for (char c : text) letters.emplace_back(1, c);
  EXPECT_EQ(parse(format, letters), whole) << "letter by letter";
  return whole;
}

TEST(ToolCalls, HermesCallsWithTextAroundThem) {
  const Whole whole = parse_every_way(ToolFormat::hermes,
                                      "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"a}\\\"<\", "
                                      "\"y\": [1, {}]}}\n</tool_call>\n<tool_call>{\"arguments\": {}, \"name\": "
                                      "\"g\"}</tool_call>\n bye");
  EXPECT_EQ(whole.content, "Let me see.\nbye");
  ASSERT_EQ(whole.calls.size(), 2u);
  EXPECT_EQ(whole.calls[0].name, "f");
  EXPECT_EQ(json::parse(whole.calls[0].arguments).at("x").as_string(), "a}\"<");
  EXPECT_EQ(whole.calls[1].name, "g");
  EXPECT_EQ(whole.calls[1].arguments, "{}");
}

TEST(ToolCalls, ArgumentsComeAsTheyAreWritten) {
  ToolCallParser parser(ToolFormat::hermes);
  EXPECT_TRUE(parser.add("<tool_call>{\"name\": \"we").calls.empty());
  const ToolParse begun = parser.add("ather\", \"arguments\": {\"city");
  ASSERT_EQ(begun.calls.size(), 1u);
  EXPECT_EQ(begun.calls[0], (ToolDelta{0, "weather", "{\"city"}));
  EXPECT_EQ(parser.add("\": \"Ulm\"").calls.at(0), (ToolDelta{0, "", "\": \"Ulm\""}));
}

TEST(ToolCalls, LlamaCallsAreTheWholeAnswer) {
  const Whole whole = parse_every_way(
      ToolFormat::llama3_json,
      "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"x\": 1}}; {\"name\": \"g\", \"parameters\": \"{\\\"y\\\": 2}\"}");
  EXPECT_EQ(whole.content, "");
  ASSERT_EQ(whole.calls.size(), 2u);
  EXPECT_EQ(whole.calls[0].arguments, "{\"x\": 1}");
  EXPECT_EQ(whole.calls[1].arguments, "{\"y\": 2}");
  EXPECT_EQ(parse_every_way(ToolFormat::llama3_json, " hi {\"name\": 1}").content, " hi {\"name\": 1}");
  EXPECT_EQ(parse_every_way(ToolFormat::llama3_json, "{\"answer\": 42, \"b\": null}").content,
            "{\"answer\": 42, \"b\": null}");
}

TEST(ToolCalls, MistralInItsThreeForms) {
  const Whole list = parse_every_way(
      ToolFormat::mistral,
      "ok[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": []}}, {\"name\": \"g\", \"arguments\": {}}]");
  EXPECT_EQ(list.content, "ok");
  ASSERT_EQ(list.calls.size(), 2u);
  EXPECT_EQ(list.calls[0].arguments, "{\"x\": []}");
  const Whole bare = parse_every_way(ToolFormat::mistral, "[TOOL_CALLS]f{\"x\": {\"y\": 1}}[TOOL_CALLS]g[ARGS]{\"z\": 2}");
  ASSERT_EQ(bare.calls.size(), 2u);
  EXPECT_EQ(bare.calls[0].name, "f");
  EXPECT_EQ(bare.calls[0].arguments, "{\"x\": {\"y\": 1}}");
  EXPECT_EQ(bare.calls[1].name, "g");
  EXPECT_EQ(bare.calls[1].arguments, "{\"z\": 2}");
  EXPECT_EQ(bare.content, "");
}

TEST(ToolCalls, WhatIsNoCallStaysText) {
  for (const std::string text : {"<tool_call>{\"x\": 1}</tool_call>", "<tool_call>nothing", "<tool", "a <tool_calls> b"})
    EXPECT_EQ(parse_every_way(ToolFormat::hermes, text), (Whole{text, {}})) << text;
  for (const std::string text : {"[TOOL_CALLS] some words\n", "[TOOL_CALLS]name", "[TOOL"})
    EXPECT_EQ(parse_every_way(ToolFormat::mistral, text), (Whole{text, {}})) << text;
  EXPECT_EQ(parse_every_way(ToolFormat::none, "<tool_call>{}").content, "<tool_call>{}");
}

TEST(ToolCalls, ACallThatBreaksOffKeepsWhatCame) {
  const Whole whole = parse_every_way(ToolFormat::hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1");
  ASSERT_EQ(whole.calls.size(), 1u);
  EXPECT_EQ(whole.calls[0].arguments, "{\"x\": 1");
}

TEST(ToolCalls, TheFormatIsTheTemplates) {
  EXPECT_EQ(tool_format("auto", "... <tool_call> ..."), ToolFormat::hermes);
  EXPECT_EQ(tool_format("auto", "[TOOL_CALLS]"), ToolFormat::mistral);
  EXPECT_EQ(tool_format("auto", "<|python_tag|>"), ToolFormat::llama3_json);
  EXPECT_EQ(tool_format("auto", "{{ x }}"), ToolFormat::none);
  EXPECT_EQ(tool_format("hermes", ""), ToolFormat::hermes);
  EXPECT_THROW(tool_format("other", ""), ConfigError);
}

}  // namespace
}  // namespace trireme
