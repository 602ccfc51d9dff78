#pragma once
// A request's conversation as the values a template sees, prepared as Transformers prepares it.

#include <set>
#include <string>

#include "text/chat_template.h"
#include "text/jinja/value.h"

namespace trireme {

// Ends the text of a message that is to be continued, so that its place in the output is found again.
inline constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

struct ChatInput {
  jinja::Dict variables;
  std::string final_text;  // of the message to be continued, without the tag
};

// `literals`: the strings of the template. Throws RequestError.
ChatInput prepare_chat_input(const ChatTemplateInput& input, const std::string& template_source,
                             const std::set<std::string>& literals);

}  // namespace trireme
