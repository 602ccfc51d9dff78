#include "text/detokenizer.h"

namespace trireme {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string Detokenizer::add(int32_t id) {
  std::string text;
  if (id < 0 || id >= tokenizer_->vocab_size() || (skip_special_ && tokenizer_->is_special(id))) return text;
  repair_.append(first_ ? tokenizer_->first_token_bytes(id) : tokenizer_->token_bytes(id), text);
  first_ = false;
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  repair_.finish(text);
  return text;
}

}  // namespace trireme
