#include "gateway/generate_job.h"

#include <algorithm>

#include "base/check.h"

namespace trireme {
namespace {

json::value chat_message(const std::string& text) {
  json::object message;
  message["role"] = "user";
  message["content"] = text;
  json::array messages;
  messages.push_back(std::move(message));
  return messages;
}

void cut(ChoiceRecord& record, size_t tokens) {
  if (record.ids.size() <= tokens) return;
  record.ids.resize(tokens);
  record.logprobs.resize(tokens);
  record.ranks.resize(tokens);
  record.top.resize(tokens);
}

json::value logprobs_json(const ChoiceRecord& record) {
  json::array list;
  for (size_t i = 0; i < record.ids.size(); ++i) {
    json::array top;
    for (const TokenScore& score : record.top[i]) top.push_back({{"token_id", score.id}, {"logprob", score.logprob}});
    list.push_back({{"token_id", record.ids[i]},
                    {"logprob", record.logprobs[i]},
                    {"rank", record.ranks[i]},
                    {"top", std::move(top)}});
  }
  return list;
}

}  // namespace

std::string json_line(const FinishedPrompt& prompt, bool with_logprobs) {
  json::object line;
  line["index"] = prompt.index;
  line["prompt"] = prompt.prompt;
  line["prompt_ids"] = json::value_from(prompt.prompt_ids);
  if (!prompt.error.empty()) {
    line["error"] = prompt.error;
    return json::serialize(line);
  }
  json::array outputs;
  for (const FinishedChoice& choice : prompt.choices) {
    json::object output;
    output["token_ids"] = json::value_from(choice.record.ids);
    output["text"] = choice.text;
    output["finish_reason"] = finish_reason_name(choice.finish);
    output["cumulative_logprob"] = choice.record.cumulative_logprob();
    output["logprobs"] = with_logprobs ? logprobs_json(choice.record) : json::value();
    outputs.push_back(std::move(output));
  }
  line["outputs"] = std::move(outputs);
  return json::serialize(line);
}

GenerateJob::GenerateJob(std::vector<PromptLine> prompts, const ModelAssets& assets, GenerateOptions options,
                         OutputSink& sink)
    : prompts_(std::move(prompts)), assets_(assets), options_(std::move(options)), sink_(sink) {
  summary_.prompts = prompts_.size();
}

size_t GenerateJob::max_in_flight() const { return 2 * size_t(std::max(facts_.num_slots, 1)); }

void GenerateJob::start(const EngineFacts& facts, RequestPort& port, TimePoint now) {
  facts_ = facts;
  port_ = &port;
  summary_.started = now;
  submit_more(now);
}

void GenerateJob::submit_more(TimePoint now) {
  while (!cancelled_ && next_submit_ < prompts_.size() && choices_in_flight_ < max_in_flight() &&
         next_submit_ < next_deliver_ + 8 * max_in_flight())
    submit(next_submit_++, now);
}

void GenerateJob::submit(size_t index, TimePoint now) {
  const PromptLine& line = prompts_[index];
  FinishedPrompt refused;  // what is handed on when the prompt cannot become a request
  refused.index = index;
  refused.prompt = line.text;
  try {
    Request request;
    request.id = RequestId(index + 1);
    if (line.messages || (options_.chat && line.ids.empty())) {
      const json::value messages = line.messages ? *line.messages : chat_message(line.text);
      refused.prompt = assets_.render_chat(messages);
      request.prompt = assets_.encode_chat(messages);
    } else {
      request.prompt = line.ids.empty() ? assets_.encode_text(line.text) : line.ids;
    }
    refused.prompt_ids = request.prompt;
    const SamplingFlags flags = merged(line.sampling, options_.sampling);
    request.sampling =
        resolve(flags, assets_.checkpoint.defaults, int64_t(request.prompt.size()), facts_.max_model_len);
    request.eos_token_ids = assets_.eos_token_ids();
    validate(request, facts_.vocab_size, facts_.max_model_len);
    for (const std::string& stop : flags.stop)
      if (stop.empty()) throw RequestError("a stop string must not be empty");

    Active active{index, refused.prompt, {}};
    for (int i = 0; i < request.sampling.n; ++i)
      active.texts.emplace_back(assets_.tokenizer.get(), TextOptions{.stop = flags.stop});
    choices_in_flight_ += size_t(request.sampling.n);
    active_.emplace(request.id, std::move(active));
    port_->submit(ledger_.admit(std::move(request), now).request);
  } catch (const RequestError& error) {
    refused.error = error.what();
    deliver(std::move(refused));
  }
}

// The engine's statistics come about once a second, so a short run would hear only of the empty pool at its end.
double GenerateJob::kv_use() const {
  const int64_t block = std::max(facts_.block_size, 1), pool = facts_.num_blocks;
  int64_t blocks = 0;
  for (const auto& [id, active] : active_) {
    const RequestRecord* record = ledger_.find(id);
    if (!record || record->first_token == TimePoint{}) continue;
    const int64_t prompt = int64_t(record->request.prompt.size());
    blocks += prompt / block;  // whole prompt blocks are shared by the choices
    for (const ChoiceRecord& choice : record->choices)
      if (choice.finish == FinishReason::none)
        blocks += (prompt + int64_t(choice.ids.size()) + block - 1) / block - prompt / block;
  }
  return pool > 0 ? std::min(1.0, double(blocks) / double(pool)) : 0.0;
}

void GenerateJob::on_events(const std::vector<EngineEvent>& events, TimePoint now) {
  for (const EngineEvent& event : events) {
    if (const auto* token = std::get_if<TokenEvent>(&event)) on_token(*token, now);
    if (const auto* failed = std::get_if<RequestFailedEvent>(&event)) on_failed(*failed);
    if (const auto* stats = std::get_if<EngineStats>(&event))
      if (stats->blocks_total > 0)
        summary_.most_kv_use =
            std::max(summary_.most_kv_use, double(stats->blocks_total - stats->blocks_free - stats->blocks_cached) /
                                               double(stats->blocks_total));
  }
  summary_.most_kv_use = std::max(summary_.most_kv_use, kv_use());
  submit_more(now);
}

void GenerateJob::on_token(const TokenEvent& event, TimePoint now) {
  RequestRecord* record = ledger_.append(event, now);
  if (!record) return;
  Active& active = active_.at(event.request);
  TextAssembler& text = active.texts[size_t(event.choice)];
  if (event.token.id >= 0 && !text.finished()) {
    ++summary_.generated_tokens;
    if (summary_.first_token == TimePoint{}) summary_.first_token = now;
    summary_.last_token = now;
    // The id that ended the choice is part of its ids, not of its text.
    if (event.stop_id != event.token.id || event.finish != FinishReason::stop)
      if (const std::string fresh = text.add(event.token.id); !fresh.empty())
        sink_.on_text(active.index, event.choice, fresh);
  }
  if (event.finish != FinishReason::none)
    if (const std::string rest = text.end(event.finish); !rest.empty()) sink_.on_text(active.index, event.choice, rest);
  const bool all = std::all_of(active.texts.begin(), active.texts.end(), [](const auto& t) { return t.finished(); });
  if (!all) return;
  if (!record->ended()) port_->cancel(event.request);  // ended by its text: the engine need not go on
  complete(event.request, "", now);
}

void GenerateJob::on_failed(const RequestFailedEvent& event) {
  if (ledger_.fail(event))
    complete(event.request, event.message.empty() ? "the engine gave no reason" : event.message, {});
}

void GenerateJob::complete(RequestId id, const std::string& error, TimePoint) {
  RequestRecord& record = *ledger_.find(id);
  Active& active = active_.at(id);
  FinishedPrompt finished{active.index, active.prompt, std::move(record.request.prompt), {}, error};
  for (size_t i = 0; error.empty() && i < active.texts.size(); ++i) {
    TextAssembler& text = active.texts[i];
    const bool by_text = !text.matched_stop().empty();
    if (by_text) cut(record.choices[i], size_t(text.num_tokens()));
    finished.choices.push_back({std::move(record.choices[i]), text.text(), text.finish()});
  }
  if (error.empty()) {
    summary_.prompt_tokens += int64_t(finished.prompt_ids.size());
    summary_.cached_tokens += record.cached_tokens;
    summary_.first_token_seconds.push_back(std::chrono::duration<double>(record.first_token - record.admitted).count());
  }
  choices_in_flight_ -= size_t(record.request.sampling.n);
  ledger_.erase(id);
  active_.erase(id);
  deliver(std::move(finished));
}

void GenerateJob::deliver(FinishedPrompt prompt) {
  ++(prompt.error.empty() ? summary_.finished : summary_.failed);
  const size_t index = prompt.index;
  waiting_.emplace(index, std::move(prompt));
  for (auto next = waiting_.begin(); next != waiting_.end() && next->first == next_deliver_; next = waiting_.begin()) {
    sink_.on_finished(next->second);
    waiting_.erase(next);
    ++next_deliver_;
  }
}

void GenerateJob::cancel() {
  cancelled_ = true;
  for (const auto& [id, active] : active_) {
    if (port_) port_->cancel(id);
    if (RequestRecord* record = ledger_.find(id)) record->cancelled = true;
  }
}

bool GenerateJob::done() const { return next_deliver_ == prompts_.size(); }

}  // namespace trireme
