// Experiment: every way of computing decoders' linear layers at few tokens.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "benchmarks/gpu/timing.h"
#include "kernels/bandwidth.h"
#include "kernels/cuda/linear_call.h"
#include "kernels/linear.h"

using namespace trireme;
using namespace trireme::bench;

namespace {
constexpr Device kGpu{DeviceKind::cuda, 0};

struct Row {
  std::string how;
  double us;
};

std::vector<char> bits(const Tensor& out) {
  std::vector<char> host(size_t(out.view().bytes()));
  CUDA_CHECK(cudaMemcpy(host.data(), out.data(), host.size(), cudaMemcpyDefault));
  return host;
}
}  // namespace

int main(int argc, char** argv) {
  set_current_device(kGpu);
  const Stream stream(kGpu);
  Timer timer;
  const double bandwidth = measure_read_bandwidth(kGpu);
  std::printf("read %.2f TB/s\n", bandwidth * 1e-12);
  struct Shape {
    const char* name;
    int64_t n, k;
    int kind;  // 0 store, 1 gated, 2 add
  };
  const Shape shapes[] = {{"8B qkv", 6144, 4096, 0},      {"8B o", 4096, 4096, 2},
                          {"8B gate_up", 28672, 4096, 1},  {"8B down", 4096, 14336, 2},
                          {"8B/4 qkv", 1536, 4096, 0},    {"8B/4 o", 4096, 1024, 0},
                          {"8B/4 gate_up", 7168, 4096, 1}, {"8B/4 down", 4096, 3584, 0},
                          {"70B/4 qkv", 2560, 8192, 0},   {"70B/4 o", 8192, 2048, 0},
                          {"70B/4 gate_up", 14336, 8192, 1}, {"70B/4 down", 8192, 7168, 0}};
  const std::string filter = argc > 1 ? argv[1] : "";
  for (const Shape& s : shapes) {
    if (std::string(s.name).find(filter) == std::string::npos) continue;
    std::vector<LinearWeight> weights;
    const double bytes = 2.0 * double(s.n * s.k);
    const int count = std::max(2, int(300e6 / bytes) + 1);
    for (int i = 0; i < count; ++i) {
      weights.push_back(make_linear_weight(kGpu, DType::bf16, s.n, s.k));
      fill_linear_random(weights.back(), uint64_t(i + 1), 0.02f, 0, 0, stream);
    }
    const bool brief = std::getenv("BRIEF") != nullptr;
    for (int64_t tokens : {1, 16, 32, 64, 128}) {
      if (brief && tokens != 1 && tokens != 32) continue;
      LinearWeight x = make_linear_weight(kGpu, DType::bf16, tokens, s.k);
      fill_linear_random(x, 77, 1, 0, 0, stream);
      const int64_t features = s.kind == 1 ? s.n / 2 : s.n;
      const Tensor out(DType::bf16, {tokens, features}, kGpu), plain(DType::bf16, {tokens, s.n}, kGpu);
      const auto weight = [&](int i) { return weights[size_t(i) % weights.size()].data.view(); };
      std::vector<Row> rows;
      const int repetitions = std::max(count, 8);
      const cuda::Gemm first = cuda::gemm_problem(plain, x.data, weight(0));
      double library = 1e9;
      for (const auto& algorithm : brief ? std::vector<cuda::GemmAlgorithm>() : cuda::gemm_algorithms(first, 8, stream)) {
        library = std::min(library, 1e6 * timer.seconds(stream, repetitions, [&](int i) {
          cuda::Gemm g = cuda::gemm_problem(plain, x.data, weight(i));
          g.add_to_out = s.kind == 2;
          cuda::gemm(g, &algorithm, stream);
        }));
      }
      double skinny = 1e9;
      const auto problem = [&](int i, bool add = true) {
        return cuda::skinny_problem({out, x.data, weight(i), {}, {}, 0,
                                     cuda::SkinnyEpilogue(s.kind == 1 ? 2 : s.kind == 2 && add ? 1 : 0), false});
      };
      std::string skinny_how;
      if (!brief && tokens <= cuda::kMaxSkinnyTokens)
        for (int tile = 0; tile < cuda::skinny_tile_count(); ++tile) {
          if (!cuda::skinny_tile_fits(tile, tokens)) continue;
          for (int grid = 1; grid < 4; ++grid) {
            const double us = 1e6 * timer.seconds(stream, repetitions, [&](int i) {
              cuda::skinny_mma(problem(i), {int8_t(tile), cuda::SkinnyChoice::Grid(grid)}, stream);
            });
            if (us < skinny) skinny = us, skinny_how = std::to_string(tile) + "/" + std::to_string(grid);
          }
        }
      for (const cuda::HopperChoice& choice : cuda::hopper_candidates(problem(0), kGpu)) {
        if (const char* most = std::getenv("MAX_SPLITS"); most && choice.splits > std::atoi(most)) continue;
        cuda::hopper_linear(problem(0, false), choice, stream);
        stream.synchronize();
        const std::vector<char> once = bits(out);
        const double us =
            1e6 * timer.seconds(stream, repetitions, [&](int i) { cuda::hopper_linear(problem(i), choice, stream); });
        if (!brief) timer.seconds(stream, 3, [&](int) { cuda::hopper_linear(problem(0, false), choice, stream); });
        const bool same = brief || bits(out) == once;
        rows.push_back({std::to_string(choice.tile) + "/" + std::to_string(choice.splits) + (choice.sharers > 1 ? "x" + std::to_string(choice.sharers) : "") + (same ? "" : " DIFFERS"), us});
      }
      std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.us < b.us; });
      std::printf("%-13s T=%-3d floor %5.1f | lib %5.1f | skinny %5.1f (%s) | hopper %5.1f = %2.0f%% :", s.name, int(tokens),
                  bytes / bandwidth * 1e6, library, skinny > 1e8 ? 0 : skinny, skinny_how.c_str(), rows.empty() ? 0 : rows[0].us,
                  rows.empty() ? 0 : 100 * bytes / bandwidth * 1e6 / rows[0].us);
      for (size_t i = 0; i < rows.size() && i < size_t(brief ? 4 : 14); ++i) std::printf(" %s %.1f", rows[i].how.c_str(), rows[i].us);
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}
