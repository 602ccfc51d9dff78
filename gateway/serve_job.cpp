#include "gateway/serve_job.h"

#include <algorithm>

#include "base/log.h"
#include "gateway/api_error.h"

namespace trireme {
namespace {

constexpr int kRetrySeconds = 5;

ApiError unavailable(int status, const std::string& message, int retry_after_seconds) {
  ApiError error(status, message);
  error.retry_after_seconds = retry_after_seconds;
  return error;
}

double seconds_between(TimePoint begin, TimePoint end) { return std::chrono::duration<double>(end - begin).count(); }

}  // namespace

const char* serve_phase_name(ServePhase phase) {
  switch (phase) {
    case ServePhase::starting:
      return "starting";
    case ServePhase::loading:
      return "loading";
    case ServePhase::ready:
      return "ready";
    case ServePhase::recovering:
      return "recovering";
    case ServePhase::draining:
      return "draining";
  }
  return "unknown";
}

ServeJob::ServeJob(const ModelAssets& assets, const ServeOptions& options) : assets_(assets), options_(options) {}

// --- any thread

void ServeJob::set_loading(double progress) {
  std::lock_guard lock(mutex_);
  if (status_.phase != ServePhase::starting && status_.phase != ServePhase::loading) return;
  status_.phase = ServePhase::loading;
  status_.progress = progress;
}

bool ServeJob::drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  if (wake_) wake_->wake();
  return true;
}

ServeStatus ServeJob::status() const {
  std::lock_guard lock(mutex_);
  ServeStatus status = status_;
  if (draining_) status.phase = ServePhase::draining;
  return status;
}

std::shared_ptr<const EngineFacts> ServeJob::facts() const {
  std::lock_guard lock(mutex_);
  if (!facts_) {
    const std::string percent = std::to_string(int(status_.progress * 100));
    throw unavailable(503, "the model is still loading (" + percent + "%): try again in some seconds", kRetrySeconds);
  }
  return facts_;
}

std::optional<EngineStats> ServeJob::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

ServeJob::CallId ServeJob::submit(std::shared_ptr<ServeCall> call, std::vector<ServePrompt> prompts) {
  std::lock_guard lock(mutex_);
  if (draining_) {
    if (options_.metrics) options_.metrics->on_rejected("draining");
    throw unavailable(503, "the server is shutting down: ask another one", kRetrySeconds);
  }
  if (status_.open_requests + prompts.size() > options_.max_requests) {
    if (options_.metrics) options_.metrics->on_rejected("queue_full");
    throw unavailable(429,
                      "the server has " + std::to_string(status_.open_requests) +
                          " requests in work or waiting, and at most " + std::to_string(options_.max_requests) +
                          " are allowed (--max-queue): try again later",
                      1);
  }
  status_.open_requests += prompts.size();
  const CallId id = next_call_++;
  inbox_.push_back(Submission{id, std::move(call), std::move(prompts)});
  if (wake_) wake_->wake();
  return id;
}

void ServeJob::hang_up(CallId call) { post(HangUp{call}); }

void ServeJob::post(Message message) {
  std::lock_guard lock(mutex_);
  inbox_.push_back(std::move(message));
  if (wake_) wake_->wake();
}

// --- the front loop

void ServeJob::start(const EngineFacts& facts, RequestPort& port, TimePoint) {
  {
    std::lock_guard lock(mutex_);
    facts_ = std::make_shared<const EngineFacts>(facts);
    wake_ = &port;
    status_.phase = ServePhase::ready;
  }
  if (options_.metrics) {
    options_.metrics->on_engine_ready(facts);
    options_.metrics->set_ready(true);
  }
  engine_ = &port;
  std::vector<RequestId> unfinished;
  for (const auto& [id, active] : active_) unfinished.push_back(id);
  for (RequestId id : unfinished)
    if (const auto found = active_.find(id); found != active_.end()) replay(id, found->second);
}

void ServeJob::on_engine_lost(const EngineFault& fault, TimePoint) {
  log_warning("the engine is lost ({}); {} requests wait for the next one", fault.summary, active_.size());
  engine_ = nullptr;
  if (options_.metrics) options_.metrics->set_ready(false);
  std::lock_guard lock(mutex_);
  wake_ = nullptr;
  if (status_.phase == ServePhase::ready) status_.phase = ServePhase::recovering;
}

void ServeJob::finish(TimePoint) { release_port(); }

void ServeJob::release_port() {
  engine_ = nullptr;
  std::lock_guard lock(mutex_);
  wake_ = nullptr;
}

void ServeJob::on_started(const std::vector<RequestId>& requests, TimePoint now) {
  for (const RequestId id : requests)
    if (const auto found = active_.find(id); found != active_.end() && found->second.started == TimePoint{})
      found->second.started = now;
}

