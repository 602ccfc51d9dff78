// POST /v1/chat/completions

#include <algorithm>

#include "gateway/chat_request.h"
#include "gateway/http/endpoints/chat_fields.h"
#include "gateway/http/endpoints/openai_call.h"

namespace trireme {
namespace {

class ChatCall final : public OpenAiCall {
 public:
  ChatCall(Api& api, std::shared_ptr<Exchange> exchange, const CallFields& fields, std::string id, ChatFields chat,
           int32_t choices)
      : OpenAiCall(api, std::move(exchange), fields, std::move(id),
                   fields.stream ? "chat.completion.chunk" : "chat.completion"),
        chat_(std::move(chat)) {
    for (int32_t i = 0; i < choices; ++i) states_.emplace_back(chat_.tool_format);
  }

  void on_delta(const ChoiceDelta& delta) override {
    if (!fields_.stream) return;
    begin_stream();
    const ChoiceRecord& record = delta.record.choices[size_t(delta.choice)];
    tell(delta.choice, delta.text, record, delta.first_token, delta.end_token, choice_end(delta),
         {int64_t(delta.record.request.prompt.size()), int64_t(record.ids.size()), delta.record.cached_tokens});
  }

 protected:
  void on_begin() override {
    for (size_t i = 0; i < states_.size(); ++i)
      send_choice(chunk_choice(int32_t(i), {{"role", chat_.response_role}, {"content", chat_.echo}}), {});
  }

  void send_whole(const FinishedPrompt& prompt) override {
    for (size_t i = 0; i < prompt.choices.size(); ++i) {
      const FinishedChoice& choice = prompt.choices[i];
      tell(int32_t(i), choice.text, choice.record, 0, choice.record.ids.size(), choice_end(choice),
           {int64_t(prompt.prompt_ids.size()), prompt.generated_tokens, prompt.cached_tokens});
    }
  }

  json::array choices(const std::vector<FinishedPrompt>& prompts, json::object& answer) override {
    const FinishedPrompt& prompt = prompts.front();
    json::array list;
    for (size_t i = 0; i < prompt.choices.size(); ++i) list.push_back(whole_choice(prompt.choices[i], int32_t(i)));
    if (fields_.shows_prompt_logprobs) answer["prompt_logprobs"] = prompt_logprobs_json(names_, prompt);
    if (fields_.return_token_ids) answer["prompt_token_ids"] = json::value_from(prompt.prompt_ids);
    return list;
  }

 private:
  struct State {  // of one choice
    explicit State(ToolFormat format) : parser(format) {}
    ToolCallParser parser;
  };

