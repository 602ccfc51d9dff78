// Renders chat templates for scripts/goldens/check_chat_templates.py: one JSON object a line from standard input,
// {"template", "messages", "tools", "documents", "variables", "template_kwargs", "add_generation_prompt",
// "continue_final_message"}, answered with {"output", "untrusted": [[begin, end], ...]} or {"error"}.

#include <iostream>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/chat_template.h"

namespace trireme {
namespace {

const json::value kNull;

const json::value& field(const json::object& line, std::string_view key) {
  const json::value* value = line.if_contains(key);
  return value ? *value : kNull;
}

json::object object_of(const json::value& value) { return value.is_object() ? value.get_object() : json::object(); }

json::object answer(const json::object& line) {
  ChatTemplateInput input;
  input.messages = field(line, "messages");
  input.tools = field(line, "tools");
  input.documents = field(line, "documents");
  input.variables = object_of(field(line, "variables"));
  input.template_kwargs = object_of(field(line, "template_kwargs"));
  input.add_generation_prompt = field(line, "add_generation_prompt") == json::value(true);
  if (const auto* name = field(line, "continue_final_message").if_string()) input.continue_final_message = *name;
  try {
    const RenderedChat chat = ChatTemplate(field(line, "template").as_string()).render_marked(input);
    json::array spans;
    for (const TextSpan& span : chat.untrusted) spans.push_back(json::array{span.begin, span.end});
    return {{"output", chat.text}, {"untrusted", spans}};
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace trireme

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);)
    std::cout << trireme::json::serialize(trireme::answer(trireme::parse_json(line, "line", 200).as_object())) << '\n';
}
