// Ranks as threads of one process: each copies its partials into its own area and reads everybody's. Two areas would
// do: a rank that writes the one of two calls ago has seen all ranks arrive at the call between.

#include "kernels/fused_all_reduce.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/norm.h"

namespace trireme::cpu {
namespace {

std::byte* area_of(const PeerBuffers& peers, int rank, uint32_t epoch) {
  return peers.memory[size_t(rank)] + kPeerHeaderBytes + int64_t(epoch % kPeerAreas) * peers.area_bytes;
}

// False, with the status set, when `rank` does not come to the call in time.
bool wait_for(const PeerBuffers& peers, int rank, uint32_t epoch) {
  const std::atomic_ref<uint32_t> arrived(peers.header(rank)->arrived);
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(peers.timeout_ns);
  while (arrived.load(std::memory_order_acquire) <= epoch) {
    const bool late = std::chrono::steady_clock::now() > end;
    if (late && peers.status) std::atomic_ref<uint32_t>(*peers.status).store(uint32_t(rank) + 1);
    if (late || peers.failed()) return false;
    std::this_thread::yield();
  }
  return true;
}

// The sums of one call, row-major without gaps.
std::vector<double> sum_over_ranks(const TensorView& partial, const PeerBuffers& peers) {
  const int64_t rows = partial.dim(0), cols = partial.dim(1);
  PeerHeader& own = *peers.header(peers.rank);
  const uint32_t epoch = own.epoch;
  auto* out = reinterpret_cast<double*>(area_of(peers, peers.rank, epoch));
  for (int64_t r = 0; r < rows; ++r) std::copy_n(partial.as<double>() + r * partial.stride(0), cols, out + r * cols);
  std::atomic_ref<uint32_t>(own.arrived).store(epoch + 1, std::memory_order_release);
  std::vector<double> sums(static_cast<size_t>(rows * cols));
  for (int rank = 0; rank < peers.size; ++rank) {
    if (!wait_for(peers, rank, epoch)) break;
    const auto* values = reinterpret_cast<const double*>(area_of(peers, rank, epoch));
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
  }
  own.epoch = epoch + 1;
  return sums;
}

}  // namespace

int64_t all_reduce_rows(const PeerSum& sum, int64_t cols) {
  return sum.buffers.area_bytes / (cols * int64_t(sizeof(double)));
}

void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream) {
  std::vector<double> sums = sum_over_ranks(partial, sum.buffers);
  const TensorView summed(sums.data(), DType::f64, {hidden.dim(0), hidden.dim(1)}, hidden.device());
  if (norm.weight.empty()) return trireme::add_partial(hidden, summed, bias, stream);
  trireme::add_rms_norm(normed, hidden, summed, bias, norm.weight, norm.eps, stream);
}

void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream&) {
  const std::vector<double> sums = sum_over_ranks(data, sum.buffers);
  const int64_t cols = data.dim(1);
  for (int64_t r = 0; r < data.dim(0); ++r)
    std::copy_n(sums.data() + r * cols, cols, data.as<double>() + r * data.stride(0));
}

}  // namespace trireme::cpu
