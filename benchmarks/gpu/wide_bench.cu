// wide_bench [filter [tokens]]: linear layers of 96 to 1,024 tokens, by the best of cuBLASLt's suggestions and by every
// likely way of the kernel for them (kernels/cuda/linear/wide_linear.h), all in CUDA graphs over rotated weights. Gated
// layers also whole: with the activation. Shapes whose name lacks `filter` are skipped.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "benchmarks/gpu/timing.h"
#include "kernels/bandwidth.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/linear/wide_linear.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"

namespace trireme::bench {
namespace {

using cuda::SkinnyEpilogue;
using cuda::SkinnyLinear;
using cuda::WideChoice;

constexpr Device kGpu{DeviceKind::cuda, 0};
constexpr int64_t kTokens[] = {96, 128, 192, 256, 384, 512, 768, 1024};
constexpr double kRotatedBytes = 250e6;
constexpr size_t kCandidates = 24;

struct Shape {
  const char* name;
  int64_t out, in;
  SkinnyEpilogue epilogue;
};
constexpr Shape kShapes[] = {
    {"8B qkv", 6144, 4096, SkinnyEpilogue::store},       {"8B o", 4096, 4096, SkinnyEpilogue::add},
    {"8B gate_up", 28672, 4096, SkinnyEpilogue::gated},  {"8B down", 4096, 14336, SkinnyEpilogue::add},
    {"70B4 qkv", 2560, 8192, SkinnyEpilogue::store},     {"70B4 o", 8192, 2048, SkinnyEpilogue::store},
    {"70B4 gate_up", 14336, 8192, SkinnyEpilogue::gated}, {"70B4 down", 8192, 7168, SkinnyEpilogue::store},
    {"8B4 qkv", 1536, 4096, SkinnyEpilogue::store},      {"8B4 o", 4096, 1024, SkinnyEpilogue::store},
    {"8B4 gate_up", 7168, 4096, SkinnyEpilogue::gated},  {"8B4 down", 4096, 3584, SkinnyEpilogue::store}};

class Bench {
 public:
  explicit Bench(std::string filter) : filter_(std::move(filter)), stream_(kGpu) {}

  void run(int64_t only) {
    std::printf("%s; read bandwidth %.2f TB/s\nus: library | ours (rank by estimate, tile, cluster); whole gated\n",
                device_description(kGpu).c_str(), measure_read_bandwidth(kGpu) * 1e-12);
    for (const Shape& shape : kShapes) {
      if (std::string(shape.name).find(filter_) == std::string::npos) continue;
      const double bytes = 2.0 * double(shape.out) * double(shape.in);
      weights_.clear();
      for (int i = 0; i < std::max(2, int(std::ceil(kRotatedBytes / bytes))); ++i)
        weights_.push_back(random(shape.out, shape.in));
      for (int64_t tokens : kTokens)
        if (only == 0 || only == tokens) point(shape, tokens);
    }
  }

 private:
  LinearWeight random(int64_t rows, int64_t cols) {
    LinearWeight made = make_linear_weight(kGpu, DType::bf16, rows, cols);
    fill_linear_random(made, ++seed_, 0.02f, 0, 0, stream_);
    return made;
  }
  double time(const Launch& launch) {
    return 1e6 * timer_.seconds(stream_, int(std::clamp<size_t>(weights_.size(), 4, 16)), launch);
  }
  const void* weight(int i) { return weights_[size_t(i) % weights_.size()].data.view().data(); }

  void point(const Shape& shape, int64_t tokens) {
    const LinearWeight x = random(tokens, shape.in);
    const Tensor out(DType::bf16, {tokens, shape.out}, kGpu), gated(DType::bf16, {tokens, shape.out / 2}, kGpu);
    fill_zero_async(out.data(), size_t(out.view().bytes()), kGpu, stream_);
    cuda::Gemm g{.out = out.data(), .x = x.data.view().data(), .weight = weight(0)};
    g.tokens = tokens, g.out_features = g.out_stride = shape.out, g.in_features = g.x_stride = shape.in;
    g.add_to_out = shape.epilogue == SkinnyEpilogue::add;
    double library = 1e9, whole = 1e9;
    for (const cuda::GemmAlgorithm& algorithm : cuda::gemm_algorithms(g, 8, stream_)) {
      const auto launch = [&](int i) { g.weight = weight(i), cuda::gemm(g, &algorithm, stream_); };
      const double seconds = time(launch);
      if (seconds >= library) continue;
      library = seconds;
      if (shape.epilogue == SkinnyEpilogue::gated)
        whole = time([&](int i) { launch(i), silu_mul(gated, out, stream_); });
    }
    SkinnyLinear p{.out = out.data(), .x = x.data.view().data(), .weight = weight(0)};
    p.tokens = tokens, p.features = p.out_stride = shape.out, p.in_features = p.x_stride = shape.in;
    if (shape.epilogue == SkinnyEpilogue::add) p.epilogue = SkinnyEpilogue::add;
    const auto candidates = cuda::wide_candidates(p, kCandidates, kGpu);
    std::vector<std::pair<double, size_t>> ours;
    for (size_t c = 0; c < candidates.size(); ++c)
      ours.emplace_back(time([&](int i) { p.weight = weight(i), cuda::wide_linear(p, candidates[c], stream_); }), c);
    std::sort(ours.begin(), ours.end());
    const double flops = 2.0 * double(tokens * shape.out) * double(shape.in);
    std::printf("%-12s %5lld: %6.1f |", shape.name, static_cast<long long>(tokens), library);
    for (size_t n = 0; n < std::min<size_t>(4, ours.size()); ++n) {
      const WideChoice& c = candidates[ours[n].second];
      std::printf(" %6.1f (%zu t%d %d)", ours[n].first, ours[n].second, c.tile, c.packed());
    }
    std::printf("; %.0f TFLOP/s", flops / ours.front().first * 1e-6);
    if (shape.epilogue == SkinnyEpilogue::gated) {
      p.epilogue = SkinnyEpilogue::gated, p.features = p.out_stride = shape.out / 2, p.out = gated.data();
      const WideChoice best = candidates[ours.front().second];
      const double own = time([&](int i) { p.weight = weight(i), cuda::wide_linear(p, best, stream_); });
      std::printf("; whole %.1f | %.1f", whole, own);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  std::string filter_;
  Stream stream_;
  Timer timer_;
  uint64_t seed_ = 0;
  std::vector<LinearWeight> weights_;
};

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  if (trireme::cuda_device_count() == 0) {
    std::printf("wide_bench: no GPU here\n");
    return 0;
  }
  trireme::set_current_device({trireme::DeviceKind::cuda, 0});
  trireme::bench::Bench(argc > 1 ? argv[1] : "").run(argc > 2 ? std::atoll(argv[2]) : 0);
}
