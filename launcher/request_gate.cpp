#include "launcher/request_gate.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace trireme {
namespace {

int32_t unfinished_choices(const Request& request) {
  return request.sampling.n - int32_t(std::ranges::count_if(request.emitted, &EmittedChoice::finished));
}

}  // namespace

void RequestGate::open(RequestPort& engine) {
  close();
  std::lock_guard lock(wake_mutex_);
  engine_ = &engine;
}

void RequestGate::close() {
  {
    std::lock_guard lock(wake_mutex_);
    engine_ = nullptr;
  }
  settled_ = false;
  open_.clear();
  held_.clear();
  events_.clear();
}

void RequestGate::wake() {
  std::lock_guard lock(wake_mutex_);
  if (engine_) engine_->wake();
}

void RequestGate::settle() {
  settled_ = true;
  std::set<RequestId> known;
  for (const auto& [id, choices] : open_) known.insert(id);
  for (const auto& [id, request] : held_) known.insert(id);
  supervisor_.on_resubmitted(known);
  release();
}

void RequestGate::submit(Request request) {
  if (!engine_) return;
  const RequestId id = request.id;
  CHECK(!open_.contains(id) && !held_.contains(id)) << "request" << id << "submitted twice to one attempt";
  if (!supervisor_.admits(id)) return void(held_.emplace(id, std::move(request)));
  open_.emplace(id, unfinished_choices(request));
  engine_->submit(std::move(request));
}

void RequestGate::cancel(RequestId request, int32_t choice) {
  if (!engine_) return supervisor_.on_gone(request);
  const auto held = held_.find(request);
  if (held == held_.end()) {
    engine_->cancel(request, choice);
    if (choice >= 0) return;
    open_.erase(request);
  } else {
    if (choice >= 0) return;  // no choice of it can end before it runs
    for (int32_t i = 0; i < held->second.sampling.n; ++i) {
      const auto before = std::ranges::find(held->second.emitted, i, &EmittedChoice::choice);
      const bool replayed = before != held->second.emitted.end();
      if (replayed && before->finished) continue;
      TokenEvent end;
      end.request = request;
      end.choice = i;
      end.index = replayed ? int32_t(before->ids.size()) : 0;
      end.finish = FinishReason::abort;
      events_.emplace_back(end);
    }
    held_.erase(held);
  }
  supervisor_.on_gone(request);
  release();
}

void RequestGate::note_token(const TokenEvent& event) {
  supervisor_.on_progress(event.request);
  const auto entry = open_.find(event.request);
  if (entry == open_.end()) return;  // the job has ended it
  if (event.finish != FinishReason::none && --entry->second <= 0) open_.erase(entry);
}

void RequestGate::note(const std::vector<EngineEvent>& events) {
  for (const EngineEvent& event : events) {
    if (const auto* token = std::get_if<TokenEvent>(&event)) note_token(*token);
    if (const auto* failed = std::get_if<RequestFailedEvent>(&event); failed && open_.erase(failed->request) > 0)
      supervisor_.on_progress(failed->request);
  }
  release();
}

void RequestGate::release() {
  if (!engine_ || !settled_ || fault_ == RestartFault::held_forgotten) return;
  for (auto entry = held_.begin(); entry != held_.end();) {
    if (!supervisor_.admits(entry->first)) {
      ++entry;
      continue;
    }
    Request request = std::move(entry->second);
    entry = held_.erase(entry);
    open_.emplace(request.id, unfinished_choices(request));
    engine_->submit(std::move(request));
  }
}

std::vector<EngineEvent> RequestGate::take_events() { return std::exchange(events_, {}); }

std::vector<RequestId> RequestGate::running(const std::vector<RequestId>& requests) const {
  if (fault_ == RestartFault::all_blamed) {
    std::vector<RequestId> all;
    for (const auto& [id, choices] : open_) all.push_back(id);
    return all;
  }
  std::vector<RequestId> found;
  std::ranges::copy_if(requests, std::back_inserter(found), [this](RequestId id) { return open_.contains(id); });
  return found;
}

}  // namespace trireme
