#include "runtime/peer_sums.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <vector>

#include "base/backend_traits.h"
#include "base/half.h"
#include "base/log.h"
#include "kernels/norm.h"

namespace trireme {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr AllReduceForm kForms[] = {AllReduceForm::one_shot, AllReduceForm::two_shot};

// Small whole numbers, so that the sum over ranks is exact in bf16; never the same for two ranks or two rounds.
float proof_term(int rank, int round, int64_t i) { return float((i + 3 * rank + round) % 8) - 3.0f; }

// The peers' memory sums as arithmetic does, in both forms, in every area.
bool proves_right(PeerBuffers buffers, int64_t cols, const Stream& stream) {
  buffers.timeout_ns = 1'000'000'000;
  constexpr int kRounds = 2 * kPeerAreas;
  const int64_t rows = 2 * buffers.size + 1, count = rows * cols;
  const Device device = stream.device();
  const Tensor data(partial_dtype(device), {rows, cols}, device);
  std::vector<uint16_t> values(static_cast<size_t>(count));
  for (int round = 0; round < kRounds; ++round)
    for (const AllReduceForm form : kForms) {
      const PeerSum sum{buffers, form};
      if (!all_reduce_fits(sum, rows, cols, device)) continue;
      for (int64_t i = 0; i < count; ++i) values[size_t(i)] = f32_to_bf16(proof_term(buffers.rank, round, i));
      copy_async(data.data(), values.data(), size_t(count) * 2, device, stream);
      peer_all_reduce(data, sum, stream);
      copy_async(values.data(), data.data(), size_t(count) * 2, device, stream);
      stream.synchronize();
      if (buffers.failed()) return false;
      for (int64_t i = 0; i < count; ++i) {
        float expected = 0;
        for (int rank = 0; rank < buffers.size; ++rank) expected += proof_term(rank, round, i);
        if (bf16_to_f32(values[size_t(i)]) != expected) return false;
      }
    }
  return true;
}

// Times one residual sum with its norm, as a decode step's graph runs it.
class Stopwatch {
 public:
  Stopwatch(Cluster& cluster, int64_t rows, int64_t cols, const Stream& stream)
      : cluster_(cluster),
        stream_(stream),
        hidden_(zeros(activation_dtype(stream.device()), {rows, cols})),
        normed_(zeros(activation_dtype(stream.device()), {rows, cols})),
        partial_(zeros(partial_dtype(stream.device()), {rows, cols})),
        weight_(zeros(DType::f32, {cols})) {}

  double library() {
    return seconds([&] {
      cluster_.tp_group().all_reduce_sum(partial_, stream_);
      add_rms_norm(normed_, hidden_, partial_, TensorView(), weight_, 1e-5f, stream_);
    });
  }
  double peers(AllReduceForm form) {
    const PeerSum sum{*cluster_.tp_peers(), form};
    if (!all_reduce_fits(sum, hidden_.dim(0), hidden_.dim(1), stream_.device())) return kNever;
    return seconds([&] { fused_all_reduce(normed_, hidden_, partial_, TensorView(), {weight_, 1e-5f}, sum, stream_); });
  }

 private:
  static constexpr int kRepetitions = 20, kPasses = 3;