void ServeJob::on_restart_counters(const RestartCounters& counters) {
  for (size_t cause = 0; options_.metrics && cause < counters.ends.size(); ++cause)
    for (int64_t i = counted_.ends[cause]; i < counters.ends[cause]; ++i)
      options_.metrics->on_restart(restart_cause_name(RestartCause(cause)));
  counted_ = counters;
}

void ServeJob::on_tick(TimePoint now) {
  take_inbox(now);
  send_comments(now);
}

void ServeJob::take_inbox(TimePoint now) {
  std::vector<Message> messages;
  {
    std::lock_guard lock(mutex_);
    messages.swap(inbox_);
  }
  for (Message& message : messages) {
    if (auto* submission = std::get_if<Submission>(&message))
      accept(std::move(*submission), now);
    else
      close(std::get<HangUp>(message).id, FinishReason::abort);
  }
}

void ServeJob::accept(Submission submission, TimePoint now) {
  OpenCall& call = calls_[submission.id];
  call.handler = std::move(submission.call);
  call.unfinished = submission.prompts.size();
  call.finished.resize(submission.prompts.size());
  call.last_output = now;
  for (size_t i = 0; i < submission.prompts.size(); ++i) {
    ServePrompt& prompt = submission.prompts[i];
    Request& request = prompt.prepared.request;
    request.id = next_request_++;
    call.requests.push_back(request.id);
    const int32_t choices = request.sampling.n;
    active_.emplace(request.id, Active{submission.id, i,
                                       RunningPrompt(assets_.tokenizer.get(), choices, prompt.prepared.output,
                                                     std::move(prompt.echo)),
                                       std::vector<size_t>(size_t(choices), 0),
                                       std::vector<TimePoint>(size_t(choices))});
    if (options_.metrics)
      options_.metrics->on_admitted(choices, request.sampling.max_new_tokens);
    if (options_.on_admitted) options_.on_admitted(request);
    ledger_.admit(std::move(request), now);
  }
  if (!engine_) return;  // start() sends them
  const std::vector<RequestId> requests = call.requests;
  try {
    for (RequestId id : requests) engine_->submit(ledger_.find(id)->request);
  } catch (const Error& error) {
    fail(submission.id, 503, error.what());
  }
}

// A choice that ended by its text has ended, whatever the engine knew. Where nothing was emitted the next attempt
// begins anew, and computes a prompt once for all choices; so do beams, of which nothing was shown.
void ServeJob::replay(RequestId id, Active& active) {
  RequestRecord& record = *ledger_.find(id);
  if (active.running.output().is_beam_search) {
    record.choices.assign(record.choices.size(), {});
    active.running.restart();
  }
  Request request = Ledger::replay(record);
  bool fresh = true;
  for (EmittedChoice& emitted : request.emitted) {
    emitted.finished |= active.running.text(emitted.choice).finished();
    fresh &= !emitted.finished && emitted.ids.empty();
  }
  if (fresh) request.emitted.clear();
  try {
    engine_->submit(std::move(request));
  } catch (const Error& error) {
    fail(active.call, 503, error.what());
  }
}

void ServeJob::on_events(const std::vector<EngineEvent>& events, TimePoint now) {
  for (const EngineEvent& event : events) {
    if (const auto* token = std::get_if<TokenEvent>(&event)) on_token(*token, now);
    if (const auto* scores = std::get_if<PromptLogprobsEvent>(&event)) ledger_.append(*scores);
    if (const auto* failed = std::get_if<RequestFailedEvent>(&event))
      if (ledger_.fail(*failed))
        fail(active_.at(failed->request).call, failed->client_fault ? 400 : 500,
             failed->message.empty() ? "the engine gave no reason" : failed->message);
    if (const auto* stats = std::get_if<EngineStats>(&event)) {
      if (options_.metrics) options_.metrics->on_engine_stats(*stats);
      std::lock_guard lock(mutex_);
      stats_ = *stats;
    }
  }
}

void ServeJob::on_token(const TokenEvent& event, TimePoint now) {
  RequestRecord* record = ledger_.append(event, now);
  if (!record) return;
  Active& active = active_.at(event.request);
  const TextAssembler& text = active.running.text(event.choice);
  const bool was_finished = text.finished();
  if (!was_finished) count_token(active, *record, event, now);
  const std::string fresh = active.running.add(event);
  const CallId call = active.call;
  if (!was_finished && active.running.output().streams()) {
    tell(active, *record, event, fresh, now);
    if (!calls_.contains(call)) return;  // cut: its client does not read
  }
  const bool beams = active.running.output().is_beam_search;  // a beam's score comes with its end
  if (beams ? record->ended() : active.running.finished()) return complete(event.request, now);
  const bool by_text = text.finished() && !was_finished && event.finish == FinishReason::none;
  if (by_text && engine_ && !beams) engine_->cancel(event.request, event.choice);
}

