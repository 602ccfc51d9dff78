// POST /v1/completions

#include <algorithm>

#include "gateway/http/endpoints/openai_call.h"

namespace trireme {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's
constexpr size_t kMaxPrompts = 1024;

struct PromptInput {
  std::string text;
  std::vector<int32_t> ids;
  bool is_text = false;
};

PromptInput one_prompt(const json::value& value) {
  if (value.is_string()) return {std::string(value.get_string()), {}, true};
  return {{}, parse_token_ids(value, "prompt"), false};
}

// A text, a list of texts, a list of ids, or a list of lists of ids.
std::vector<PromptInput> take_prompts(json::object& body) {
  const json::value value = take_field(body, "prompt");
  if (value.is_null()) throw ApiError(400, "prompt is missing: give a text, ids, or a list of either", "prompt");
  const bool is_many = value.is_array() && !value.get_array().empty() && !value.get_array()[0].is_number();
  if (!is_many) return {one_prompt(value)};
  if (value.get_array().size() > kMaxPrompts)
    throw ApiError(400, "prompt holds " + std::to_string(value.get_array().size()) + " prompts, at most " +
                            std::to_string(kMaxPrompts) + " may come at once", "prompt");
  std::vector<PromptInput> prompts;
  for (const json::value& item : value.get_array()) prompts.push_back(one_prompt(item));
  return prompts;
}

class CompletionCall final : public OpenAiCall {
 public:
  CompletionCall(Api& api, std::shared_ptr<Exchange> exchange, const CallFields& fields, std::string id,
                 size_t prompts, int32_t choices)
      : OpenAiCall(api, std::move(exchange), fields, std::move(id), "text_completion"),
        choices_per_prompt_(choices),
        logprobs_(fields.sampling.logprobs.has_value()),
        states_(prompts * size_t(choices)) {}

  void on_delta(const ChoiceDelta& delta) override {
    if (!fields_.stream) return;
    begin_stream();
    State& state = states_[delta.prompt * size_t(choices_per_prompt_) + size_t(delta.choice)];
    const ChoiceRecord& record = delta.record.choices[size_t(delta.choice)];
    const ChoiceEnd end = choice_end(delta);
    if (!state.begun) begin(state, delta.record.request.prompt, delta.record.prompt_scores, delta.record.prompt_top);
    if (state.logprobs) state.logprobs->add(record, delta.first_token, delta.end_token);
    const bool tokens = (logprobs_ || fields_.return_token_ids) && delta.end_token > delta.first_token;
    if (delta.text.empty() && !tokens && end.finish == FinishReason::none) return;
    json::object choice = choice_json(index(delta.prompt, delta.choice), delta.text, state, end);
    if (fields_.return_token_ids) {
      const auto ids = record.ids.begin();
      choice["token_ids"] =
          json::value_from(std::vector<int32_t>(ids + long(delta.first_token), ids + long(delta.end_token)));
      if (!state.begun) choice["prompt_token_ids"] = json::value_from(delta.record.request.prompt);
    }
    state.begun = true;
    send_choice(choice, {int64_t(delta.record.request.prompt.size()), int64_t(record.ids.size()),
                                    delta.record.cached_tokens});
  }

 protected:
  json::array choices(const std::vector<FinishedPrompt>& prompts, json::object&) override {
    json::array list;
    for (const FinishedPrompt& prompt : prompts)
      for (size_t i = 0; i < prompt.choices.size(); ++i) list.push_back(whole_choice(prompt, i));
    return list;
  }

  void send_whole(const FinishedPrompt& prompt) override {
    for (size_t i = 0; i < prompt.choices.size(); ++i)
      send_choice(whole_choice(prompt, i),
                  {int64_t(prompt.prompt_ids.size()), prompt.generated_tokens, prompt.cached_tokens});
  }

 private:
  struct State {  // of one choice of a stream
    bool begun = false;
    std::optional<CompletionLogprobs> logprobs;
  };

  int64_t index(size_t prompt, int32_t choice) const { return int64_t(prompt) * choices_per_prompt_ + choice; }

  void begin(State& state, const std::vector<int32_t>& prompt, const std::vector<TokenScore>& scores,
             const std::vector<std::vector<TokenScore>>& top) {
    if (!logprobs_) return;
    state.logprobs.emplace(names_, fields_.sampling.skip_special.value_or(true));
    if (fields_.sampling.echo.value_or(false)) state.logprobs->add_prompt(prompt, scores, top);
  }

  json::object choice_json(int64_t index, const std::string& text, State& state, const ChoiceEnd& end) const {
    json::object choice{{"index", index}, {"text", text}, {"logprobs", nullptr}};
    if (state.logprobs) choice["logprobs"] = state.logprobs->take();
    choice["finish_reason"] = finish_reason(end);
    choice["stop_reason"] = stop_reason(end);
    return choice;
  }

  json::object whole_choice(const FinishedPrompt& prompt, size_t number) {
    const FinishedChoice& from = prompt.choices[number];
    State state;
    begin(state, prompt.prompt_ids, prompt.prompt_scores, prompt.prompt_top);
    if (state.logprobs) state.logprobs->add(from.record, 0, from.record.ids.size());
    json::object choice = choice_json(index(prompt.index, int32_t(number)), from.text, state, choice_end(from));
    if (fields_.shows_prompt_logprobs) choice["prompt_logprobs"] = prompt_logprobs_json(names_, prompt);
    if (fields_.return_token_ids) {
      choice["token_ids"] = json::value_from(from.record.ids);
      choice["prompt_token_ids"] = json::value_from(prompt.prompt_ids);
    }
    return choice;
  }

  const int32_t choices_per_prompt_;
  const bool logprobs_;
  std::vector<State> states_;
};

}  // namespace

void completions(Api& api, const std::shared_ptr<Exchange>& exchange) {
  json::object body = parse_body(exchange->request().body);
  api.check_model(body);
  CallFields fields = take_call_fields(body);
  const std::vector<PromptInput> inputs = take_prompts(body);
  ignore_rest(api, std::move(body));
  const bool echo = fields.sampling.echo.value_or(false);
  if (echo && fields.sampling.logprobs && !fields.sampling.prompt_logprobs)
    fields.sampling.prompt_logprobs = fields.sampling.logprobs;

  const auto facts = api.job.facts();
  std::vector<ServePrompt> prompts;
  for (const PromptInput& input : inputs) {
    std::vector<int32_t> ids = input.ids;
    if (input.is_text && !api.assets.tokenizer) api.assets.encode_text(input.text);  // throws
    if (input.is_text)
      ids = api.assets.tokenizer->encode(input.text, {.add_special_tokens = fields.add_special_tokens.value_or(true)});
    const size_t length = ids.size();
    ids = truncated(std::move(ids), fields, *facts);
    const bool whole = input.is_text && ids.size() == length;
    const std::vector<int32_t> shown = echo && !whole ? ids : std::vector<int32_t>{};
    ServePrompt prompt = prepare_prompt(api, *facts, fields, std::move(ids), kDefaultMaxTokens);
    const bool skip_special = prompt.prepared.output.skip_special;
    if (echo) prompt.echo = whole ? input.text : api.assets.tokenizer->decode(shown, skip_special);
    prompts.push_back(std::move(prompt));
  }
  const int32_t choices = prompts.front().prepared.output.returned;
  auto call = std::make_shared<CompletionCall>(api, exchange, fields, call_id("cmpl-", *exchange, fields),
                                               prompts.size(), choices);
  api.submit(exchange, std::move(call), std::move(prompts));
}

}  // namespace trireme