  json::object chunk_choice(int32_t index, json::object delta) const {
    return {{"index", index}, {"delta", std::move(delta)}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
  }

  json::object tool_json(const ToolDelta& call) const {
    json::object function;
    if (!call.name.empty()) function["name"] = call.name;
    function["arguments"] = call.arguments;
    json::object tool{{"index", call.index}};
    if (!call.name.empty()) {
      tool["id"] = new_tool_id(chat_.tool_format);
      tool["type"] = "function";
    }
    tool["function"] = std::move(function);
    return tool;
  }

  // One part of a choice's text as a chunk, and its end as another.
  void tell(int32_t index, const std::string& text, const ChoiceRecord& record, size_t begin, size_t end_token,
            const ChoiceEnd& end, const UsageCount& usage) {
    ToolCallParser& parser = states_[size_t(index)].parser;
    ToolParse parse = parser.add(text);
    const bool over = end.finish != FinishReason::none;
    if (over) append(parse, parser.finish());
    json::object delta;
    if (!parse.content.empty()) delta["content"] = parse.content;
    json::array tools;
    for (const ToolDelta& call : parse.calls)
      if (chat_.parallel_tool_calls || call.index == 0) tools.push_back(tool_json(call));
    if (!tools.empty()) delta["tool_calls"] = std::move(tools);
    const bool tokens = (fields_.sampling.logprobs || fields_.return_token_ids) && end_token > begin;
    if (!delta.empty() || tokens) {
      json::object choice = chunk_choice(index, std::move(delta));
      if (fields_.sampling.logprobs)
        choice["logprobs"] = json::object{{"content", chat_logprobs(names_, record, begin, end_token)}};
      if (fields_.return_token_ids)
        choice["token_ids"] = json::value_from(
            std::vector<int32_t>(record.ids.begin() + long(begin), record.ids.begin() + long(end_token)));
      send_choice(choice, usage);
    }
    if (!over) return;
    json::object last = chunk_choice(index, {});
    last["finish_reason"] = reason(end, parser);
    last["stop_reason"] = stop_reason(end);
    send_choice(last, usage);
  }

  static void append(ToolParse& parse, ToolParse&& rest) {
    parse.content += rest.content;
    parse.calls.insert(parse.calls.end(), rest.calls.begin(), rest.calls.end());
  }

  json::value reason(const ChoiceEnd& end, const ToolCallParser& parser) const {
    if (end.finish == FinishReason::stop && parser.num_calls() > 0) return "tool_calls";
    return finish_reason(end);
  }

  json::object whole_choice(const FinishedChoice& from, int32_t index) const {
    ToolCallParser parser(chat_.tool_format);
    ToolParse parse = parser.add(from.text);
    append(parse, parser.finish());
    std::vector<ToolDelta> calls;
    for (const ToolDelta& call : parse.calls) {
      if (!call.name.empty())
        calls.push_back(call);
      else
        calls.back().arguments += call.arguments;
    }
    if (!chat_.parallel_tool_calls && calls.size() > 1) calls.resize(1);
    const std::string content = chat_.echo + parse.content;
    json::object message{{"role", chat_.response_role}, {"content", content}, {"refusal", nullptr}};
    if (!calls.empty()) {
      json::array tools;
      for (const ToolDelta& call : calls) {
        json::object tool = tool_json(call);
        tool.erase("index");
        tools.push_back(std::move(tool));
      }
      message["tool_calls"] = std::move(tools);
      if (content.empty()) message["content"] = nullptr;
    }
    const ChoiceEnd end = choice_end(from);
    json::object choice{{"index", index}, {"message", std::move(message)}, {"logprobs", nullptr}};
    if (fields_.sampling.logprobs)
      choice["logprobs"] = json::object{
          {"content", chat_logprobs(names_, from.record, 0, from.record.ids.size())}, {"refusal", nullptr}};
    choice["finish_reason"] = reason(end, parser);
    choice["stop_reason"] = stop_reason(end);
    if (fields_.return_token_ids) choice["token_ids"] = json::value_from(from.record.ids);
    return choice;
  }

  const ChatFields chat_;
  std::vector<State> states_;
};

}  // namespace

void chat_completions(Api& api, const std::shared_ptr<Exchange>& exchange) {
  json::object body = parse_body(exchange->request().body);
  api.check_model(body);
  take_chat_logprobs(body);
  ChatFields chat = take_chat_fields(body, api.tool_format, api.options.response_role);
  CallFields fields = take_call_fields(body);
  ignore_rest(api, std::move(body));
  // The marks of these formats are special tokens.
  if (chat.tool_format == ToolFormat::mistral || chat.tool_format == ToolFormat::llama3_json)
    fields.sampling.skip_special = false;

  const auto facts = api.job.facts();
  std::vector<int32_t> ids = truncated(encode_chat_fields(api, chat, fields), fields, *facts);
  std::vector<ServePrompt> prompts;
  prompts.push_back(prepare_prompt(api, *facts, fields, std::move(ids), api.assets.checkpoint.defaults.max_new_tokens));
  const int32_t choices = prompts.front().prepared.output.returned;
  std::string id = call_id("chatcmpl-", *exchange, fields);
  api.submit(exchange, std::make_shared<ChatCall>(api, exchange, fields, std::move(id), std::move(chat), choices),
             std::move(prompts));
}

}  // namespace trireme
