#pragma once
// What one seed of the restart simulator plays, and one attempt of it: the real engine over simulated ranks.

#include <map>
#include <random>
#include <string>
#include <vector>

#include "coordinator/engine.h"
#include "gateway/generate_job.h"
#include "protocol/codec.h"
#include "tests/coordinator/support/fake_executor.h"
#include "tests/coordinator/support/fake_port.h"

namespace trireme::test {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15u + 3) {}
  int between(int low, int high) { return low + int(random_() % uint64_t(high - low + 1)); }
  bool one_in(int n) { return between(1, n) == 1; }

 private:
  std::mt19937_64 random_;
};

// What one seed plays.
struct Play {
  ClusterInfo cluster;
  std::vector<PromptLine> prompts;
  std::map<RequestId, int> poison;  // kills the engine in plans once so many of its tokens are out
  int deaths = 0;                   // at random moments, of any cause but poison
  int death_in = 30;                // one round in so many
  int load_failures = 0;            // in a row, from the attempt `bad_attempt` on
  int bad_attempt = 0;              // 0: none
  bool config = false;              // that attempt says a flag is wrong
};

Play make_play(uint64_t seed);

// One attempt: the real engine, and what it has written.
class SimulatedEngine final : public EnginePort {
 public:
  SimulatedEngine(const FakeModel& model, uint64_t seed, uint32_t attempt, const Play& play, bool mortal)
      : attempt_(attempt),
        play_(play),
        mortal_(mortal),
        reader_(attempt),
        executor_(model, seed + attempt),
        engine_(*this, executor_, clock_, {}) {}

  std::vector<EngineCommand> receive(std::chrono::microseconds) override { return std::exchange(commands_, {}); }
  void emit(std::vector<EngineEvent> events) override {
    for (const EngineEvent& event : events)
      if (const auto* token = std::get_if<TokenEvent>(&event)) ++tokens_[token->request];
    say(EventBatch{std::move(events)});
  }
  void announce(int64_t step, std::span<const RequestId> requests) override {
    say(Announce{step, {requests.begin(), requests.end()}});
    for (RequestId request : requests) {
      const auto poison = play_.poison.find(request);
      if (mortal_ && poison != play_.poison.end() && tokens_[request] >= poison->second) poisoned = true;
    }
  }

  void say(const RankMessage& message) { append_frame(written, message, attempt_); }
  void hear(std::string_view bytes) {
    reader_.feed(bytes);
    while (auto message = reader_.next()) {
      if (auto* submit = std::get_if<SubmitCommand>(&*message)) {
        for (const EmittedChoice& emitted : submit->request.emitted) {
          tokens_[submit->request.id] += int(emitted.ids.size());
          replayed += int64_t(emitted.ids.size());
        }
        commands_.emplace_back(std::move(*submit));
      } else if (auto* cancel = std::get_if<CancelCommand>(&*message)) {
        commands_.emplace_back(*cancel);
      }
    }
  }
  void step() {
    clock_.time += std::chrono::milliseconds(7);
    engine_.step();
    engine_.scheduler().verify();
  }

  std::string written;  // not yet read by the front
  bool poisoned = false;
  int64_t replayed = 0;

 private:
  uint32_t attempt_;
  const Play& play_;
  bool mortal_;
  FrameReader<FrontMessage> reader_;
  std::vector<EngineCommand> commands_;
  std::map<RequestId, int> tokens_;
  FakeClock clock_;
  FakeExecutor executor_;
  Engine engine_;
};

}  // namespace trireme::test
