#pragma once
// What answers to completions and to chats have in common: the stream's frame, errors, usage, ends.

#include "gateway/api_error.h"
#include "gateway/http/endpoints/call_fields.h"
#include "gateway/http/endpoints/logprobs_json.h"

namespace trireme {

struct UsageCount {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};
json::object usage_json(const UsageCount& usage, bool details);

// One choice at its end, or so far.
struct ChoiceEnd {
  FinishReason finish = FinishReason::none;
  std::string stop_text;  // the stop string that ended it
  int32_t stop_id = -1;
};
ChoiceEnd choice_end(const ChoiceDelta& delta);
ChoiceEnd choice_end(const FinishedChoice& choice);

class OpenAiCall : public ServeCall {
 public:
  // `kind`: the object's name; `prefix`: of its id.
  OpenAiCall(Api& api, std::shared_ptr<Exchange> exchange, const CallFields& fields, std::string id, std::string kind);

  void on_finished(const std::vector<FinishedPrompt>& prompts) override;
  void on_failed(int status, const std::string& message) override;
  void on_silence() override;
  size_t unsent_bytes() const override { return exchange_->unsent_bytes(); }
  void on_overflow() override { exchange_->abort(); }

 protected:
  // The choices of the whole answer; the fields beside them may be added to `answer`.
  virtual json::array choices(const std::vector<FinishedPrompt>& prompts, json::object& answer) = 0;
  // Of a stream: everything of a prompt whose output did not stream.
  virtual void send_whole(const FinishedPrompt& prompt) = 0;
  virtual void on_begin() {}  // of a stream: what comes first

  json::object head() const;
  void begin_stream();  // nothing where it has begun
  void send_choice(const json::object& choice, const UsageCount& usage_so_far);
  json::value stop_reason(const ChoiceEnd& end) const;
  static json::value finish_reason(const ChoiceEnd& end);

  Api& api_;
  const std::shared_ptr<Exchange> exchange_;
  const CallFields fields_;
  const TokenNames names_;

 private:
  void send_chunk(std::string_view choices, std::string_view usage);  // as JSON; usage empty: none

  const std::string id_, kind_;
  const int64_t created_;
  const std::vector<int32_t> eos_;
  std::string head_text_;  // of a stream's chunks: "{…,"
  bool begun_ = false;
};

std::string call_id(const char* prefix, const Exchange& exchange, const CallFields& fields);
std::string random_text(size_t length);  // letters and digits

}  // namespace trireme
