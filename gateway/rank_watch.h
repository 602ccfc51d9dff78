#pragma once
// When is a rank dead, stopped or hung? The rules alone: no sockets, no clock. The caller feeds what it read and asks
// judge() only after it has drained its sockets, so that a front that was itself slow blames nobody.
//
//   ended    end of file without a clean Stopped before it
//   silent   nothing at all for `silence`: stopped, or cut off
//   hung     some rank is stepping and no rank's counter moved for `hang`, less the time that a rank waited for a core,
//            as of the oldest of their newest beats: what a rank has not told yet is held against nobody
//   late     a rank has not called within `connect`, or nothing moved for `startup` while ranks start, join or load

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
  std::string address{};  // numeric, that it called from; empty: a Unix socket
  bool connected = false, ended = false, stopped = false;
  TimePoint last_heard, last_moved, last_beat;
};

class RankWatch {
 public:
  RankWatch(int world, const WatchLimits& limits, TimePoint start);

  void on_hello(int rank, const Hello& hello, TimePoint now, const std::string& address = "");
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
  TimePoint oldest_beat(TimePoint now) const;

  WatchLimits limits_;
  TimePoint start_, last_moved_;
  std::vector<RankState> ranks_;
  std::vector<uint64_t> waited_baseline_;  // by rank, taken when a stall begins; empty: none
};

// "rank 2 on host b (pid 71, cuda:1), step 18, attention"
std::string rank_text(int rank, const RankState& state);

}  // namespace trireme
