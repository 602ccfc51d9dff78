#include "text/chat_template_set.h"

#include "base/error.h"

namespace trireme {

ChatTemplateSet::ChatTemplateSet(const std::string& usual, const std::map<std::string, std::string>& named) {
  if (!usual.empty()) templates_.emplace("default", ChatTemplate(usual));
  for (const auto& [name, source] : named) {
    if (templates_.count(name) > 0) continue;
    try {
      templates_.emplace(name, ChatTemplate(source));
    } catch (const CheckpointError& error) {
      throw CheckpointError("chat template '" + name + "': " + error.what());
    }
  }
}

const ChatTemplate& ChatTemplateSet::select(bool has_tools, const std::string& name) const {
  auto found = !name.empty() ? templates_.find(name) : has_tools ? templates_.find("tool_use") : templates_.end();
  if (found == templates_.end() && name.empty()) found = templates_.find("default");
  if (found != templates_.end()) return found->second;
  std::string names;
  for (const auto& entry : templates_) names += (names.empty() ? "" : ", ") + entry.first;
  if (names.empty()) throw RequestError("the model has no chat template; send a plain prompt instead");
  throw RequestError("the model has no chat template named '" + (name.empty() ? "default" : name) +
                     "'; it has: " + names);
}

}  // namespace trireme
