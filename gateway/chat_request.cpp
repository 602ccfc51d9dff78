#include "gateway/chat_request.h"

#include <algorithm>

#include "base/error.h"

namespace trireme {
namespace {

constexpr const char* kKeys[] = {
    "tools", "documents", "chat_template_kwargs", "add_generation_prompt", "continue_final_message", "chat_template"};

json::value take(json::object& object, const char* key) {
  const auto entry = object.find(key);
  if (entry == object.end()) return nullptr;
  json::value value = std::move(entry->value());
  object.erase(entry);
  return value;
}

json::value take_objects(json::object& object, const char* key) {
  json::value value = take(object, key);
  const auto is_object = [](const json::value& item) { return item.is_object(); };
  if (!value.is_null() && !(value.is_array() && std::ranges::all_of(value.get_array(), is_object)))
    throw RequestError(std::string(key) + " must be a list of objects");
  return value;
}

std::optional<bool> take_bool(json::object& object, const char* key) {
  const json::value value = take(object, key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_bool()) throw RequestError(std::string(key) + " must be true or false, got " + json::serialize(value));
  return value.get_bool();
}

}  // namespace

ChatRequest user_message(const std::string& text) {
  ChatRequest chat;
  chat.messages = json::array{json::object{{"role", "user"}, {"content", text}}};
  return chat;
}

std::optional<ChatRequest> take_chat(json::object& object) {
  ChatRequest chat;
  chat.messages = take_objects(object, "messages");
  if (chat.messages.is_null()) {
    for (const char* key : kKeys)
      if (!take(object, key).is_null()) throw RequestError(std::string(key) + " belongs to messages: give them");
    return std::nullopt;
  }
  chat.tools = take_objects(object, "tools");
  chat.documents = take_objects(object, "documents");
  if (json::value kwargs = take(object, "chat_template_kwargs"); !kwargs.is_null()) {
    if (!kwargs.is_object()) throw RequestError("chat_template_kwargs must be an object of the template's variables");
    chat.template_kwargs = std::move(kwargs.get_object());
  }
  if (const json::value name = take(object, "chat_template"); !name.is_null()) {
    if (!name.is_string()) throw RequestError("chat_template must be the name of one of the model's templates");
    chat.template_name = name.get_string();
  }
  chat.add_generation_prompt = take_bool(object, "add_generation_prompt");
  chat.continue_final_message = take_bool(object, "continue_final_message").value_or(false);
  if (chat.continue_final_message && chat.add_generation_prompt == true)
    throw RequestError("continue_final_message and add_generation_prompt exclude each other: leave one of them out");
  return chat;
}

}  // namespace trireme
