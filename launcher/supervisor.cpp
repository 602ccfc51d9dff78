#include "launcher/supervisor.h"

#include <algorithm>
#include <utility>

#include "protocol/link.h"

namespace trireme {
namespace {

constexpr Duration kFirstDelay = std::chrono::seconds(1), kHealthyLife = std::chrono::seconds(60);
constexpr int kCrashesToTrial = 2, kCrashesAlone = 2;
constexpr int kExitConfig = 2, kExitOutside = 1;

bool contains(const std::vector<RequestId>& requests, RequestId request) {
  return std::ranges::find(requests, request) != requests.end();
}

}  // namespace

void Supervisor::on_ready() {
  ready_ = true;
  if (fault_ != RestartFault::load_failures_forgotten) load_failures_ = 0;
}

void Supervisor::on_progress(RequestId request) {
  fruitless_ = 0;
  if (fault_ != RestartFault::progress_ignored) acquit(request);
}

void Supervisor::on_gone(RequestId request) { acquit(request); }

void Supervisor::acquit(RequestId request) {
  crashes_.erase(request);
  crashes_alone_.erase(request);
  for (std::vector<RequestId>& group : trials_) std::erase(group, request);
  std::erase_if(trials_, [](const auto& group) { return group.empty(); });
}

void Supervisor::on_resubmitted(const std::set<RequestId>& open) {
  for (std::vector<RequestId>& group : trials_)
    std::erase_if(group, [&](RequestId request) { return !open.contains(request); });
  std::erase_if(trials_, [](const auto& group) { return group.empty(); });
  const auto is_closed = [&](const auto& entry) { return !open.contains(entry.first); };
  std::erase_if(crashes_, is_closed);
  std::erase_if(crashes_alone_, is_closed);
}

bool Supervisor::admits(RequestId request) const {
  return trials_.empty() || fault_ == RestartFault::held_leaks || contains(trials_.front(), request);
}

void Supervisor::put_on_trial(std::vector<RequestId> suspects, bool first) {
  if (suspects.empty()) return;
  for (RequestId request : suspects) crashes_.erase(request);
  const auto middle = suspects.begin() + std::ptrdiff_t((suspects.size() + 1) / 2);
  const std::vector<RequestId> half(suspects.begin(), middle), other(middle, suspects.end());
  std::vector<std::vector<RequestId>> halves = {half};
  if (!other.empty() && fault_ != RestartFault::half_forgotten) halves.push_back(other);
  trials_.insert(first ? trials_.begin() : trials_.end(), halves.begin(), halves.end());
}

// Returns those found to be poison.
std::vector<RequestId> Supervisor::judge(const std::vector<RequestId>& suspects) {
  if (on_trial()) return judge_trial(suspects);
  std::vector<RequestId> twice;
  for (RequestId request : suspects)
    if (++crashes_[request] >= kCrashesToTrial) twice.push_back(request);
  put_on_trial(std::move(twice), false);
  return {};
}

std::vector<RequestId> Supervisor::judge_trial(const std::vector<RequestId>& suspects) {
  const std::vector<RequestId> group = trials_.front();
  std::vector<RequestId> accused, company;
  for (RequestId request : suspects) (contains(group, request) ? accused : company).push_back(request);
  // Others that were acquitted ran beside it: this says little. It runs again, alone from the start.
  if (!company.empty() && fault_ != RestartFault::poisoned_in_company) {
    std::vector<RequestId> twice;
    for (RequestId request : company)
      if (++crashes_[request] >= kCrashesToTrial) twice.push_back(request);
    put_on_trial(std::move(twice), false);
    return {};
  }
  if (accused.empty()) return {};
  if (group.size() > 1) {
    trials_.pop_front();
    std::vector<RequestId> rest;  // those whose turn had not come
    for (RequestId request : group)
      if (!contains(accused, request)) rest.push_back(request);
    if (!rest.empty()) trials_.push_front(std::move(rest));
    put_on_trial(std::move(accused), true);
    return {};
  }
  const int enough = fault_ == RestartFault::poisoned_too_early ? 1 : kCrashesAlone;
  if (++crashes_alone_[accused.front()] < enough || fault_ == RestartFault::never_poisoned) return {};
  acquit(accused.front());  // it will not run again
  return accused;
}

Verdict Supervisor::give_up(int exit_code, std::string reason) const {
  return {.exit_code = exit_code, .reason = std::move(reason)};
}

Verdict Supervisor::on_end(const AttemptEnd& end) {
  ++counters_.of(end.cause);
  const bool was_ready = std::exchange(ready_, false);
  // Whose mistake it is matters before the first token; what runs already was configured well.
  const bool config = end.blame == FailureKind::config || end.blame == FailureKind::checkpoint;
  if (config && fault_ != RestartFault::config_restarted)
    return give_up(end.blame == FailureKind::config ? kExitConfig : kExitOutside, "");
  const int code = end.blame == FailureKind::environment ? kExitOutside : kExitEngineFailure;
  if (options_.max_restarts == 0 || end.hopeless) return give_up(code, "");

  Verdict verdict{.restart = true};
  if (was_ready && end.lived >= kHealthyLife) fruitless_ = 0;
  if (was_ready) verdict.poisoned = judge(end.suspects);
  counters_.poisoned += int64_t(verdict.poisoned.size());
  if (!was_ready && ++load_failures_ >= kMaxLoadFailures && fault_ != RestartFault::load_failures_forgotten)
    return give_up(end.blame == FailureKind::environment ? kExitOutside : kExitNeverReady,
                   "it ended " + std::to_string(load_failures_) + " times in a row before it was ready");
  if (fruitless_ >= options_.max_restarts)
    return give_up(code, "it was restarted " + std::to_string(fruitless_) +
                             " times without a new token (--max-restarts)");
  const bool narrowed = was_ready && (on_trial() || !verdict.poisoned.empty());
  if (fruitless_ > 0 && !narrowed)
    verdict.delay = std::min(options_.backoff_max, kFirstDelay * (int64_t(1) << std::min(fruitless_ - 1, 20)));
  ++fruitless_;
  ++attempt_;
  ++counters_.restarts;
  return verdict;
}

}  // namespace trireme
