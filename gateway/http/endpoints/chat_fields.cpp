#include "gateway/http/endpoints/chat_fields.h"

#include "gateway/api_error.h"
#include "gateway/http/endpoints/openai_call.h"

namespace trireme {
namespace {

std::string place(size_t message) { return "messages[" + std::to_string(message) + "]"; }

// Parts of text, a line each.
std::string joined_parts(const json::array& parts, size_t message) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const json::value& part = parts[i];
    if (i > 0) text += '\n';
    if (part.is_string()) {
      text += part.get_string();
      continue;
    }
    const json::value* type = part.is_object() ? part.get_object().if_contains("type") : nullptr;
    const json::value* content = part.is_object() ? part.get_object().if_contains("text") : nullptr;
    if (type && type->is_string() && *type != "text" && *type != "input_text" && *type != "refusal")
      throw ApiError(400, place(message) + ".content has a part of type \"" + std::string(type->get_string()) +
                              "\", which this server does not support: give text parts only", "messages");
    if (type && *type == "refusal") content = part.get_object().if_contains("refusal");
    if (!content || !content->is_string())
      throw ApiError(400, place(message) + ".content must be a text or a list of {\"type\": \"text\", \"text\": ..}",
                     "messages");
    text += content->get_string();
  }
  return text;
}

// Clients send arguments as JSON in a text; templates want the object.
void open_arguments(json::value& tool_calls, size_t message) {
  if (!tool_calls.is_array()) throw ApiError(400, place(message) + ".tool_calls must be a list", "messages");
  for (json::value& call : tool_calls.get_array()) {
    json::value* function = call.is_object() ? call.get_object().if_contains("function") : nullptr;
    if (!function || !function->is_object())
      throw ApiError(400, place(message) + ".tool_calls needs {\"function\": {\"name\", \"arguments\"}}", "messages");
    json::value* arguments = function->get_object().if_contains("arguments");
    if (!arguments || !arguments->is_string()) continue;
    json::value parsed = json::object{};
    try {
      if (!arguments->get_string().empty()) parsed = parse_json(arguments->get_string(), "it");
    } catch (const CheckpointError& error) {
      throw ApiError(400, place(message) + ".tool_calls has arguments that are no JSON: " + error.what(), "messages");
    }
    *arguments = std::move(parsed);
  }
}

void prepare_messages(json::value& messages) {
  if (messages.get_array().empty()) throw ApiError(400, "messages is empty: give one at least", "messages");
  for (size_t i = 0; i < messages.get_array().size(); ++i) {
    json::object& message = messages.get_array()[i].get_object();
    const json::value* role = message.if_contains("role");
    if (!role || !role->is_string()) throw ApiError(400, place(i) + " needs a role", "messages");
    if (json::value* content = message.if_contains("content"); content && !content->is_null()) {
      if (content->is_array())
        *content = joined_parts(content->get_array(), i);
      else if (!content->is_string())
        throw ApiError(400, place(i) + ".content must be a text or a list of text parts", "messages");
    }
    for (const char* other : {"audio", "function_call"})
      if (const json::value* value = message.if_contains(other); value && !value->is_null())
        throw ApiError(400, place(i) + " has " + other + ", which this server does not support", "messages");
    if (json::value* calls = message.if_contains("tool_calls"); calls && !calls->is_null()) open_arguments(*calls, i);
  }
}

void check_tools(const json::value& tools) {
  if (tools.is_null()) return;
  for (const json::value& tool : tools.get_array()) {
    const json::value* function = tool.get_object().if_contains("function");
    const json::value* name = function && function->is_object() ? function->get_object().if_contains("name") : nullptr;
    if (!name || !name->is_string())
      throw ApiError(400, "tools must be a list of {\"type\": \"function\", \"function\": {\"name\": ..}}", "tools");
  }
}

bool takes_no_tools(const json::value& choice) {
  if (choice.is_null() || choice == "auto") return false;
  if (choice == "none") return true;
  throw ApiError(400,
                 "tool_choice " + json::serialize(choice) +
                     " is not supported by this server: use \"auto\" or \"none\"",
                 "tool_choice");
}

}  // namespace

void take_chat_logprobs(json::object& body) {
  const std::optional<bool> wanted = take_bool_field(body, "logprobs");
  const std::optional<int64_t> top = take_integer_field(body, "top_logprobs");
  if (top && *top > 0 && !wanted.value_or(false))
    throw ApiError(400, "top_logprobs needs \"logprobs\": true", "top_logprobs");
  if (top && (*top < 0 || *top > 20)) throw ApiError(400, "top_logprobs must be in [0, 20]", "top_logprobs");
  if (wanted.value_or(false)) body["logprobs"] = top.value_or(0);
}

ChatFields take_chat_fields(json::object& body, ToolFormat tool_format, const std::string& role) {
  ChatFields fields;
  fields.response_role = role;
  const bool no_tools = takes_no_tools(take_field(body, "tool_choice"));
  fields.parallel_tool_calls = take_bool_field(body, "parallel_tool_calls").value_or(true);
  const bool echo = take_bool_field(body, "echo").value_or(false);
  const std::string effort = take_text_field(body, "reasoning_effort");
  auto chat = take_chat(body);
  if (!chat) throw ApiError(400, "messages is missing: give a list of {\"role\": .., \"content\": ..}", "messages");
  fields.chat = std::move(*chat);
  prepare_messages(fields.chat.messages);
  check_tools(fields.chat.tools);
  if (no_tools || (fields.chat.tools.is_array() && fields.chat.tools.get_array().empty())) fields.chat.tools = nullptr;
  if (!fields.chat.tools.is_null()) fields.tool_format = tool_format;
  if (!effort.empty()) fields.chat.template_kwargs.emplace("reasoning_effort", effort);

  const json::object& last = fields.chat.messages.get_array().back().get_object();
  if (!fields.chat.add_generation_prompt.value_or(!fields.chat.continue_final_message))
    fields.response_role = std::string(last.at("role").get_string());
  const json::value* content = last.if_contains("content");
  if (echo && content && content->is_string() && last.at("role") == json::value(json::string(fields.response_role)))
    fields.echo = std::string(content->get_string());
  return fields;
}

std::vector<int32_t> encode_chat_fields(const Api& api, const ChatFields& chat, const CallFields& fields) {
  const RenderedChat rendered = api.assets.render_chat(chat.chat);
  if (!fields.add_special_tokens.value_or(false))
    return api.assets.encode_chat(rendered, api.options.trust_special_tokens);
  EncodeOptions options{.add_special_tokens = true, .parse_special = true};
  if (!api.options.trust_special_tokens) options.untrusted = rendered.untrusted;
  return api.assets.tokenizer->encode(rendered.text, options);
}

std::string new_tool_id(ToolFormat format) {
  if (format == ToolFormat::mistral) return random_text(9);  // its template asks for so many
  return "chatcmpl-tool-" + random_text(24);
}

}  // namespace trireme
