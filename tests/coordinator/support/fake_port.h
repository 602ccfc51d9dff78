#pragma once
// The front's side of the engine as two lists, and a clock that tests set.

#include <utility>

#include "base/clock.h"
#include "protocol/events.h"

namespace trireme::test {

class FakePort final : public EnginePort {
 public:
  std::vector<EngineCommand> receive(std::chrono::microseconds timeout) override {
    last_timeout = timeout;
    return std::exchange(commands, {});
  }
  void emit(std::vector<EngineEvent> emitted) override {
    for (EngineEvent& event : emitted) events.push_back(std::move(event));
  }
  void announce(int64_t step, std::span<const RequestId> requests) override {
    announced_step = step;
    announced.assign(requests.begin(), requests.end());
  }

  std::vector<EngineCommand> commands;  // for the next receive
  std::chrono::microseconds last_timeout{-1};
  std::vector<EngineEvent> events;      // emitted so far
  int64_t announced_step = -1;
  std::vector<RequestId> announced;  // with that step
};

class FakeClock final : public Clock {
 public:
  TimePoint now() const override { return time; }
  TimePoint time{};
};

}  // namespace trireme::test
