#include "gateway/http/endpoints/openai_call.h"

#include <algorithm>
#include <chrono>
#include <random>

namespace trireme {
namespace {

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

CallFields with_usage(CallFields fields, bool forced) {
  fields.include_usage |= forced && fields.stream;
  return fields;
}

}  // namespace

std::string random_text(size_t length) {
  static constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string text;
  while (text.size() < length) text += kLetters[random() % kLetters.size()];
  return text;
}

std::string call_id(const char* prefix, const Exchange& exchange, const CallFields& fields) {
  return std::string(prefix) + (fields.request_id.empty() ? exchange.request().id : fields.request_id);
}

json::object usage_json(const UsageCount& usage, bool details) {
  json::object object{{"prompt_tokens", usage.prompt_tokens},
                      {"completion_tokens", usage.completion_tokens},
                      {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
  if (details) object["prompt_tokens_details"] = json::object{{"cached_tokens", usage.cached_tokens}};
  return object;
}

ChoiceEnd choice_end(const ChoiceDelta& delta) {
  const std::string& matched = delta.running.text(delta.choice).matched_stop();
  return {delta.finish, matched, matched.empty() ? delta.record.choices[size_t(delta.choice)].stop_id : -1};
}

ChoiceEnd choice_end(const FinishedChoice& choice) {
  return {choice.finish, choice.record.stop_text, choice.record.stop_id};
}

OpenAiCall::OpenAiCall(Api& api, std::shared_ptr<Exchange> exchange, const CallFields& fields, std::string id,
                       std::string kind)
    : api_(api),
      exchange_(std::move(exchange)),
      fields_(with_usage(fields, api.options.force_include_usage)),
      names_(api.assets.tokenizer.get(), fields.tokens_as_ids),
      id_(std::move(id)),
      kind_(std::move(kind)),
      created_(unix_seconds()),
      eos_(api.assets.eos_token_ids()) {}

json::object OpenAiCall::head() const {
  return {{"id", id_}, {"object", kind_}, {"created", created_}, {"model", api_.model_name()}};
}

void OpenAiCall::begin_stream() {
  if (begun_) return;
  begun_ = true;
  exchange_->begin_stream(200, "text/event-stream; charset=utf-8",
                          {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
  on_begin();
}

// The head is the same in every chunk of a stream: it is written once, and only a choice is made per token.
void OpenAiCall::send_chunk(std::string_view choices, std::string_view usage) {
  if (head_text_.empty()) {
    head_text_ = json::serialize(head());
    head_text_.back() = ',';  // instead of the brace
  }
  std::string event;
  event.reserve(head_text_.size() + choices.size() + usage.size() + 40);
  event.append("data: ").append(head_text_).append("\"choices\":[").append(choices).append("]");
  if (!usage.empty()) event.append(",\"usage\":").append(usage);
  exchange_->write(event.append("}\n\n"));
}

void OpenAiCall::send_choice(const json::object& choice, const UsageCount& usage_so_far) {
  std::string usage = fields_.include_usage ? "null" : "";
  if (fields_.continuous_usage) usage = json::serialize(usage_json(usage_so_far, api_.options.prompt_tokens_details));
  send_chunk(json::serialize(choice), usage);
}

json::value OpenAiCall::finish_reason(const ChoiceEnd& end) {
  return end.finish == FinishReason::none ? json::value() : json::value(finish_reason_name(end.finish));
}

json::value OpenAiCall::stop_reason(const ChoiceEnd& end) const {
  if (end.finish != FinishReason::stop) return nullptr;
  if (!end.stop_text.empty()) return json::value(json::string(end.stop_text));
  const bool is_eos = std::ranges::find(eos_, end.stop_id) != eos_.end();
  return end.stop_id < 0 || is_eos ? json::value() : json::value(end.stop_id);
}

void OpenAiCall::on_finished(const std::vector<FinishedPrompt>& prompts) {
  UsageCount usage;
  for (const FinishedPrompt& prompt : prompts) {
    usage.prompt_tokens += int64_t(prompt.prompt_ids.size());
    usage.completion_tokens += prompt.generated_tokens;
    usage.cached_tokens += prompt.cached_tokens;
  }
  if (!fields_.stream) {
    json::object answer = head();
    answer["choices"] = choices(prompts, answer);
    answer["usage"] = usage_json(usage, api_.options.prompt_tokens_details);
    return respond_json(*exchange_, answer);
  }
  begin_stream();
  for (const FinishedPrompt& prompt : prompts)
    if (!prompt.output.streams()) send_whole(prompt);
  if (fields_.include_usage) send_chunk("", json::serialize(usage_json(usage, api_.options.prompt_tokens_details)));
  exchange_->write("data: [DONE]\n\n");
  exchange_->end_stream();
}

void OpenAiCall::on_failed(int status, const std::string& message) {
  const std::string body = openai_error(status, message, "");
  if (!begun_) {
    std::vector<HttpHeader> headers;
    if (status == 429 || status == 503) headers.push_back({"Retry-After", "5"});
    return exchange_->respond(status, "application/json", body, std::move(headers));
  }
  exchange_->write("data: " + body + "\n\ndata: [DONE]\n\n");
  exchange_->end_stream();
}

void OpenAiCall::on_silence() {
  if (!fields_.stream) return;
  begin_stream();
  exchange_->write(": waiting\n\n");
}

}  // namespace trireme
