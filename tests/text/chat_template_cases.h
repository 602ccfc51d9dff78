#pragma once
// What the tests of chat templates share: the goldens that transformers rendered, and rendering in one call.

#include <string>

#include "tests/text/golden.h"
#include "text/chat_template.h"

namespace trireme::test {

inline const json::value& goldens() {
  static const json::value value = golden_json("chat_template_goldens.json");
  return value;
}

inline const json::array& conversations() { return goldens().at("conversations").as_array(); }

inline ChatTemplateInput input_of(const json::object& variables) {
  ChatTemplateInput input;
  input.add_generation_prompt = false;
  for (const auto& variable : variables) {
    if (variable.key() == "messages")
      input.messages = variable.value();
    else if (variable.key() == "tools")
      input.tools = variable.value();
    else if (variable.key() == "documents")
      input.documents = variable.value();
    else if (variable.key() == "continue_final_message")
      input.continue_final_message = text_of(variable.value());
    else if (variable.key() == "add_generation_prompt")
      input.add_generation_prompt = variable.value().as_bool();
    else
      input.variables[variable.key()] = variable.value();
  }
  return input;
}

inline std::string render(const std::string& source, const json::object& variables = {}) {
  return ChatTemplate(source).render(input_of(variables));
}

// What an error says; "" when there is none.
template <typename Expected, typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  }
  return "";
}

}  // namespace trireme::test
