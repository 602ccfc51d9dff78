// samples_bench [filter]: one step's sampling on one GPU, orders' upload and answers' copy included, with the logits of
// a sharp model and of one of random weights (flat), against reading logits and counts once. Also what the host spends
// on enqueueing a step.

#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "benchmarks/gpu/timing.h"
#include "kernels/bandwidth.h"
#include "runtime/sampling/shard_sampler.h"

namespace trireme::bench {
namespace {

constexpr Device kGpu{DeviceKind::cuda, 0};
constexpr int64_t kVocab = 128256;
constexpr int kMaxRows = 256;

__device__ uint32_t scrambled(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// Normal, with `peaks` ids of each row raised by up to 15.
__global__ void fill_logits(float* logits, int64_t n, float deviation, int peaks) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += int64_t(gridDim.x) * blockDim.x) {
    const uint32_t a = scrambled(uint32_t(i)), b = scrambled(a ^ 0x9e3779b9u);
    const float radius = sqrtf(-2.0f * logf((float(a) + 0.5f) * 0x1p-32f));
    logits[i] = deviation * radius * cospif(float(b) * 0x1p-31f);
    if (b % uint32_t(kVocab) < uint32_t(peaks)) logits[i] += 15.0f * float(a) * 0x1p-32f;
  }
}

// A twentieth of the ids are in the prompt or drawn.
__global__ void fill_counts(uint16_t* counts, int64_t n) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += int64_t(gridDim.x) * blockDim.x) {
    const uint32_t a = scrambled(uint32_t(i) + 12345);
    counts[i] = a % 20 ? 0 : uint16_t(a & 64 ? 0x8000 : 1 + a % 3);
  }
}

class SamplesBench {
 public:
  explicit SamplesBench(std::string filter)
      : filter_(std::move(filter)),
        stream_(kGpu),
        group_(make_local_communicator(kGpu)),
        sharp_(DType::f32, {kMaxRows, kVocab}, kGpu),
        flat_(DType::f32, {kMaxRows, kVocab}, kGpu),
        counts_(DType::u16, {kMaxRows, kVocab}, kGpu),
        lengths_(DType::i32, {kMaxRows}, kGpu),
        sampler_(kGpu, *group_, {kVocab, {0, kVocab}, kMaxRows, 2}) {
    fill_logits<<<2048, 256, 0, stream_.get()>>>(sharp_.as<float>(), kMaxRows * kVocab, 2.0f, 100);
    fill_logits<<<2048, 256, 0, stream_.get()>>>(flat_.as<float>(), kMaxRows * kVocab, 0.05f, 0);
    fill_counts<<<2048, 256, 0, stream_.get()>>>(counts_.as<uint16_t>(), kMaxRows * kVocab);
    const std::vector<int32_t> lengths(size_t(kMaxRows), 100);
    copy_async(lengths_.data(), lengths.data(), lengths.size() * sizeof(int32_t), kGpu, stream_);
    stream_.synchronize();
    slots_.length = lengths_;
    slots_.counts = counts_;
    limits_.bytes_per_second = measure_read_bandwidth(kGpu);
    limits_.flops_per_second = 1e15;  // of no account here
    std::printf("%s\nread bandwidth %.2f TB/s\n", device_description(kGpu).c_str(), limits_.bytes_per_second * 1e-12);
  }