void ServeJob::tell(Active& active, const RequestRecord& record, const TokenEvent& event, const std::string& text,
                    TimePoint now) {
  OpenCall& call = calls_.at(active.call);
  const auto choice = size_t(event.choice);
  const size_t end = record.choices[choice].ids.size();
  call.last_output = now;
  call.handler->on_delta({.prompt = active.index,
                          .choice = event.choice,
                          .text = text,
                          .first_token = active.told[choice],
                          .end_token = end,
                          .finish = active.running.text(event.choice).finish(),
                          .record = record,
                          .running = active.running});
  active.told[choice] = end;
  if (call.handler->unsent_bytes() <= options_.max_unsent_bytes) return;
  call.handler->on_overflow();
  close(active.call, FinishReason::abort);
}

// A beam search's tokens are counted at its end: until then nobody has seen any.
void ServeJob::count_token(Active& active, const RequestRecord& record, const TokenEvent& event, TimePoint now) {
  if (!options_.metrics || event.token.id < 0 || active.running.output().is_beam_search) return;
  TimePoint& newest = active.newest[size_t(event.choice)];
  const bool is_first = std::ranges::all_of(active.newest, [](TimePoint time) { return time == TimePoint{}; });
  if (is_first)
    options_.metrics->on_first_token(seconds_between(record.admitted, now), int64_t(record.request.prompt.size()),
                                     record.cached_tokens);
  options_.metrics->on_token(newest == TimePoint{} ? -1 : seconds_between(newest, now));
  newest = now;
}

void ServeJob::count_end(const Active& active, const RequestRecord& record, FinishReason reason, TimePoint now) {
  if (!options_.metrics) return;
  const bool beams = active.running.output().is_beam_search;
  FinishedFigures figures{.reason = reason,
                          .n = record.request.sampling.n,
                          .max_tokens = record.request.sampling.max_new_tokens,
                          .prompt_tokens = int64_t(record.request.prompt.size()),
                          .cached_tokens = record.cached_tokens};
  for (const ChoiceRecord& choice : record.choices) {
    figures.generated_tokens += int64_t(choice.ids.size());
    figures.longest_choice = std::max(figures.longest_choice, int64_t(choice.ids.size()));
  }
  const TimePoint first = record.first_token == TimePoint{} ? now : record.first_token;
  const TimePoint started = active.started == TimePoint{} ? record.admitted : std::min(active.started, first);
  figures.queue_seconds = seconds_between(record.admitted, started);
  figures.prefill_seconds = seconds_between(started, first);
  figures.decode_seconds = seconds_between(first, now);
  figures.e2e_seconds = seconds_between(record.admitted, now);
  if (beams && figures.generated_tokens > 0) {
    options_.metrics->on_first_token(figures.e2e_seconds, figures.prompt_tokens, figures.cached_tokens);
    for (int64_t i = 0; i < figures.generated_tokens; ++i) options_.metrics->on_token(-1);
  }
  options_.metrics->on_finished(figures);
}

void ServeJob::complete(RequestId id, TimePoint now) {
  Active& active = active_.at(id);
  const CallId call_id = active.call;
  OpenCall& call = calls_.at(call_id);
  RequestRecord& record = *ledger_.find(id);
  if (!record.ended() && engine_) engine_->cancel(id);  // ended by its text: the engine need not go on
  const FinishReason by_text = active.running.text(0).finish();
  count_end(active, record, by_text == FinishReason::none ? record.choices[0].finish : by_text, now);
  call.finished[active.index] = active.running.finish(std::move(record));
  call.finished[active.index].index = active.index;
  ledger_.erase(id);
  active_.erase(id);
  if (--call.unfinished > 0) return;
  call.handler->on_finished(call.finished);
  close(call_id, FinishReason::none);
}

void ServeJob::fail(CallId id, int status, const std::string& message) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  found->second.handler->on_failed(status, message);
  close(id, FinishReason::error);
}

void ServeJob::close(CallId id, FinishReason reason) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  const OpenCall call = std::move(found->second);
  calls_.erase(found);
  for (RequestId request : call.requests) {
    const RequestRecord* record = ledger_.find(request);
    if (!record) continue;
    if (!record->ended() && engine_) engine_->cancel(request);
    if (const auto active = active_.find(request); active != active_.end())
      count_end(active->second, *record, reason, std::chrono::steady_clock::now());
    ledger_.erase(request);
    active_.erase(request);
  }
  std::lock_guard lock(mutex_);
  status_.open_requests -= call.requests.size();
}

void ServeJob::send_comments(TimePoint now) {
  for (auto& [id, call] : calls_) {
    if (now - call.last_output < options_.silence) continue;
    call.last_output = now;
    call.handler->on_silence();
  }
}

void ServeJob::cancel() {
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
  }
  take_inbox(TimePoint{});
  std::vector<CallId> open;
  for (const auto& [id, call] : calls_) open.push_back(id);
  for (CallId id : open) fail(id, 503, "the server is shutting down: ask another one");
}

bool ServeJob::done() const {
  if (!calls_.empty()) return false;
  std::lock_guard lock(mutex_);
  return draining_ && inbox_.empty();
}

}  // namespace trireme
