#pragma once
// What the front needs of a model: its shape, its tokenizer, its chat template, its generation defaults. No weights.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace trireme {

struct ModelAssets {
  Checkpoint checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;  // null: prompts are ids, outputs have no text
  std::optional<ChatTemplate> chat_template;

  std::vector<int32_t> eos_token_ids() const;
  std::vector<int32_t> encode_text(const std::string& text) const;
  // `messages`: array of {role, content}. Throws RequestError when the model has no template.
  std::string render_chat(const json::value& messages) const;
  std::vector<int32_t> encode_chat(const json::value& messages) const;
};

// Throws CheckpointError.
ModelAssets open_model_assets(const std::string& model, bool with_tokenizer);

}  // namespace trireme
