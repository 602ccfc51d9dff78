#pragma once
// What this rank is doing, for its beats and for the failure report. Written by the worker's thread (one
// relaxed store per op), read by the beat thread; never blocks. One process is one rank, so there is one.

#include <atomic>
#include <cstdint>

#include "base/profiler.h"

namespace trireme {

enum class Phase : uint8_t { starting, joining, loading, warming, idle, stepping, stopping };
const char* phase_name(Phase phase);

struct RankProgress {
  std::atomic<Phase> phase{Phase::starting};
  std::atomic<int64_t> step{-1};
  std::atomic<uint64_t> counter{0};                  // moves while the rank moves: ops, bytes read, peers joined
  std::atomic<const char*> operation{"starting"};    // a string literal: the last op begun
  std::atomic<uint32_t> loaded{0};                   // of its weights, per mille; an estimate

  std::atomic<const volatile uint64_t*> device_counter{nullptr};  // counted by the device itself; null: none

  uint64_t moved() const {
    const volatile uint64_t* device = device_counter.load(std::memory_order_acquire);
    return counter.load(std::memory_order_relaxed) + (device ? *device : 0);
  }

  void tick(const char* name) {
    operation.store(name, std::memory_order_relaxed);
    counter.fetch_add(1, std::memory_order_relaxed);
    if (profiling()) mark_op(name);
  }
};

RankProgress& rank_progress();

}  // namespace trireme