  Tensor zeros(DType dtype, std::initializer_list<int64_t> dims) {
    Tensor tensor(dtype, dims, stream_.device());
    fill_zero_async(tensor.data(), size_t(tensor.view().bytes()), stream_.device(), stream_);
    return tensor;
  }
  // The shortest pass: others of the machine disturb, nothing helps.
  double seconds(const std::function<void()>& launch) {
    launch();
    stream_.synchronize();
    const Graph graph = Graph::record(stream_, [&] {
      for (int i = 0; i < kRepetitions; ++i) launch();
    });
    double shortest = kNever;
    for (int pass = 0; pass < kPasses; ++pass) {
      const auto begin = std::chrono::steady_clock::now();
      graph.launch(stream_);
      stream_.synchronize();
      shortest = std::min(shortest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return shortest / kRepetitions;
  }

  Cluster& cluster_;
  const Stream& stream_;
  Tensor hidden_, normed_, partial_, weight_;
};

// Powers of two rows, up to what an area takes or a step has.
std::vector<AllReduceTime> measure(Cluster& cluster, int64_t cols, int64_t max_rows, const Stream& stream) {
  const int64_t row_bytes = cols * dtype_block_bytes(partial_dtype(stream.device()));
  std::vector<AllReduceTime> times;
  for (int64_t rows = 1; rows <= max_rows && rows * row_bytes <= cluster.tp_peers()->area_bytes; rows *= 2) {
    Stopwatch watch(cluster, rows, cols, stream);
    times.push_back({rows * row_bytes, watch.peers(AllReduceForm::one_shot), watch.peers(AllReduceForm::two_shot),
                     watch.library()});
  }
  return times;
}

// Rank 0's for all, its stage's and others'.
AllReduceLimits agree(Cluster& cluster, AllReduceLimits limits) {
  std::vector<std::byte> bytes(sizeof limits);
  std::memcpy(bytes.data(), &limits, sizeof limits);
  bytes = cluster.broadcast_bytes(std::move(bytes));
  std::memcpy(&limits, bytes.data(), sizeof limits);
  return limits;
}

}  // namespace

std::optional<AllReduceForm> PeerSums::form(const TensorView& partial) const {
  if (!buffers || partial.empty()) return std::nullopt;
  const int64_t bytes = partial.bytes();
  if (bytes > std::max(limits.one_shot, limits.two_shot)) return std::nullopt;
  const auto fits = [&](AllReduceForm form) {
    return all_reduce_fits({*buffers, form}, partial.dim(0), partial.dim(1), partial.device());
  };
  const bool one_shot = bytes <= limits.one_shot;
  const AllReduceForm first = one_shot ? AllReduceForm::one_shot : AllReduceForm::two_shot;
  const AllReduceForm second = one_shot ? AllReduceForm::two_shot : AllReduceForm::one_shot;
  if (fits(first)) return first;
  return fits(second) ? std::optional(second) : std::nullopt;
}

AllReduceLimits limits_of(std::span<const AllReduceTime> times) {
  constexpr double kEqual = 1.03;  // within what one measurement differs from the next
  AllReduceLimits limits;
  bool one_shot = true, peers = true;  // still the best, at all smaller sizes too
  for (const AllReduceTime& time : times) {
    one_shot = one_shot && time.one_shot <= kEqual * std::min(time.two_shot, time.library);
    peers = peers && std::min(time.one_shot, time.two_shot) <= kEqual * time.library;
    if (one_shot) limits.one_shot = time.bytes;
    if (peers) limits.two_shot = time.bytes;
  }
  return limits;
}

PeerSums prepare_peer_sums(Cluster& cluster, int64_t cols, int64_t max_rows) {
  const bool all_have = cluster.all_minimum(cluster.tp_peers() != nullptr) != 0;
  if (!all_have) return {};
  const Stream stream(cluster.device());
  const bool first = cluster.topology().rank() == 0;
  cluster.barrier();  // nobody's wait begins while a rank is still at something longer
  if (cluster.all_minimum(proves_right(*cluster.tp_peers(), cols, stream)) == 0) {
    if (first)
      log_warning(
          "sums through the GPUs' shared memory are wrong on this machine: all go through NCCL, which is slower "
          "(--disable-custom-all-reduce leaves this test out)");
    return {};
  }
  const auto times = measure(cluster, cols, max_rows, stream);
  const AllReduceLimits limits = agree(cluster, limits_of(times));
  if (first) {
    for (const AllReduceTime& time : times)
      log_debug("all-reduce of {} bytes: one shot {:.1f} us, two shots {:.1f} us, NCCL {:.1f} us", time.bytes,
                time.one_shot * 1e6, time.two_shot * 1e6, time.library * 1e6);
    log_debug("all-reduces: one shot up to {} bytes, two shots up to {}, else NCCL", limits.one_shot, limits.two_shot);
  }
  return {cluster.tp_peers(), limits};
}

void sum_over_group(TensorView data, Communicator& group, const PeerSums& sums, const Stream& stream) {
  if (const auto form = sums.form(data))
    peer_all_reduce(data, {*sums.buffers, *form}, stream);
  else
    group.all_reduce_sum(data, stream);
}

}  // namespace trireme
