#include "text/chat_input.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/operations.h"
#include "text/unicode.h"

namespace trireme {
namespace {

using jinja::Dict;
using jinja::Text;
using jinja::Value;
using jinja::Values;

constexpr int kMaxInputDepth = 64;
constexpr std::string_view kReasoningFields[] = {"reasoning_content", "thinking", "reasoning"};

Text checked_text(const boost::json::string& text, bool trusted) {
  std::string bytes(text.data(), text.size());
  if (find_invalid_utf8(bytes) != kValidUtf8) throw RequestError("a text of the conversation is not valid UTF-8");
  return trusted ? Text(std::move(bytes)) : Text::untrusted(std::move(bytes));
}

Value to_value(const boost::json::value& json, bool trusted, int depth = 0) {
  if (depth > kMaxInputDepth)
    throw RequestError("the conversation or its tools are nested more than " + std::to_string(kMaxInputDepth) +
                       " deep");
  if (json.is_bool()) return json.get_bool();
  if (json.is_int64()) return int64_t(json.get_int64());
  if (json.is_uint64()) return double(json.get_uint64());
  if (json.is_double()) return json.get_double();
  if (const auto* text = json.if_string()) return Value(checked_text(*text, trusted));
  if (const auto* array = json.if_array()) {
    Values items;
    for (const auto& item : *array) items.push_back(to_value(item, trusted, depth + 1));
    return Value::list(std::move(items));
  }
  if (const auto* object = json.if_object()) {
    Dict dict;
    for (const auto& entry : *object)
      dict.set(Value(checked_text(boost::json::string(entry.key()), trusted)),
               to_value(entry.value(), trusted, depth + 1));
    return Value::dict(std::move(dict));
  }
  return nullptr;
}

// A role that the template compares with or that every API knows. Others may be half of a special token: "<|" ~
// role ~ "|>".
bool is_known_role(const std::string& role, const std::set<std::string>& literals) {
  constexpr std::string_view kRoles[] = {"system",   "user",    "assistant", "tool",        "developer",
                                         "function", "ipython", "model",     "observation", "tool_response"};
  const auto is_plain = [](char c) { return std::isalnum(uint8_t(c)) || c == '_' || c == '-'; };
  if (!std::all_of(role.begin(), role.end(), is_plain)) return false;
  return std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles) || literals.count(role) > 0;
}

const Value* present(const Dict& message, std::string_view key) {
  const Value* value = message.find(key);
  return value && !value->is_none() ? value : nullptr;
}

// Without the keys that are null, and with reasoning under all its names.
Dict normalized_message(const Dict& message, const std::set<std::string>& literals) {
  const Value* reasoning = nullptr;
  for (const std::string_view field : kReasoningFields)
    if (!reasoning) reasoning = present(message, field);
  Dict out;
  if (reasoning) out.set("thinking", *reasoning);
  for (const auto& [key, value] : message.entries()) {
    if (value.is_none()) continue;
    const bool trusted =
        key.if_text()->bytes() == "role" && value.if_text() && is_known_role(value.if_text()->bytes(), literals);
    out.set(key, trusted ? Value(value.if_text()->bytes()) : value);
  }
  if (reasoning) out.set("reasoning_content", *reasoning);
  return out;
}

Values objects_of(const Value& value, const char* name) {
  const auto* list = value.if_list();
  if (!list || !std::all_of(list->items.begin(), list->items.end(), [](const Value& v) { return v.if_dict(); }))
    throw RequestError(std::string(name) + " must be an array of objects");
  return list->items;
}

Text with_tag(const Value& value, std::string& final_text) {
  const Text* text = value.if_text();
  if (!text) throw RequestError("continue_final_message: the final message has no text to continue");
  final_text = text->bytes();
  Text tagged = *text;
  tagged.append(kContinueTag);
  return tagged;
}

// The last part with a text, of a content that is a list of parts.
Value with_tag_in_parts(const Value& parts, std::string& final_text) {
  Values items = parts.if_list()->items;
  for (auto item = items.rbegin(); item != items.rend(); ++item) {
    const Value* text = item->if_dict() ? item->if_dict()->find(std::string_view("text")) : nullptr;
    if (!text) continue;
    Dict part = *item->if_dict();
    part.set("text", with_tag(*text, final_text));
    *item = Value::dict(std::move(part));
    return Value::list(std::move(items));
  }
  throw RequestError("continue_final_message: the final message has no part with a text");
}

bool is_reasoning(std::string_view field) {
  return std::find(std::begin(kReasoningFields), std::end(kReasoningFields), field) != std::end(kReasoningFields);
}

void tag_final_message(Dict& message, const std::string& field, const std::string& template_source,
                       std::string& final_text) {
  const Value* found = present(message, field);
  if (!found) throw RequestError("continue_final_message: the final message has no '" + field + "' to continue");
  const Value original = *found;
  std::vector<std::string> fields = {field};
  if (is_reasoning(field)) {
    fields.clear();
    for (const std::string_view alias : kReasoningFields) {
      const Value* copy = present(message, alias);
      jinja::Budget budget;
      if (copy && jinja::equal(budget, *copy, original)) fields.emplace_back(alias);
    }
  }
  if (std::none_of(fields.begin(), fields.end(),
                   [&](const std::string& f) { return template_source.find(f) != std::string::npos; }))
    throw RequestError("continue_final_message: the chat template does not use the field '" + field + "'");
  const bool in_parts = original.if_list() != nullptr;
  const Value tagged = in_parts ? with_tag_in_parts(original, final_text) : Value(with_tag(original, final_text));
  for (const std::string& name : in_parts ? std::vector<std::string>{field} : fields) message.set(Value(name), tagged);
}

void check_reserved(const boost::json::object& kwargs) {
  for (const char* name : {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"})
    if (kwargs.contains(name))
      throw RequestError(std::string("chat_template_kwargs cannot hold '") + name + "': it is a field of the request");
}

}  // namespace

ChatInput prepare_chat_input(const ChatTemplateInput& input, const std::string& template_source,
                             const std::set<std::string>& literals) {
  if (!input.continue_final_message.empty() && input.add_generation_prompt)
    throw RequestError("continue_final_message and add_generation_prompt exclude each other");
  check_reserved(input.template_kwargs);
  ChatInput out;
  const auto set_objects = [&](const char* name, const boost::json::value& json) {
    const Value value = to_value(json, false);
    if (!value.is_none()) objects_of(value, name);
    out.variables.set(name, value);
  };
  set_objects("tools", input.tools);
  set_objects("documents", input.documents);
  for (const auto& [object, trusted] : {std::pair{&input.variables, true}, {&input.template_kwargs, false}})
    for (const auto& entry : *object)
      out.variables.set(Value(checked_text(boost::json::string(entry.key()), true)), to_value(entry.value(), trusted));
  out.variables.set("add_generation_prompt", input.add_generation_prompt);
  out.variables.set("messages", nullptr);
  if (input.messages.is_null()) return out;

  Values messages;
  for (const Value& message : objects_of(to_value(input.messages, false), "messages"))
    messages.push_back(Value::dict(normalized_message(*message.if_dict(), literals)));
  if (messages.empty()) throw RequestError("messages is empty: a chat needs at least one message");
  if (!input.continue_final_message.empty()) {
    Dict last = *messages.back().if_dict();
    tag_final_message(last, input.continue_final_message, template_source, out.final_text);
    messages.back() = Value::dict(std::move(last));
  }
  out.variables.set("messages", Value::list(std::move(messages)));
  return out;
}

}  // namespace trireme
