#include "gateway/generate_job.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "base/check.h"

namespace trireme {

GenerateJob::GenerateJob(std::vector<PromptLine> prompts, const ModelAssets& assets, GenerateOptions options,
                         OutputSink& sink)
    : prompts_(std::move(prompts)), assets_(assets), options_(std::move(options)), sink_(sink) {
  summary_.prompts = prompts_.size();
}

size_t GenerateJob::max_in_flight() const { return 2 * size_t(std::max(facts_.num_slots, 1)); }

void GenerateJob::start(const EngineFacts& facts, RequestPort& port, TimePoint now) {
  facts_ = facts;
  port_ = &port;
  if (summary_.started == TimePoint{}) summary_.started = now;
  if (std::exchange(engine_lost_, false)) submit_again();
  submit_more(now);
}

void GenerateJob::on_engine_lost(const EngineFault&, TimePoint) { engine_lost_ = true; }

void GenerateJob::submit_again() {
  bool first = true;
  for (const auto& [id, active] : active_) {
    const RequestRecord& record = *ledger_.find(id);
    if (record.cancelled) continue;
    if (std::exchange(first, false) && options_.fault == RestartFault::replay_incomplete) continue;
    Request request = Ledger::replay(record, options_.fault);
    // The text may have ended what the engine had not.
    if (options_.fault != RestartFault::ends_forgotten)
      for (EmittedChoice& emitted : request.emitted)
        emitted.finished = emitted.finished || active.running.text(emitted.choice).finished();
    port_->submit(std::move(request));
  }
}

void GenerateJob::submit_more(TimePoint now) {
  while (!cancelled_ && !engine_lost_ && next_submit_ < prompts_.size() && sequences_in_flight_ < max_in_flight() &&
         next_submit_ < next_deliver_ + 8 * max_in_flight())
    submit(next_submit_++, now);
}

std::vector<int32_t> GenerateJob::prompt_ids(const PromptLine& line, std::string& text) const {
  if (line.chat || (options_.chat && line.ids.empty())) {
    ChatRequest chat = line.chat ? *line.chat : user_message(line.text);
    for (const auto& entry : options_.chat_template_kwargs) chat.template_kwargs.insert(entry);
    const RenderedChat rendered = assets_.render_chat(chat);
    text = rendered.text;
    return assets_.encode_chat(rendered, options_.trust_special_tokens);
  }
  return line.ids.empty() ? assets_.encode_text(line.text) : line.ids;
}

void GenerateJob::submit(size_t index, TimePoint now) {
  const PromptLine& line = prompts_[index];
  FinishedPrompt refused;  // what is handed on when the prompt cannot become a request
  refused.index = index;
  refused.prompt = line.text;
  try {
    refused.prompt_ids = prompt_ids(line, refused.prompt);
    PreparedRequest prepared = prepare_request(merged(line.sampling, options_.sampling), assets_, refused.prompt_ids,
                                               facts_.vocab_size, facts_.max_model_len);
    prepared.request.id = RequestId(index + 1);
    const SamplingParams& sampling = prepared.request.sampling;
    std::string echo;
    if (prepared.output.echo) echo = line.ids.empty() ? refused.prompt : assets_.tokenizer->decode(line.ids);
    Active active{index, refused.prompt, size_t(std::max(sampling.n, sampling.beam_width)),
                  RunningPrompt(assets_.tokenizer.get(), sampling.n, prepared.output, std::move(echo))};
    sequences_in_flight_ += active.sequences;
    active_.emplace(prepared.request.id, std::move(active));
    port_->submit(ledger_.admit(std::move(prepared.request), now).request);
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
    for (size_t i = 0; i < record->choices.size(); ++i)
      if (!active.running.text(int32_t(i)).finished())
        blocks += (prompt + int64_t(record->choices[i].ids.size()) + block - 1) / block - prompt / block;
  }
  return pool > 0 ? std::min(1.0, double(blocks) / double(pool)) : 0.0;
}

void GenerateJob::on_events(const std::vector<EngineEvent>& events, TimePoint now) {
  for (const EngineEvent& event : events) {
    if (const auto* token = std::get_if<TokenEvent>(&event)) on_token(*token, now);
    if (const auto* scores = std::get_if<PromptLogprobsEvent>(&event)) ledger_.append(*scores);
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

void GenerateJob::count_token(TimePoint now) {
  ++summary_.generated_tokens;
  if (summary_.first_token == TimePoint{}) summary_.first_token = now;
  summary_.last_token = now;
}

void GenerateJob::on_token(const TokenEvent& event, TimePoint now) {
  RequestRecord* record = ledger_.append(event, now);
  if (!record) return;
  Active& active = active_.at(event.request);
  RunningPrompt& running = active.running;
  const TextAssembler& text = running.text(event.choice);
  const bool was_finished = text.finished();
  if (event.token.id >= 0 && !was_finished) count_token(now);
  const std::string fresh = running.add(event);
  if (!fresh.empty() && running.output().streams()) sink_.on_text(active.index, event.choice, fresh);
  // A beam search is ended by the engine alone: a beam's score comes with its end.
  if (running.output().is_beam_search ? record->ended() : running.finished()) {
    if (!record->ended()) port_->cancel(event.request);  // ended by its text: the engine need not go on
    return complete(event.request, "");
  }
  const bool by_text = text.finished() && !was_finished && event.finish == FinishReason::none;
  if (by_text && !running.output().is_beam_search) port_->cancel(event.request, event.choice);
}

void GenerateJob::on_failed(const RequestFailedEvent& event) {
  if (ledger_.fail(event))
    complete(event.request, event.message.empty() ? "the engine gave no reason" : event.message);
}

void GenerateJob::complete(RequestId id, const std::string& error) {
  RequestRecord& record = *ledger_.find(id);
  Active& active = active_.at(id);
  FinishedPrompt finished = active.running.finish(std::move(record));
  finished.index = active.index;
  finished.prompt = active.prompt;
  finished.error = error;
  if (!error.empty()) {
    finished.choices.clear();
  } else {
    summary_.prompt_tokens += int64_t(finished.prompt_ids.size());
    summary_.cached_tokens += record.cached_tokens;
    summary_.first_token_seconds.push_back(std::chrono::duration<double>(record.first_token - record.admitted).count());
  }
  sequences_in_flight_ -= active.sequences;
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