  void run() {
    SampleRow greedy;
    greedy.temperature = 0;
    for (int rows : {1, 32, 256}) both("greedy", greedy, rows);
    SampleRow row = greedy;
    penalize(row);
    both("greedy, penalties", row, 256);
    for (int rows : {1, 32, 256}) both("temperature 0.8", warm(), rows);
    row = warm();
    row.temperature = 1;
    both("temperature 1", row, 256);
    row = warm();
    row.top_p = 0.95f;
    for (int rows : {1, 32, 256}) both("top-p", row, rows);
    row.top_k = 50;
    for (int rows : {1, 32, 64, 256}) both("top-k, top-p", row, rows);
    penalize(row);
    const double seconds = both("top-k, top-p, penalties", row, 256);
    row.top_logprobs = 20;
    both("top-k, top-p, penalties, 20 logprobs", row, 256);
    row = warm();
    row.top_k = 200;
    both("top-k 200", row, 256);
    row.top_k = 1000;
    both("top-k 1000", row, 256);
    row = warm();
    row.min_p = 0.05f;
    both("min-p", row, 256);
    row = warm();
    row.typical_p = 0.9f;
    both("typical-p", row, 256);
    row = warm();
    row.top_p = 0.95f;
    penalize(row);
    both("top-p, penalties", row, 256);
    row = warm();
    row.top_logprobs = 20;
    both("temperature 0.8, 20 logprobs", row, 256);
    row = greedy;
    row.top_logprobs = 20;
    both("greedy, 20 logprobs", row, 256);
    SampleRow typical = warm();
    typical.typical_p = 0.9f;
    both("mixed", {greedy, warm(), cut(50), cut(0), cut(50), warm(), greedy, typical}, 256);
    if (seconds > 0) std::printf("sampling_256x128k_us %.2f\n", seconds * 1e6);
  }

 private:
  static SampleRow warm() {
    SampleRow row;
    row.temperature = 0.8f;
    row.seed = 1234567;
    return row;
  }
  static SampleRow cut(int top_k) {
    SampleRow row = warm();
    row.top_k = top_k;
    row.top_p = 0.95f;
    return row;
  }
  static void penalize(SampleRow& row) {
    row.repetition_penalty = 1.1f;
    row.presence_penalty = 0.2f;
    row.frequency_penalty = 0.1f;
  }

  // Seconds on sharp logits; 0: not wanted.
  double both(const std::string& name, const SampleRow& row, int rows) { return both(name, std::vector{row}, rows); }

  // Row r has orders[r % orders.size()].
  double both(const std::string& name, const std::vector<SampleRow>& orders, int rows) {
    const std::string full = name + " x " + std::to_string(rows);
    const double seconds = measure("sharp " + full, sharp_, orders, rows);
    measure("flat " + full, flat_, orders, rows);
    return seconds;
  }

  double measure(const std::string& name, const Tensor& logits, const std::vector<SampleRow>& orders, int rows) {
    if (name.find(filter_) == std::string::npos) return 0;
    SampleBatch batch;
    bool counted = false;
    for (int r = 0; r < rows; ++r) {
      batch.rows.push_back(orders[size_t(r) % orders.size()]);
      batch.rows.back().slot = r;
      counted |= batch.rows.back().repetition_penalty != 1.0f;
    }
    const TensorView view = logits.view().slice(0, 0, rows);
    const auto enqueue = [&](int i) { sampler_.enqueue(i % 2, batch, view, slots_, stream_); };
    const double seconds = timer_.seconds(stream_, 20, enqueue);
    const double bytes = double(rows) * double(kVocab) * (sizeof(float) + (counted ? sizeof(uint16_t) : 0));
    report(name, seconds, bytes, 0, limits_);
    if (rows == kMaxRows) std::printf("    host %.1f us per step\n", host_seconds(enqueue) * 1e6);
    return seconds;
  }

  template <typename Enqueue>
  double host_seconds(Enqueue&& enqueue) {
    constexpr int kSteps = 20;  // fewer than the driver queues without waiting
    stream_.synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kSteps; ++i) enqueue(i);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    stream_.synchronize();
    return taken.count() / kSteps;
  }

  std::string filter_;
  Stream stream_;
  Timer timer_;
  Limits limits_;
  std::unique_ptr<Communicator> group_;
  Tensor sharp_, flat_, counts_, lengths_;
  SlotState slots_;
  ShardSampler sampler_;
};

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  if (trireme::cuda_device_count() == 0) {
    std::printf("samples_bench: no GPU here\n");
    return 0;
  }
  trireme::set_current_device({trireme::DeviceKind::cuda, 0});
  trireme::bench::SamplesBench(argc > 1 ? argv[1] : "").run();
}
