#pragma once
// When is a rank dead, stopped or hung? The rules alone: no sockets, no clock. The caller feeds what it read and asks
// judge() only after it has drained its sockets, so that a front that was itself slow blames nobody.
//
//   ended    end of file without a clean Stopped before it
//   silent   nothing at all for `silence`: stopped, or cut off
//   hung     some rank is stepping and no rank's counter moved for `hang`, less the time local ranks waited for a core
//   late     a rank has not called within `connect`, or nothing moved for `startup` while ranks start, join or load

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "protocol/messages.h"

namespace trireme {

struct WatchLimits {
  Duration silence = std::chrono::milliseconds(1500);
  Duration hang = std::chrono::milliseconds(1500);
  Duration startup = std::chrono::seconds(60);
  Duration connect = std::chrono::seconds(60);
  Duration most_credit = std::chrono::seconds(30);  // of run-queue delay
};

enum class FaultKind : uint8_t { ended, silent, hung, late, failed, protocol };

struct EngineFault {
  FaultKind kind = FaultKind::ended;
  FailureKind cause = FailureKind::internal;  // failed: whose fault; otherwise internal
  int rank = -1;                              // -1: no rank in particular
  std::string text;                           // for failed: the rank's own words, bare
  std::string summary;                        // one line: rank, host, step, last operation
  std::vector<std::string> details;           // one line per rank
};

struct RankState {
  Hello hello;
  Beat beat;
  bool connected = false, ended = false, stopped = false;
  TimePoint last_heard, last_moved;
};

class RankWatch {
 public:
  // Nanoseconds a process waited for a core so far; 0 where unknown (remote ranks).
  using RunQueueDelay = std::function<Duration(const Hello&)>;

  RankWatch(int world, const WatchLimits& limits, TimePoint start, RunQueueDelay run_queue_delay);

  void on_hello(int rank, const Hello& hello, TimePoint now);
  void on_heard(int rank, TimePoint now);  // any bytes
  void on_beat(int rank, const Beat& beat, TimePoint now);
  void on_output(int rank, TimePoint now);  // tokens: movement as well
  void on_stopped(int rank);
  void on_ended(int rank);

  std::optional<EngineFault> judge(TimePoint now);
  EngineFault failed(const Failure& failure, TimePoint now) const;
  EngineFault fault(FaultKind kind, int rank, const std::string& text, TimePoint now) const;

  bool all_connected() const;
  bool all_stopped() const;
  const std::vector<RankState>& ranks() const { return ranks_; }

 private:
  std::string others_ended(size_t rank) const;
  std::optional<EngineFault> judge_progress(TimePoint now);
  Duration run_queue_credit();

  WatchLimits limits_;
  TimePoint start_, last_moved_;
  RunQueueDelay run_queue_delay_;
  std::vector<RankState> ranks_;
  std::vector<Duration> delay_baseline_;  // by rank, taken when a stall begins; empty: none
};

// "rank 2 on host b (pid 71, cuda:1), step 18, attention"
std::string rank_text(int rank, const RankState& state);

// /proc/<pid>/task/*/schedstat of a process of this host and pid namespace, summed over its threads.
Duration read_run_queue_delay(int64_t pid);

}  // namespace trireme
