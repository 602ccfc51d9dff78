#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/parser.h"
#include "text/unicode.h"

namespace trireme {
namespace {

using jinja::Dict;
using jinja::Value;
using jinja::Values;

constexpr int kMaxInputDepth = 64;

std::string checked_text(const boost::json::string& text) {
  std::string bytes(text.data(), text.size());
  if (find_invalid_utf8(bytes) != kValidUtf8) throw RequestError("a text of the conversation is not valid UTF-8");
  return bytes;
}

Value to_value(const boost::json::value& json, int depth) {
  if (depth > kMaxInputDepth)
    throw RequestError("the conversation or its tools are nested more than " + std::to_string(kMaxInputDepth) +
                       " deep");
  if (json.is_bool()) return json.get_bool();
  if (json.is_int64()) return int64_t(json.get_int64());
  if (json.is_uint64()) return double(json.get_uint64());
  if (json.is_double()) return json.get_double();
  if (const auto* text = json.if_string()) return Value(checked_text(*text));
  if (const auto* array = json.if_array()) {
    Values items;
    for (const auto& item : *array) items.push_back(to_value(item, depth + 1));
    return Value::list(std::move(items));
  }
  if (const auto* object = json.if_object()) {
    Dict dict;
    for (const auto& entry : *object)
      dict.set(Value(checked_text(boost::json::string(entry.key()))), to_value(entry.value(), depth + 1));
    return Value::dict(std::move(dict));
  }
  return nullptr;
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source)
    : program_(std::make_unique<Program>(Program{jinja::parse_template(source)})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const ChatTemplateInput& input) const {
  Dict variables;
  variables.set("tools", to_value(input.tools, 0));
  variables.set("documents", nullptr);
  for (const auto& entry : input.variables)
    variables.set(Value(checked_text(boost::json::string(entry.key()))), to_value(entry.value(), 0));
  variables.set("messages", to_value(input.messages, 0));
  variables.set("add_generation_prompt", input.add_generation_prompt);
  jinja::Evaluator evaluator(variables);
  return evaluator.render(program_->body).bytes();
}

}  // namespace trireme
