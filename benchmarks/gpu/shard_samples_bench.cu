// One step's sampling over the vocabulary's shards, a GPU each: exchanges through the peers' memory beside NCCL's
// all-gathers; and the bare exchange of some bytes.
//   scripts/mpirun_test.sh 4 build-gpu/benchmarks/shard_samples_bench
// Rank 0 prints microseconds. Without mpirun: the first of four shards alone, without any exchange.

#include <cstdlib>
#include <string>
#include <vector>

#include "benchmarks/gpu/timing.h"
#include "kernels/peer_gather.h"
#include "parallel/cluster.h"
#include "runtime/sampling/shard_sampler.h"

namespace trireme::bench {
namespace {

constexpr int64_t kVocab = 128256;
constexpr int kMaxRows = 512;
constexpr int kRepetitions = 20;

__global__ void fill_logits(float* logits, int64_t n, uint32_t seed) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += int64_t(gridDim.x) * blockDim.x) {
    uint32_t x = uint32_t(i) * 0x9e3779b9u + seed;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    logits[i] = 12.0f * powf(float(x ^ (x >> 16)) * 0x1p-32f, 8.0f);
  }
}

// A group of four whose other members say nothing.
class LoneShard final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 4; }
  void all_gather(TensorView, TensorView, const Stream&) override {}
  void all_reduce_sum(TensorView, const Stream&) override {}
  void reduce_scatter_sum(TensorView, TensorView, const Stream&) override {}
  void broadcast(TensorView, int, const Stream&) override {}
  void send(TensorView, int, const Stream&) override {}
  void recv(TensorView, int, const Stream&) override {}
};

// Greedy rows of one shard by the kernel of their own, and by clusters, where another row asks for more.
void bench_lone_shard() {
  const Device device{DeviceKind::cuda, 0};
  set_current_device(device);
  const Stream stream(device);
  Timer timer;
  LoneShard group;
  const Range vocab{0, kVocab / 4};
  const Tensor logits(DType::f32, {kMaxRows, vocab.size()}, device), lengths(DType::i32, {kMaxRows}, device);
  fill_logits<<<1024, 256, 0, stream.get()>>>(logits.as<float>(), logits.view().elements(), 0);
  fill_zero_async(lengths.data(), size_t(lengths.view().bytes()), device, stream);
  SlotState slots;
  slots.length = lengths;
  ShardSampler sampler(device, group, {kVocab, vocab, kMaxRows, 2});
  uint64_t number = 0;
  for (const int rows : {1, 32, 256, 512})
    for (const bool clusters : {false, true}) {
      SampleBatch batch;
      batch.number = ++number;
      SampleRow row;
      row.temperature = 0;
      batch.rows.assign(size_t(rows), row);
      if (clusters) batch.rows[0].suppress_count = 1, batch.suppressed = {5};
      const double seconds = timer.seconds(stream, kRepetitions, [&](int i) {
        sampler.enqueue(i % 2, batch, logits.view().slice(0, 0, rows), slots, stream);
      });
      std::printf("greedy x %d, %s: %.2f us\n", rows, clusters ? "clusters" : "a kernel of their own", seconds * 1e6);
    }
}

class ShardSamplesBench {
 public:
  explicit ShardSamplesBench(Cluster& cluster)
      : cluster_(cluster),
        device_(cluster.device()),
        stream_(device_),
        vocab_(cluster.topology().shard(kVocab)),
        logits_(DType::f32, {kMaxRows, vocab_.size()}, device_),
        lengths_(DType::i32, {kMaxRows}, device_),
        by_library_(device_, cluster.tp_group(), {kVocab, vocab_, kMaxRows, 2}),
        by_peers_(device_, cluster.tp_group(), {kVocab, vocab_, kMaxRows, 2, cluster.tp_peers()}) {
    fill_logits<<<1024, 256, 0, stream_.get()>>>(logits_.as<float>(), logits_.view().elements(),
                                                 uint32_t(cluster.topology().rank()));
    fill_zero_async(lengths_.data(), size_t(lengths_.view().bytes()), device_, stream_);
    stream_.synchronize();
    slots_.length = lengths_;
  }

  void run() {
    for (const int64_t bytes : {48, 12 << 10, 96 << 10, 384 << 10, 1 << 20, 4 << 20}) exchange(bytes);
    SampleRow row;
    row.temperature = 0;
    for (const int rows : {1, 32, 256, 512}) measure("greedy", row, rows);
    row.temperature = 0.8f;
    for (const int rows : {1, 256}) measure("temperature 0.8", row, rows);
    row.top_k = 50, row.top_p = 0.95f;
    for (const int rows : {1, 32, 256, 512}) measure("top-k 50, top-p", row, rows);
    row.top_k = 0;
    for (const int rows : {1, 32, 256}) measure("top-p", row, rows);
  }

 private:
  template <typename Call>
  double microseconds(Call&& call) {
    cluster_.barrier();
    return timer_.seconds(stream_, kRepetitions, call) * 1e6;
  }
  void print(const std::string& name, double peers, double library) const {
    if (cluster_.topology().rank() == 0)
      std::printf("%-28s peers %8.2f  NCCL %8.2f us\n", name.c_str(), peers, library);
    std::fflush(stdout);
  }

  void exchange(int64_t bytes) {
    const int ranks = cluster_.topology().tp();
    const Tensor in(DType::u8, {bytes}, device_), out(DType::u8, {ranks, bytes}, device_);
    const double library = microseconds([&](int) { cluster_.tp_group().all_gather(out, in, stream_); });
    const bool fits = bytes <= peer_gather_bytes(*cluster_.tp_peers(), device_);
    const double peers = fits ? microseconds([&](int) { peer_all_gather(out, in, *cluster_.tp_peers(), stream_); }) : 0;
    print("gather " + std::to_string(bytes) + " bytes", peers, library);
  }

  void measure(const std::string& name, const SampleRow& row, int rows) {
    SampleBatch batch;
    batch.rows.assign(size_t(rows), row);
    for (int r = 0; r < rows; ++r) batch.rows[size_t(r)].slot = r;
    batch.number = ++number_;
    const TensorView logits = logits_.view().slice(0, 0, rows);
    const auto time = [&](ShardSampler& sampler) {
      return microseconds([&](int i) { sampler.enqueue(i % 2, batch, logits, slots_, stream_); });
    };
    const double library = time(by_library_), peers = time(by_peers_);
    print(name + " x " + std::to_string(rows), peers, library);
  }

  Cluster& cluster_;
  Device device_;
  Stream stream_;
  Timer timer_;
  Range vocab_;
  Tensor logits_, lengths_;
  SlotState slots_;
  ShardSampler by_library_, by_peers_;
  uint64_t number_ = 0;
};

int run() {
  const char* world = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (!world) {
    bench_lone_shard();
    return 0;
  }
  Cluster cluster({.tp = std::atoi(world), .pp = 1, .device = DeviceKind::cuda});
  if (!cluster.tp_peers()) {
    std::printf("two GPUs or more that reach each other's memory are needed: scripts/mpirun_test.sh 2 ...\n");
    return 1;
  }
  ShardSamplesBench(cluster).run();
  return 0;
}

}  // namespace
}  // namespace trireme::bench

int main() { return trireme::bench::run(); }
