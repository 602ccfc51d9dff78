#pragma once
// Prompts as people write them: one per line, or JSON lines {"prompt": ...}, {"messages": [...]} or
// {"prompt_token_ids": [...]} with sampling values beside them; beside messages also tools and the like.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "gateway/chat_request.h"
#include "gateway/sampling_flags.h"

namespace trireme {

struct PromptLine {
  std::string text;  // of a plain prompt, or the one user message of a chat
  std::optional<ChatRequest> chat;
  std::vector<int32_t> ids;  // given as ids: not tokenized
  SamplingFlags sampling;
};

// JSON lines when `text` begins with '{'. Empty lines are skipped. Throws RequestError naming `what` and the line.
std::vector<PromptLine> parse_prompt_file(std::string_view text, std::string_view what);

PromptLine parse_prompt_object(json::object object);

}  // namespace trireme
