#pragma once
// Log-probabilities in the forms of completions and of chats.

#include <optional>

#include "base/json.h"
#include "gateway/finished_prompt.h"
#include "text/detokenizer.h"

namespace trireme {

// What a token is called in an answer: its text ("token_id:7" where that is asked for or there is no tokenizer).
class TokenNames {
 public:
  TokenNames(const Tokenizer* tokenizer, bool as_ids) : tokenizer_(tokenizer), as_ids_(as_ids || !tokenizer) {}
  std::string name(int32_t id) const;  // valid UTF-8: bytes that are none are U+FFFD
  json::array bytes(int32_t id) const;
  const Tokenizer* tokenizer() const { return tokenizer_; }

 private:
  const Tokenizer* tokenizer_;
  bool as_ids_;
};

double json_logprob(float logprob);  // -9999 for minus infinity, as vLLM

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of one choice, piece by piece. Offsets are characters of
// the choice's text, its echo included.
class CompletionLogprobs {
 public:
  CompletionLogprobs(TokenNames names, bool skip_special);
  void add_prompt(const std::vector<int32_t>& ids, const std::vector<TokenScore>& scores,
                  const std::vector<std::vector<TokenScore>>& top);
  void add(const ChoiceRecord& record, size_t begin, size_t end);
  json::object take();

 private:
  void add(int32_t id, std::optional<float> logprob, const std::vector<TokenScore>& top);

  TokenNames names_;
  std::optional<Detokenizer> text_;
  int64_t offset_ = 0;
  json::array tokens_, logprobs_, top_, offsets_;
};

// [{"token", "logprob", "bytes", "top_logprobs"}] of tokens [begin, end).
json::array chat_logprobs(const TokenNames& names, const ChoiceRecord& record, size_t begin, size_t end);

// vLLM's prompt_logprobs: null for the first token, then {"ID": {"logprob", "rank", "decoded_token"}}.
json::array prompt_logprobs_json(const TokenNames& names, const FinishedPrompt& prompt);

}  // namespace trireme
