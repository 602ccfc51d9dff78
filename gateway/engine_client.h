#pragma once
// The front's end of the engine: listens, proves the ranks that dial, keeps them alive with keepalives, watches them
// (rank_watch.h), and passes requests and tokens. One I/O thread; the caller's thread gets everything by poll().
//
// Bounds: 64 connections that have not proved themselves, 5 s each; 1,000,000 undelivered events, then the thread stops
// reading ranks (and judging them) until the caller has polled; 1 GiB of commands on their way, then submit() throws.
// After a fault nothing more is read: the fault is the last event. The connections stay until the client is destroyed,
// so that ranks leave only once their front has told why (under an outer mpirun rank 0 is the front's own process).

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "gateway/rank_watch.h"
#include "protocol/endpoint.h"
#include "protocol/events.h"
#include "protocol/messages.h"

namespace trireme {

struct EngineClientOptions {
  std::string listen_address;   // "unix:/path" or "tcp:0.0.0.0:0"
  std::string advertised_host;  // TCP: the name ranks reach this host by
  uint32_t attempt = 1;
  int world = 1;
  WatchLimits limits;
};

struct RankLog {
  int rank = 0;
  LogLine line;
};
struct EngineStopped {};  // every rank said so

using ClientEvent = std::variant<EngineFacts, std::vector<EngineEvent>, RankLog, EngineStopped, EngineFault>;

// What a job needs of an engine.
class RequestPort {
 public:
  virtual ~RequestPort() = default;
  virtual void submit(Request request) = 0;
  virtual void cancel(RequestId request, int32_t choice = -1) = 0;  // -1: every choice
  virtual void wake() {}  // any thread: the loop that runs the job ticks at once
};

class EngineClient final : public RequestPort {
 public:
  explicit EngineClient(const EngineClientOptions& options);  // listens when it returns
  ~EngineClient() override;
  EngineClient(const EngineClient&) = delete;

  const FrontEndpoint& endpoint() const;  // what the ranks need to know

  // Events since the last call, in order; waits up to `timeout` for the first. One thread.
  std::vector<ClientEvent> poll(std::chrono::milliseconds timeout);

  // Any thread. Without a rank 0 (not connected yet, or gone) commands wait or are dropped.
  void submit(Request request) override;
  void cancel(RequestId request, int32_t choice = -1) override;
  void wake() override;  // poll() returns, with or without events
  void shutdown(bool drain);

  std::vector<RankState> ranks() const;     // a copy, for reports and progress
  bool output_outstanding() const;          // undelivered events are waiting
  // Requests of the plans that may be under way: the last pp + 1 announced. Ascending, each once.
  std::vector<RequestId> suspects() const;
  // Requests that plans have begun to name since the last call; one that paused may come again.
  std::vector<RequestId> take_started();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme
