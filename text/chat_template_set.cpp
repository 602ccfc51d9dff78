#include "text/chat_template_set.h"

#include "base/error.h"
#include "base/json.h"
#include "text/part_fields.h"

namespace trireme {

std::vector<NamedTemplate> list_chat_templates(std::string_view config, std::vector<NamedTemplate> files) {
  if (!files.empty() || config.empty()) return files;
  const json::value document = parse_json(config, "tokenizer_config.json");
  const PartFields fields(document, "tokenizer_config.json");
  const json::value* value = fields.find("chat_template");
  if (!value) return {};
  if (!value->is_array()) return {{"default", fields.text("chat_template")}};
  std::vector<NamedTemplate> templates;
  for (const json::value& item : value->get_array()) {
    const PartFields entry(item, "tokenizer_config.json chat_template");
    templates.push_back({entry.text("name"), entry.text("template")});
  }
  return templates;
}

ChatTemplateSet::ChatTemplateSet(const std::vector<NamedTemplate>& sources) {
  for (const auto& [name, source] : sources) {
    try {
      if (!templates_.emplace(name, ChatTemplate(source)).second)
        throw CheckpointError("the model has two chat templates named '" + name + "'");
    } catch (const CheckpointError& error) {
      if (sources.size() == 1) throw;
      throw CheckpointError("chat template '" + name + "': " + error.what());
    }
  }
}

const ChatTemplate& ChatTemplateSet::select(bool has_tools, const std::string& name) const {
  const auto find = [&](const std::string& wanted) { return templates_.find(wanted); };
  auto found = !name.empty() ? find(name) : has_tools ? find("tool_use") : templates_.end();
  if (found == templates_.end() && name.empty()) found = find("default");
  if (found == templates_.end() && name.empty() && templates_.size() == 1) found = templates_.begin();
  if (found != templates_.end()) return found->second;
  std::string names;
  for (const auto& entry : templates_) names += (names.empty() ? "" : ", ") + entry.first;
  if (names.empty()) throw RequestError("the model has no chat template; send a plain prompt instead");
  throw RequestError("the model has no chat template named '" + (name.empty() ? "default" : name) +
                     "'; it has: " + names);
}

}  // namespace trireme
