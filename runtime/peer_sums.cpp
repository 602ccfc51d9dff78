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
#include "kernels/peer_gather.h"

namespace trireme {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr AllReduceForm kForms[] = {AllReduceForm::one_shot, AllReduceForm::two_shot, AllReduceForm::two_shot_dense};

// Small whole numbers, so that the sum over ranks is exact in bf16; never the same for two ranks or two rounds. Element
// i has the term of i % kProofPeriod.
constexpr int kProofPeriod = 8;
float proof_term(int rank, int round, int i) { return float((i + 3 * rank + round) % kProofPeriod) - 3.0f; }

// One sum of known result. data: [rows, cols] partial dtype; values: its elements' bits.
bool sums_right(const PeerSum& sum, int round, const Tensor& data, std::vector<uint16_t>& values,
                const Stream& stream) {
  uint16_t own[kProofPeriod], expected[kProofPeriod];
  for (int i = 0; i < kProofPeriod; ++i) {
    float total = 0;
    for (int rank = 0; rank < sum.buffers.size; ++rank) total += proof_term(rank, round, i);
    own[i] = f32_to_bf16(proof_term(sum.buffers.rank, round, i));
    expected[i] = f32_to_bf16(total);
  }
  for (size_t i = 0; i < values.size(); ++i) values[i] = own[i % kProofPeriod];
  copy_async(data.data(), values.data(), values.size() * 2, stream.device(), stream);
  peer_all_reduce(data, sum, stream);
  copy_async(values.data(), data.data(), values.size() * 2, stream.device(), stream);
  stream.synchronize();
  bool right = !sum.buffers.failed();
  for (size_t i = 0; i < values.size(); ++i) right = right && values[i] == expected[i % kProofPeriod];
  return right;
}

// Sampling's exchange: every rank's words, zeros among them, arrive as they were.
bool gathers_right(const PeerBuffers& buffers, int round, const Stream& stream) {
  constexpr int kWords = 1000;
  const auto word = [&](int rank, int i) { return i % 3 ? uint32_t(i + 1000 * rank + 10000 * round) : 0u; };
  std::vector<uint32_t> own, all(size_t(buffers.size * kWords));
  for (int i = 0; i < kWords; ++i) own.push_back(word(buffers.rank, i));
  const int64_t bytes = kWords * int64_t(sizeof(uint32_t));
  const Tensor in(DType::u8, {bytes}, stream.device()), out(DType::u8, {buffers.size, bytes}, stream.device());
  copy_async(in.data(), own.data(), size_t(bytes), stream.device(), stream);
  peer_all_gather(out, in, buffers, stream);
  copy_async(all.data(), out.data(), all.size() * sizeof(uint32_t), stream.device(), stream);
  stream.synchronize();
  bool right = !buffers.failed();
  for (int rank = 0; rank < buffers.size; ++rank)
    for (int i = 0; i < kWords; ++i) right = right && all[size_t(rank * kWords + i)] == word(rank, i);
  return right;
}

// The peers' memory sums as arithmetic does: in all forms, in every area, with fewer rows than blocks and with more.
bool proves_right(PeerBuffers buffers, int64_t cols, bool gathers, const Stream& stream) {
  buffers.timeout_ns = 1'000'000'000;
  int round = 0;
  for (const AllReduceForm form : kForms) {
    const PeerSum sum{buffers, form};
    if (all_reduce_rows(sum, cols, stream.device()) == 0) continue;
    for (const int64_t rows : {2 * buffers.size + 1, 300}) {
      const Tensor data(partial_dtype(stream.device()), {rows, cols}, stream.device());
      std::vector<uint16_t> values(static_cast<size_t>(rows * cols));
      for (int area = 0; area < kPeerAreas; ++area)
        if (!sums_right(sum, round++, data, values, stream)) return false;
    }
  }
  for (int area = 0; gathers && area < kPeerAreas; ++area)
    if (!gathers_right(buffers, round++, stream)) return false;
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
        weight_(zeros(DType::f32, {cols})),
        repetitions_(int(std::clamp(kBytes / partial_.view().bytes(), int64_t(2), int64_t(20)))) {}

  double library() {
    return seconds([&] {
      cluster_.tp_group().all_reduce_sum(partial_, stream_);
      add_rms_norm(normed_, hidden_, partial_, TensorView(), weight_, 1e-5f, stream_);
    });
  }
  double peers(AllReduceForm form) {
    const PeerSum sum{*cluster_.tp_peers(), form};
    if (all_reduce_rows(sum, hidden_.dim(1), stream_.device()) == 0) return kNever;
    return seconds([&] { fused_all_reduce(normed_, hidden_, partial_, TensorView(), {weight_, 1e-5f}, sum, stream_); });
  }

 private:
  static constexpr int kPasses = 3;
  static constexpr int64_t kBytes = int64_t(16) << 20;  // of all repetitions, about

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
      for (int i = 0; i < repetitions_; ++i) launch();
    });
    double shortest = kNever;
    for (int pass = 0; pass < kPasses; ++pass) {
      const auto begin = std::chrono::steady_clock::now();
      graph.launch(stream_);
      stream_.synchronize();
      shortest = std::min(shortest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return shortest / repetitions_;
  }

  Cluster& cluster_;
  const Stream& stream_;
  Tensor hidden_, normed_, partial_, weight_;
  int repetitions_;
};

