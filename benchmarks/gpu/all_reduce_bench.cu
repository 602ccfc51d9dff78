// Sums over the ranks' GPUs with residual and norm, in graphs of 50, beside NCCL's sum followed by add_rms_norm:
//   scripts/mpirun_test.sh 2 build-gpu/benchmarks/all_reduce_bench [BLOCKS ...]
// BLOCKS: most blocks of a kernel, measured beside the default. Rank 0 prints microseconds.

#include <cstdlib>
#include <limits>
#include <vector>

#include "base/backend_traits.h"
#include "benchmarks/gpu/timing.h"
#include "kernels/fused_all_reduce.h"
#include "kernels/norm.h"
#include "parallel/cluster.h"

namespace trireme::bench {
namespace {

constexpr int kRepetitions = 50;
constexpr int64_t kLongRows = 1024;  // beyond, fewer repetitions

struct Shape {
  const char* name;  // bytes of a rank's partial sums
  int64_t rows, cols;
};
constexpr AllReduceForm kForms[] = {AllReduceForm::one_shot, AllReduceForm::two_shot, AllReduceForm::two_shot_dense};
constexpr const char* kFormNames[] = {"one", "two", "dense"};
constexpr Shape kShapes[] = {{"8k", 1, 4096},     {"16k", 1, 8192},    {"64k", 8, 4096},    {"256k", 32, 4096},
                             {"512k", 64, 4096},  {"1m", 128, 4096},   {"2m", 128, 8192},   {"4m", 256, 8192},
                             {"8m", 512, 8192},   {"16m", 1024, 8192}, {"32m", 2048, 8192}, {"64m", 4096, 8192},
                             {"128m", 8192, 8192}};

class Bench {
 public:
  explicit Bench(Cluster& cluster) : cluster_(cluster), device_(cluster.device()), stream_(device_) {}

  void run(const Shape& shape, const std::vector<int>& block_limits) {
    const Tensor hidden = zeros(activation_dtype(device_), {shape.rows, shape.cols});
    const Tensor normed = zeros(activation_dtype(device_), {shape.rows, shape.cols});
    const Tensor partial = zeros(partial_dtype(device_), {shape.rows, shape.cols});
    const Tensor weight = zeros(DType::f32, {shape.cols});
    const double library = seconds(shape, [&] {
      cluster_.tp_group().all_reduce_sum(partial, stream_);
      add_rms_norm(normed, hidden, partial, TensorView(), weight, 1e-5f, stream_);
    });
    double best = std::numeric_limits<double>::infinity();
    std::string text;
    for (const int blocks : block_limits)
      for (const AllReduceForm form : kForms) {
        PeerBuffers buffers = *cluster_.tp_peers();
        buffers.max_blocks = blocks;
        const PeerSum sum{buffers, form};
        if (all_reduce_rows(sum, shape.cols, device_) == 0) continue;
        const double time = seconds(shape, [&] {
          fused_all_reduce(normed, hidden, partial, TensorView(), {weight, 1e-5f}, sum, stream_);
        });
        char part[64];
        std::snprintf(part, sizeof part, "  %s%s %.2f", kFormNames[size_t(form)],
                      blocks > 0 ? ("/" + std::to_string(blocks)).c_str() : "", time * 1e6);
        text += part;
        if (blocks == 0) best = std::min(best, time);
      }
    if (cluster_.topology().rank() != 0) return;
    std::printf("fused_ar_norm_%s_us %.2f  nccl_ar_norm_%s_us %.2f %s\n", shape.name, best * 1e6, shape.name,
                library * 1e6, text.c_str());
    std::fflush(stdout);
  }

 private:
  Tensor zeros(DType dtype, std::initializer_list<int64_t> dims) {
    Tensor tensor(dtype, dims, device_);
    fill_zero_async(tensor.data(), size_t(tensor.view().bytes()), device_, stream_);
    return tensor;
  }
  double seconds(const Shape& shape, const std::function<void()>& launch) {
    const int repetitions = shape.rows > kLongRows ? 10 : kRepetitions;
    cluster_.barrier();
    return timer_.seconds(stream_, repetitions, [&](int) { launch(); });
  }

  Cluster& cluster_;
  Device device_;
  Stream stream_;
  Timer timer_;
};

int run(const std::vector<int>& block_limits) {
  const char* world = std::getenv("OMPI_COMM_WORLD_SIZE");
  Cluster cluster({.tp = world ? std::atoi(world) : 1, .pp = 1, .device = DeviceKind::cuda});
  if (!cluster.tp_peers()) {
    std::printf(
        "two GPUs or more that reach each other's memory are needed: scripts/mpirun_test.sh 2 all_reduce_bench\n");
    return 1;
  }
  Bench bench(cluster);
  if (cluster.topology().rank() == 0)
    std::printf("%d x %s\n", cluster.topology().world(), device_description(cluster.device()).c_str());
  for (const Shape& shape : kShapes) bench.run(shape, block_limits);
  return 0;
}

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  std::vector<int> block_limits{0};
  for (int i = 1; i < argc; ++i) block_limits.push_back(std::atoi(argv[i]));
  return trireme::bench::run(block_limits);
}
