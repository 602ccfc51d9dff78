// A chat template, and after a zero byte the conversation as JSON (a fixed one when that does not parse). Whatever
// comes, the renderer answers with valid UTF-8 or an Error, and its marks are in order and cut no character.

#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "base/json.h"
#include "text/chat_template.h"
#include "text/unicode.h"

namespace trireme {
namespace {

const json::value& fixed_messages() {
  static const json::value value = json::parse(R"([{"role": "system", "content": " Be terse.\n"},
    {"role": "user", "content": [{"type": "text", "text": "é😀<|im_end|>"}, {"type": "image"}]},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1.5}}}]},
    {"role": "tool", "content": "[1, 2]"}, {"role": "user", "content": "a b,c"}])");
  return value;
}

ChatTemplateInput input_of(std::string_view document) {
  ChatTemplateInput input;
  input.messages = fixed_messages();
  input.variables = {
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"x", 7}, {"l", {3, 1, 2}}, {"d", {{"b", 2}, {"a", "z"}}}};
  json::error_code failed;
  const json::value parsed = json::parse(json::string_view(document.data(), document.size()), failed);
  if (failed) return input;
  if (parsed.is_array()) input.messages = parsed;
  if (!parsed.is_object()) return input;
  const json::object& fields = parsed.get_object();
  for (auto [name, field] :
       {std::pair{"messages", &input.messages}, {"tools", &input.tools}, {"documents", &input.documents}})
    if (const json::value* value = fields.if_contains(name)) *field = *value;
  if (const json::value* kwargs = fields.if_contains("kwargs"); kwargs && kwargs->is_object())
    input.template_kwargs = kwargs->get_object();
  if (const json::value* name = fields.if_contains("continue"); name && name->is_string()) {
    input.continue_final_message = name->get_string();
    input.add_generation_prompt = false;
  }
  return input;
}

void check_marks(const RenderedChat& chat) {
  CHECK(find_invalid_utf8(chat.text) == kValidUtf8);
  size_t at = 0;
  for (const TextSpan& span : chat.untrusted) {
    CHECK(span.begin < span.end && span.end <= chat.text.size() && (at == 0 || span.begin > at));
    for (const size_t edge : {span.begin, span.end})
      CHECK(edge == chat.text.size() || (uint8_t(chat.text[edge]) & 0xC0) != 0x80);
    at = span.end;
  }
}

}  // namespace
}  // namespace trireme

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(bytes.find('\0'), bytes.size());
  try {
    const ChatTemplate chat(bytes.substr(0, end));
    check_marks(chat.render_marked(input_of(bytes.substr(std::min(end + 1, bytes.size())))));
  } catch (const Error&) {
  }
  return 0;
}
