#pragma once
// Between a job and the engine: the job submits as if nothing had happened; while suspects are on trial (supervisor.h)
// the gate holds back everything else, and lets it through when the trial is over. One thread (the front's), except for
// wake().
// Held requests are bounded by what the job accepts.

#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "gateway/engine_client.h"
#include "launcher/supervisor.h"

namespace trireme {

class RequestGate final : public RequestPort {
 public:
  explicit RequestGate(Supervisor& supervisor, RestartFault fault = RestartFault::none)
      : supervisor_(supervisor), fault_(fault) {}

  void open(RequestPort& engine);  // an attempt is ready; the job's start() follows, then settle()
  void settle();
  void close();  // the attempt is dead: what is submitted now is dropped, the job's next start() submits it

  // CHECKs that nothing is submitted twice in one attempt.
  void submit(Request request) override;
  void cancel(RequestId request, int32_t choice = -1) override;
  void wake() override;  // any thread

  // What the engine said, after the job has seen it: tokens clear suspects, ends are noted, held requests go on.
  void note(const std::vector<EngineEvent>& events);
  // Answers to cancels of held requests, which the engine never saw.
  std::vector<EngineEvent> take_events();

  // Of these, those that run in this attempt and have not ended.
  std::vector<RequestId> running(const std::vector<RequestId>& requests) const;
  size_t num_held() const { return held_.size(); }

 private:
  void release();
  void note_token(const TokenEvent& event);

  Supervisor& supervisor_;
  RestartFault fault_;
  std::mutex wake_mutex_;          // of what wake() reads: written under it, read without it by the front's thread
  RequestPort* engine_ = nullptr;
  bool settled_ = false;
  std::map<RequestId, int32_t> open_;  // given to the engine; choices that have not ended
  std::map<RequestId, Request> held_;
  std::vector<EngineEvent> events_;
};

}  // namespace trireme
