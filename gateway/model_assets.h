#pragma once
// What the front needs of a model: its shape, its tokenizer, its chat template, its generation defaults. No weights.

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "gateway/chat_request.h"
#include "text/chat_template_set.h"
#include "text/tokenizer.h"

namespace trireme {

struct ModelAssets {
  Checkpoint checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;  // null: prompts are ids, outputs have no text
  ChatTemplateSet chat_templates{"", {}};

  std::vector<int32_t> eos_token_ids() const;
  std::vector<int32_t> encode_text(const std::string& text) const;
  // Throws RequestError when the model has no template, or what the template says.
  RenderedChat render_chat(const ChatRequest& chat) const;
  // Special tokens that a client wrote into the chat are plain text; with `trust_special_tokens` they are the special
  // tokens, as Hugging Face encodes a chat.
  std::vector<int32_t> encode_chat(const RenderedChat& chat, bool trust_special_tokens) const;
};

// `template_file` takes the place of all chat templates of the model, unless it is empty. Throws CheckpointError, and
// ConfigError when that file cannot serve.
ModelAssets open_model_assets(const std::string& model, bool with_tokenizer, const std::string& template_file = "");

}  // namespace trireme
