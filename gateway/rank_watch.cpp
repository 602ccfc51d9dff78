#include "gateway/rank_watch.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace trireme {
namespace {

constexpr Duration kStallBegins = std::chrono::milliseconds(250);

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

bool is_start_phase(Phase phase) { return phase <= Phase::warming || phase == Phase::stopping; }

}  // namespace

std::string rank_text(int rank, const RankState& state) {
  if (!state.connected) return fmt::format("rank {} (never called)", rank);
  const std::string gpu = state.hello.gpu.empty() ? "" : ", " + state.hello.gpu;
  return fmt::format("rank {} on {} (pid {}{}), {}, step {}, last operation {}", rank, state.hello.host,
                     state.hello.pid, gpu, phase_name(state.beat.phase), state.beat.step,
                     state.beat.operation.empty() ? "none" : state.beat.operation);
}

RankWatch::RankWatch(int world, const WatchLimits& limits, TimePoint start)
    : limits_(limits), start_(start), last_moved_(start), ranks_(size_t(world)) {}

void RankWatch::on_hello(int rank, const Hello& hello, TimePoint now, const std::string& address) {
  RankState& state = ranks_.at(size_t(rank));
  state.hello = hello;
  state.hello.key.clear();
  if (!state.connected) state.last_moved = now;
  state.connected = true;
  state.address = address;
  state.last_heard = state.last_beat = now;
  last_moved_ = now;
}

void RankWatch::on_heard(int rank, TimePoint now) { ranks_.at(size_t(rank)).last_heard = now; }

void RankWatch::on_beat(int rank, const Beat& beat, TimePoint now) {
  RankState& state = ranks_.at(size_t(rank));
  state.last_heard = state.last_beat = now;
  // A change of phase is movement: the clock of a step starts with the step.
  if (beat.counter != state.beat.counter || beat.phase != state.beat.phase || beat.step != state.beat.step) {
    state.last_moved = now;
    last_moved_ = now;
    waited_baseline_.clear();
  }
  state.beat = beat;
}

void RankWatch::on_output(int rank, TimePoint now) {
  ranks_.at(size_t(rank)).last_moved = now;
  last_moved_ = now;
  waited_baseline_.clear();
}

void RankWatch::on_stopped(int rank) { ranks_.at(size_t(rank)).stopped = true; }
void RankWatch::on_ended(int rank) { ranks_.at(size_t(rank)).ended = true; }

bool RankWatch::all_connected() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const RankState& state) { return state.connected; });
}

bool RankWatch::all_stopped() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const RankState& state) { return state.stopped; });
}

EngineFault RankWatch::fault(FaultKind kind, int rank, const std::string& text, TimePoint now) const {
  EngineFault result;
  result.kind = kind;
  result.rank = rank;
  result.text = text;
  result.summary = "the engine failed: " + (rank < 0 ? "" : rank_text(rank, ranks_.at(size_t(rank))) + ": ") + text;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const RankState& state = ranks_[i];
    std::string line = rank_text(int(i), state);
    if (state.connected)
      line += fmt::format("; heard {:.1f} s ago, moved {:.1f} s ago{}", seconds(now - state.last_heard),
                          seconds(now - state.last_moved), state.ended ? ", connection ended" : "");
    result.details.push_back(line);
  }
  return result;
}

EngineFault RankWatch::failed(const Failure& failure, TimePoint now) const {
  RankWatch told = *this;  // the failure's step and operation are newer than the last beat's
  RankState& state = told.ranks_.at(size_t(failure.rank));
  state.beat.step = failure.step;
  state.beat.operation = failure.operation;
  EngineFault result = told.fault(FaultKind::failed, failure.rank, failure.text, now);
  result.cause = failure.kind;
  return result;
}

Duration RankWatch::run_queue_credit() {
  const bool begin = waited_baseline_.empty();
  uint64_t credit = 0;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const uint64_t waited = ranks_[i].beat.waited_ns;
    if (begin)
      waited_baseline_.push_back(waited);
    else if (waited > waited_baseline_[i])
      credit = std::max(credit, waited - waited_baseline_[i]);
  }
  return std::min(Duration(std::chrono::nanoseconds(std::min(credit, uint64_t(INT64_MAX)))), limits_.most_credit);
}

// Of those that should beat.
TimePoint RankWatch::oldest_beat(TimePoint now) const {
  TimePoint oldest = now;
  for (const RankState& state : ranks_)
    if (state.connected && !state.stopped) oldest = std::min(oldest, state.last_beat);
  return oldest;
}

std::optional<EngineFault> RankWatch::judge_progress(TimePoint now) {
  const Duration still = now - last_moved_, told = oldest_beat(now) - last_moved_;
  if (still < kStallBegins) return std::nullopt;
  int stepping = -1, starting = -1;  // of each kind the rank that has stood still the longest
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const RankState& state = ranks_[i];
    if (!state.connected || state.stopped) continue;
    int& slowest = state.beat.phase == Phase::stepping ? stepping : starting;
    if (state.beat.phase != Phase::stepping && !is_start_phase(state.beat.phase)) continue;
    if (slowest < 0 || state.last_moved < ranks_[size_t(slowest)].last_moved) slowest = int(i);
  }
  if (stepping >= 0 && told - run_queue_credit() > limits_.hang)
    return fault(FaultKind::hung, stepping, fmt::format("hung: no rank has moved for {:.1f} s", seconds(still)), now);
  if (starting >= 0 && still > limits_.startup)
    return fault(FaultKind::late, starting,
                 fmt::format("stuck: no rank has moved for {:.0f} s while {}", seconds(still),
                             phase_name(ranks_[size_t(starting)].beat.phase)),
                 now);
  return std::nullopt;
}

// One death pulls others down through MPI within milliseconds, and which end of file came first says little.
std::string RankWatch::others_ended(size_t rank) const {
  std::string text;
  for (size_t i = rank + 1; i < ranks_.size(); ++i)
    if (ranks_[i].ended && !ranks_[i].stopped) text += "; so did " + rank_text(int(i), ranks_[i]);
  return text;
}

std::optional<EngineFault> RankWatch::judge(TimePoint now) {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const RankState& state = ranks_[i];
    if (state.stopped) continue;
    if (state.ended) return fault(FaultKind::ended, int(i), "died (its connection ended)" + others_ended(i), now);
    if (state.connected && now - state.last_heard > limits_.silence)
      return fault(FaultKind::silent, int(i),
                   fmt::format("stopped or cut off: not heard for {:.1f} s", seconds(now - state.last_heard)), now);
    if (!state.connected && now - start_ > limits_.connect)
      return fault(FaultKind::late, int(i), fmt::format("did not call within {:.0f} s", seconds(limits_.connect)), now);
  }
  return judge_progress(now);
}

}  // namespace trireme
