#pragma once
// A rank's end of the line to the front: dials, says Hello, beats every 100 ms from rank_progress() on a thread of
// its own (away from MPI and CUDA), carries log lines and failure reports, and on rank 0 commands and events.
//
// A rank without a front has no purpose: end of file, or 5 s without a word from it, and the process leaves by
// _exit(kExitFrontLost).
//
// Bounds: outgoing bytes 64 MiB, incoming commands 65,536 and 64 MiB. A front that lets either fill has stopped
// reading or flouts the protocol: it counts as lost. Log lines beyond 1 MiB of waiting output are dropped and counted.

#include <chrono>
#include <exception>
#include <memory>
#include <string>

#include "protocol/endpoint.h"
#include "protocol/events.h"
#include "protocol/messages.h"

namespace trireme {

inline constexpr int kExitEngineFailure = 70;  // a rank that failed and said so
inline constexpr int kExitFrontLost = 71;      // a rank whose front is gone

struct RankIdentity {
  int rank = 0, world = 1;
  std::string gpu;  // "cuda:0" or empty
};

struct LinkOptions {
  FrontEndpoint front;
  RankIdentity identity;
  std::chrono::milliseconds beat_period{100};
  std::chrono::milliseconds dial_timeout{5000};   // a refused connection is tried again until then
  std::chrono::milliseconds front_timeout{5000};  // silence after which the front counts as lost
  // The front is in rank 0: mpirun ends it when another rank leaves with an error, and its code is any rank's, so a rank
  // that loses it leaves by kExitEngineFailure, too.
  bool front_is_a_rank = false;
};

// Any thread may call any member.
class FrontLink final : public EnginePort {
 public:
  // Dials and waits for Welcome. Throws Error naming the address when nobody answers or the key is refused.
  explicit FrontLink(const LinkOptions& options);
  ~FrontLink() override;  // without stop(): the front sees a death
  FrontLink(const FrontLink&) = delete;

  // The GPU is known only after MPI has said which rank of its host this is.
  void set_gpu(const std::string& gpu);

  // Rank 0.
  void send_ready(const EngineFacts& facts);
  std::vector<EngineCommand> receive(std::chrono::microseconds timeout) override;
  void emit(std::vector<EngineEvent> events) override;
  void announce(int64_t step, std::span<const RequestId> requests) override;

  // Sends log lines of this process (base/log.h) to the front until stop().
  void forward_logs();

  // Tells the front why this rank ends, with step and last operation from rank_progress(); returns once the bytes
  // have left the process or after 500 ms.
  void report_failure(const std::exception& error);
  void report_failure(FailureKind kind, const std::string& text);

  // Reports it and leaves by _exit(kExitEngineFailure); where the front is a rank, only once the front has left (it
  // would be ended before it has told its user), or after 5 s.
  [[noreturn]] void fail(const std::exception& error);

  // Clean end of this rank: says so, sends what is queued, joins the thread. Idempotent.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Asks the kernel to kill this process when its parent ends, and ends at once when the parent is gone already.
// Call first thing in main(), from the main thread.
void die_with_parent();

// A rank's place as mpirun or srun tells it in the environment; -1: not started by either.
int rank_from_environment();
int world_from_environment();

}  // namespace trireme
