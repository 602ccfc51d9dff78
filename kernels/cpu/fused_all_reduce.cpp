#include "kernels/fused_all_reduce.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/peer_areas.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"

namespace trireme::cpu {
namespace {

// The sums of one call, row-major without gaps.
std::vector<double> sum_over_ranks(const TensorView& partial, const PeerBuffers& peers) {
  const int64_t rows = partial.dim(0), cols = partial.dim(1);
  PeerHeader& own = *peers.header(peers.rank);
  const uint32_t epoch = own.epoch;
  auto* out = reinterpret_cast<double*>(area_of(peers, peers.rank, epoch));
  for (int64_t r = 0; r < rows; ++r) std::copy_n(partial.as<double>() + r * partial.stride(0), cols, out + r * cols);
  arrive(peers, epoch);
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