constexpr int64_t kDenseRows = 256;                    // of fewer, a second block on a processor finds none
constexpr int64_t kMostMeasured = int64_t(128) << 20;  // bytes: a step of 8,192 tokens of a 70B model

// Powers of two rows, up to what a step has and what memory allows.
std::vector<AllReduceTime> measure(Cluster& cluster, int64_t cols, int64_t max_rows, const Stream& stream) {
  const int64_t row_bytes = cols * dtype_block_bytes(partial_dtype(stream.device()));
  constexpr int64_t kShareOfMemory = 16;  // three tensors of that many bytes are less than a fifth of what is free
  const int64_t free_bytes = cluster.all_minimum(int64_t(device_free_bytes(stream.device())));
  const int64_t most = std::min(kMostMeasured, free_bytes / kShareOfMemory);
  std::vector<AllReduceTime> times;
  for (int64_t rows = 1; rows <= max_rows && rows * row_bytes <= most; rows *= 2) {
    Stopwatch watch(cluster, rows, cols, stream);
    const double dense = rows < kDenseRows ? kNever : watch.peers(AllReduceForm::two_shot_dense);
    times.push_back({rows * row_bytes, watch.peers(AllReduceForm::one_shot), watch.peers(AllReduceForm::two_shot),
                     dense, watch.library()});
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
  const int64_t bytes = partial.bytes(), by_form[] = {limits.one_shot, limits.two_shot, limits.dense};
  if (bytes > std::ranges::max(by_form)) return std::nullopt;
  std::optional<AllReduceForm> possible;
  for (size_t i = 0; i < std::size(kForms); ++i) {
    if (all_reduce_rows({*buffers, kForms[i]}, partial.dim(1), partial.device()) == 0) continue;
    if (bytes <= by_form[i]) return kForms[i];
    possible = kForms[i];
  }
  return possible;
}

AllReduceLimits limits_of(std::span<const AllReduceTime> times) {
  constexpr double kEqual = 1.03;  // within what one measurement differs from the next
  AllReduceLimits limits;
  bool one_shot = true, two_shot = true, dense = true;  // it or one before it still the best, at all smaller sizes too
  for (const AllReduceTime& time : times) {
    one_shot = one_shot && time.one_shot <= kEqual * std::min({time.two_shot, time.dense, time.library});
    two_shot = two_shot && std::min(time.one_shot, time.two_shot) <= kEqual * std::min(time.dense, time.library);
    dense = dense && std::min({time.one_shot, time.two_shot, time.dense}) <= kEqual * time.library;
    if (one_shot) limits.one_shot = time.bytes;
    if (two_shot) limits.two_shot = time.bytes;
    if (dense) limits.dense = time.bytes;
  }
  if (times.empty()) return limits;
  if (one_shot) limits.one_shot = kNoLimit;
  if (two_shot) limits.two_shot = kNoLimit;
  if (dense) limits.dense = kNoLimit;
  return limits;
}

PeerSums prepare_peer_sums(Cluster& cluster, int64_t cols, int64_t max_rows, bool gathers) {
  const bool all_have = cluster.all_minimum(cluster.tp_peers() != nullptr) != 0;
  if (!all_have) return {};
  const auto begin = std::chrono::steady_clock::now();
  const Stream stream(cluster.device());
  const bool first = cluster.topology().rank() == 0;
  cluster.barrier();  // nobody's wait begins while a rank is still at something longer
  if (cluster.all_minimum(proves_right(*cluster.tp_peers(), cols, gathers, stream)) == 0) {
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
      log_debug("all-reduce of {} bytes: one shot {:.1f} us, two shots {:.1f} us, dense {:.1f} us, NCCL {:.1f} us",
                time.bytes, time.one_shot * 1e6, time.two_shot * 1e6, time.dense * 1e6, time.library * 1e6);
    log_debug("all-reduces: one shot up to {} bytes, two shots up to {}, dense up to {}, else NCCL; found in {:.2f} s",
              limits.one_shot, limits.two_shot, limits.dense,
              std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
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
