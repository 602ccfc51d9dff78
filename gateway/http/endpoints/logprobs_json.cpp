#include "gateway/http/endpoints/logprobs_json.h"

#include <algorithm>
#include <cmath>

#include "text/unicode.h"

namespace trireme {
namespace {

std::string with_replacements(std::string_view bytes) {
  std::string text;
  for (;;) {
    const size_t bad = find_invalid_utf8(bytes);
    text += bytes.substr(0, bad);
    if (bad == kValidUtf8) return text;
    text += "\xEF\xBF\xBD";
    bytes.remove_prefix(bad + 1);
  }
}

}  // namespace

std::string TokenNames::name(int32_t id) const {
  return as_ids_ ? "token_id:" + std::to_string(id) : with_replacements(tokenizer_->token_bytes(id));
}

json::array TokenNames::bytes(int32_t id) const {
  json::array list;
  for (const char c : tokenizer_ ? tokenizer_->token_bytes(id) : std::string()) list.emplace_back(int(uint8_t(c)));
  return list;
}

double json_logprob(float logprob) { return std::isfinite(logprob) ? double(logprob) : -9999.0; }

CompletionLogprobs::CompletionLogprobs(TokenNames names, bool skip_special) : names_(names) {
  if (names.tokenizer()) text_.emplace(*names.tokenizer(), skip_special);
}

void CompletionLogprobs::add(int32_t id, std::optional<float> logprob, const std::vector<TokenScore>& top) {
  tokens_.emplace_back(names_.name(id));
  offsets_.emplace_back(offset_);
  if (text_) offset_ += int64_t(count_chars(text_->add(id)));
  if (!logprob) {
    logprobs_.emplace_back(nullptr);
    top_.emplace_back(nullptr);
    return;
  }
  logprobs_.emplace_back(json_logprob(*logprob));
  json::object entries;  // of ids that are spelled alike, the best
  for (const TokenScore& score : top)
    entries.emplace(names_.name(score.id), json_logprob(score.logprob));  // does nothing where it is there
  entries.emplace(names_.name(id), json_logprob(*logprob));
  top_.emplace_back(std::move(entries));
}

void CompletionLogprobs::add_prompt(const std::vector<int32_t>& ids, const std::vector<TokenScore>& scores,
                                    const std::vector<std::vector<TokenScore>>& top) {
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool scored = i > 0 && i <= scores.size();
    add(ids[i], scored ? std::optional(scores[i - 1].logprob) : std::nullopt,
        scored ? top[i - 1] : std::vector<TokenScore>{});
  }
}

void CompletionLogprobs::add(const ChoiceRecord& record, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) add(record.ids[i], record.logprobs[i], record.top[i]);
}

json::object CompletionLogprobs::take() {
  json::object object{{"text_offset", std::move(offsets_)},
                      {"token_logprobs", std::move(logprobs_)},
                      {"tokens", std::move(tokens_)},
                      {"top_logprobs", std::move(top_)}};
  offsets_ = logprobs_ = tokens_ = top_ = {};
  return object;
}

json::array chat_logprobs(const TokenNames& names, const ChoiceRecord& record, size_t begin, size_t end) {
  json::array content;
  for (size_t i = begin; i < end; ++i) {
    json::array top;
    for (const TokenScore& score : record.top[i])
      top.push_back({{"token", names.name(score.id)},
                     {"logprob", json_logprob(score.logprob)},
                     {"bytes", names.bytes(score.id)}});
    content.push_back({{"token", names.name(record.ids[i])},
                       {"logprob", json_logprob(record.logprobs[i])},
                       {"bytes", names.bytes(record.ids[i])},
                       {"top_logprobs", std::move(top)}});
  }
  return content;
}

json::array prompt_logprobs_json(const TokenNames& names, const FinishedPrompt& prompt) {
  json::array list{nullptr};
  for (size_t i = 0; i < prompt.prompt_scores.size(); ++i) {
    json::object entry;
    const auto put = [&](const TokenScore& score, json::value rank) {
      entry.emplace(std::to_string(score.id), json::object{{"logprob", json_logprob(score.logprob)},
                                                           {"rank", std::move(rank)},
                                                           {"decoded_token", names.name(score.id)}});
    };
    const std::vector<TokenScore>& top = prompt.prompt_top[i];
    for (size_t k = 0; k < top.size(); ++k) put(top[k], int64_t(k) + 1);
    put(prompt.prompt_scores[i], nullptr);
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace trireme
