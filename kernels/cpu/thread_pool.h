#pragma once
// The threads behind the CPU kernels: one pool per process. How work is cut into chunks may depend on the
// number of threads, what a chunk computes never does.

#include <cstdint>
#include <type_traits>

namespace trireme {

// How many threads the CPU kernels use, the caller's included (default 1: no pool at all). Not to be called
// while a kernel runs.
void set_cpu_threads(int threads);
int cpu_threads();

}  // namespace trireme

namespace trireme::cpu {

using ChunkFunction = void (*)(void* context, int64_t chunk);

// Runs function(context, c) for each c in [0, chunks), in no particular order, and returns when all are done.
// The caller takes part. A second thread that calls while the pool is busy does its chunks by itself, and so
// does a chunk that calls. Chunks must not throw.
void run_chunks(int64_t chunks, ChunkFunction function, void* context);

template <typename Function>
void parallel_for(int64_t chunks, Function&& function) {
  using Plain = std::remove_reference_t<Function>;
  run_chunks(
      chunks, [](void* context, int64_t chunk) { (*static_cast<Plain*>(context))(chunk); },
      const_cast<std::remove_const_t<Plain>*>(&function));
}

// Cuts `items` into at most `max_chunks` runs of nearly equal length and calls function(begin, end) on each.
template <typename Function>
void parallel_ranges(int64_t items, int64_t max_chunks, Function&& function) {
  const int64_t chunks = items < max_chunks ? items : max_chunks;
  parallel_for(chunks, [&](int64_t c) { function(items * c / chunks, items * (c + 1) / chunks); });
}

// The number of runs worth cutting rows of `row_cost` elementary operations into: 1 where waking a thread
// would cost more than the work.
int64_t worthwhile_chunks(int64_t rows, int64_t row_cost);

}  // namespace trireme::cpu
