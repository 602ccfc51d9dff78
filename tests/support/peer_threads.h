#pragma once
// Ranks that write into each other's memory (base/peer_buffers.h), as threads of this process. On GPUs they take the
// visible ones in turn: with one GPU their kernels run on it side by side.

#include <algorithm>
#include <barrier>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/device_sharing.h"
#include "base/peer_buffers.h"
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme::test {

// Kernels of different streams wait for each other here: each stream needs a queue of its own, and no launch may stop
// to load code.
inline const bool kPeerEnvironment =
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1) == 0 && setenv("CUDA_MODULE_LOADING", "EAGER", 1) == 0;

// One rank of a group in this process.
struct PeerRank {
  static constexpr int64_t kAreaBytes = 1 << 20;

  PeerRank(Device on, int rank, int size, int64_t area_bytes)
      : device(on), stream(on), memory(DType::u8, {peer_memory_bytes(area_bytes)}, on) {
    fill_zero_async(memory.data(), size_t(memory.dim(0)), device, stream);
    stream.synchronize();
    buffers.rank = rank, buffers.size = size, buffers.area_bytes = area_bytes;
    buffers.status = static_cast<uint32_t*>(pinned_allocate(sizeof(uint32_t)));
    *buffers.status = 0;
  }
  ~PeerRank() { pinned_free(buffers.status); }

  Device device;
  Stream stream;
  Tensor memory;
  PeerBuffers buffers;
};

class PeerThreads {
 public:
  PeerThreads(Device device, int size, int64_t area_bytes = PeerRank::kAreaBytes) {
    for (int rank = 0; rank < size; ++rank) {
      const int gpus = std::max(cuda_device_count(), 1);
      const Device on = device.is_cpu() ? device : Device{DeviceKind::cuda, rank % gpus};
      set_current_device(on);
      ranks_.push_back(std::make_unique<PeerRank>(on, rank, size, area_bytes));
      if (size > gpus) ranks_.back()->buffers.max_blocks = 20;  // all ranks' blocks run at once on one GPU
    }
    for (const auto& rank : ranks_)
      for (const auto& peer : ranks_) {
        if (device.is_cuda()) reachable_ = reachable_ && enable_peer_access(rank->device, peer->device);
        rank->buffers.memory[size_t(peer->buffers.rank)] = static_cast<std::byte*>(peer->memory.data());
      }
    set_current_device(device);
  }
  bool reachable() const { return reachable_; }
  int size() const { return int(ranks_.size()); }
  PeerRank& rank(int i) { return *ranks_[size_t(i)]; }

  // A thread per rank: prepare(rank), which may allocate, and when all have, run(rank).
  void each(const std::function<void(PeerRank&)>& prepare, const std::function<void(PeerRank&)>& run) {
    std::barrier ready(size());
    std::vector<std::thread> threads;
    for (const auto& rank : ranks_)
      threads.emplace_back([&] {
        set_current_device(rank->device);
        prepare(*rank);
        rank->stream.synchronize();
        ready.arrive_and_wait();
        run(*rank);
        rank->stream.synchronize();
      });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::vector<std::unique_ptr<PeerRank>> ranks_;
  bool reachable_ = true;
};

}  // namespace trireme::test
