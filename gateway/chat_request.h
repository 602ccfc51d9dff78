#pragma once
// One conversation as a client sends it: the messages and what may stand beside them.

#include <optional>
#include <string>

#include "base/json.h"

namespace trireme {

struct ChatRequest {
  json::value messages;                       // array of {role, content, ...}
  json::value tools, documents;               // arrays of objects; null: none
  json::object template_kwargs;               // chat_template_kwargs: further variables of the template
  std::optional<bool> add_generation_prompt;  // absent: true, unless the final message is to be continued
  bool continue_final_message = false;        // the answer goes on with the last message's content
  std::string template_name;                  // chat_template; "": the model's choice
};

ChatRequest user_message(const std::string& text);

// Takes "messages" and what belongs to it out of `object`; nothing when there is no "messages". A key that is null is
// absent. Throws RequestError naming the key that has the wrong type, or that stands there without messages.
std::optional<ChatRequest> take_chat(json::object& object);

}  // namespace trireme
