#pragma once
// The chat templates of one model: most have one, some have others by name ("tool_use", "rag").

#include <map>
#include <string>

#include "text/chat_template.h"

namespace trireme {

class ChatTemplateSet {
 public:
  // `usual` serves where no other is chosen; it may be empty. Throws CheckpointError that names the template which
  // does not parse.
  ChatTemplateSet(const std::string& usual, const std::map<std::string, std::string>& named);

  bool empty() const { return templates_.empty(); }
  // The one of that name; without a name "tool_use" when the request has tools (an empty list, too) and the model such
  // a template, else the usual one. Throws RequestError that lists the names.
  const ChatTemplate& select(bool has_tools, const std::string& name = "") const;

 private:
  std::map<std::string, ChatTemplate> templates_;  // the usual one is "default"
};

}  // namespace trireme
