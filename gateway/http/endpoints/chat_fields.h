#pragma once
// What a chat has beside the fields of every call: messages, tools, template.

#include "gateway/http/endpoints/call_fields.h"

namespace trireme {

struct ChatFields {
  ChatRequest chat;
  ToolFormat tool_format = ToolFormat::none;  // none: tool calls stay text
  bool parallel_tool_calls = true;
  std::string response_role = "assistant";
  std::string echo;  // the last message's text, which the answer repeats first
};

// {"logprobs": true, "top_logprobs": 3} becomes the {"logprobs": 3} of the sampling values. Throws ApiError 400.
void take_chat_logprobs(json::object& body);

// Contents that are lists of text parts become one text; tool calls' arguments become objects, as templates want them.
// Throws ApiError 400 naming a part or a choice of tools that is not supported.
// `role`: of the answer, where the chat does not go on with a message of its own.
ChatFields take_chat_fields(json::object& body, ToolFormat tool_format, const std::string& role = "assistant");

std::vector<int32_t> encode_chat_fields(const Api& api, const ChatFields& chat, const CallFields& fields);
std::string new_tool_id(ToolFormat format);

}  // namespace trireme
