#pragma once
// The chat templates of one model: most have one, some have others by name ("tool_use", "rag").

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"

namespace trireme {

struct NamedTemplate {
  std::string name;  // "default" is the usual one
  std::string source;
};

// What a model directory holds: `files` are chat_template.jinja ("default") and additional_chat_templates/NAME.jinja;
// when there are none, tokenizer_config.json's chat_template counts, a string or a list of {name, template}. `config`
// may be empty. Throws CheckpointError.
std::vector<NamedTemplate> list_chat_templates(std::string_view config, std::vector<NamedTemplate> files);

class ChatTemplateSet {
 public:
  // Throws CheckpointError that names the template which does not parse, or when two have one name.
  explicit ChatTemplateSet(const std::vector<NamedTemplate>& sources);

  bool empty() const { return templates_.empty(); }
  // The one of that name; without a name "tool_use" when there are tools, else "default". A model's only template
  // serves every request. Throws RequestError that lists the names.
  const ChatTemplate& select(bool has_tools, const std::string& name = "") const;

 private:
  std::map<std::string, ChatTemplate> templates_;
};

}  // namespace trireme
