// linear_bench [filter]: the linear layers of decoders at few tokens, each alone and chained as a layer runs them (norm
// and qkv, o and addition, norm, gate_up and activation, down and addition), by rule and as measured at the start,
// against the read bandwidth of the same run. Rows whose name lacks `filter` are skipped.

#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "benchmarks/gpu/timing.h"
#include "kernels/bandwidth.h"
#include "kernels/fused_linear.h"
#include "kernels/linear_tuning.h"
#include "kernels/norm.h"

namespace trireme::bench {
namespace {

constexpr Device kGpu{DeviceKind::cuda, 0};
constexpr double kRotatedBytes = 400e6;  // several times the L2 cache
constexpr int64_t kMostTokens = 256;
constexpr int64_t kTokens[] = {1, 8, 16, 32, 64, 128, 256};

struct Shape {
  const char* name;
  int64_t hidden, q, qkv, ffn;  // features; q: of the attention's output
};
constexpr Shape kShapes[] = {{"8B", 4096, 4096, 6144, 14336},
                             {"8B tp4", 4096, 1024, 1536, 3584},
                             {"70B tp4", 8192, 2048, 2560, 7168},
                             {"0.6B", 1024, 2048, 4096, 3072}};

struct Layer {
  LinearWeight qkv, o, gate_up, down;
  double bytes() const {
    double sum = 0;
    for (const LinearWeight* weight : {&qkv, &o, &gate_up, &down}) sum += double(weight->data.view().bytes());
    return sum;
  }
};

class Bench {
 public:
  explicit Bench(std::string filter) : filter_(std::move(filter)), stream_(kGpu) {}

  void run() {
    limits_.bytes_per_second = measure_read_bandwidth(kGpu);
    limits_.flops_per_second = 8e14;
    std::printf("%s\nread bandwidth %.2f TB/s\n", device_description(kGpu).c_str(), limits_.bytes_per_second * 1e-12);
    for (const Shape& shape : kShapes) layers(shape);
    output_layer("lm_head 8B 128256x4096", 128256, 4096);
    output_layer("lm_head 0.6B 151936x1024", 151936, 1024);
  }

 private:
  LinearWeight weight(int64_t out_features, int64_t in_features) {
    LinearWeight made = make_linear_weight(kGpu, DType::bf16, out_features, in_features);
    fill_linear_random(made, ++seed_, 0.02f, 0, 0, stream_);
    return made;
  }
  Tensor rows(int64_t tokens, int64_t cols) { return std::move(weight(tokens, cols).data); }

  void time(const std::string& name, double bytes, double flops, const Launch& launch, int repetitions) {
    if (name.find(filter_) == std::string::npos) return;
    report(name, timer_.seconds(stream_, repetitions, launch), bytes, flops, limits_);
  }

  void tune(const std::vector<const LinearWeight*>& weights, DType out, const LinearRole& role) {
    const auto start = std::chrono::steady_clock::now();
    const int64_t measured = tune_linear(weights, out, role, tuned_token_counts(kMostTokens), stream_);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const LinearWeight& first = *weights.front();
    std::printf("tuned %lldx%lld: %lld measurements in %.2f s\n", static_cast<long long>(first.out_features),
                static_cast<long long>(first.in_features), static_cast<long long>(measured), seconds);
    for (const LinearChoice& c : linear_choices())
      if (c.out_features == first.out_features && c.in_features == first.in_features)
        std::printf("  T<=%-5lld %s\n", static_cast<long long>(c.tokens),
                    c.kernel == LinearKernel::library
                        ? "library"
                        : ((c.kernel == LinearKernel::skinny   ? "skinny tile "
                            : c.kernel == LinearKernel::hopper ? "hopper tile "
                                                               : "wide tile ") +
                           std::to_string(c.tile) + " grid " + std::to_string(c.grid))
                              .c_str());
  }

  // Whether any row of a shape is wanted: tuning takes seconds.
  bool wants(const Shape& shape) const {
    const std::string name = std::string(" ") + shape.name + " T=";
    return filter_.empty() || name.find(filter_) != std::string::npos || ("layer" + name).find(filter_) == 0;
  }

  void layers(const Shape& shape) {
    if (!wants(shape)) return;
    std::vector<Layer> all;
    const double layer_bytes = 2.0 * double(shape.hidden * (shape.qkv + shape.q + 3 * shape.ffn));
    for (int i = 0; i < std::max(2, int(std::ceil(kRotatedBytes / layer_bytes))); ++i)
      all.push_back({weight(shape.qkv, shape.hidden), weight(shape.hidden, shape.q),
                     weight(2 * shape.ffn, shape.hidden), weight(shape.hidden, shape.ffn)});
    for (const bool tuned : {false, true}) {
      if (tuned) {
        const auto tune_all = [&](LinearWeight Layer::*member, const LinearRole& role) {
          std::vector<const LinearWeight*> weights;
          for (const Layer& layer : all) weights.push_back(&(layer.*member));
          tune(weights, DType::bf16, role);
        };
        tune_all(&Layer::qkv, {.normed = true});
        tune_all(&Layer::o, {.added = true});
        tune_all(&Layer::gate_up, {.normed = true, .gated = true});
        tune_all(&Layer::down, {.added = true});
      }
      for (int64_t tokens : kTokens) chain(shape, all, tokens, tuned ? " tuned" : "");
    }
  }

  void chain(const Shape& shape, const std::vector<Layer>& all, int64_t tokens, const std::string& suffix) {
    const std::string tail = std::string(" ") + shape.name + " T=" + std::to_string(tokens) + suffix;
    const Tensor hidden = rows(tokens, shape.hidden), normed = rows(tokens, shape.hidden),
                 sum = rows(tokens, shape.hidden), qkv = rows(tokens, shape.qkv), heads = rows(tokens, shape.q),
                 inner = rows(tokens, shape.ffn), gate_up = rows(tokens, 2 * shape.ffn);
    const Tensor ones(DType::f32, {shape.hidden}, kGpu);
    const std::vector<float> host(size_t(shape.hidden), 1.0f);
    CUDA_CHECK(cudaMemcpy(ones.data(), host.data(), host.size() * sizeof(float), cudaMemcpyDefault));
    const InputNorm norm{ones, 1e-5f};
    const auto layer = [&](int i) -> const Layer& { return all[size_t(i) % all.size()]; };
    const Launch run_qkv = [&](int i) { norm_linear(qkv, hidden, norm, layer(i).qkv, {}, normed, stream_); };
    const Launch run_o = [&](int i) { linear_residual(hidden, heads, layer(i).o, {}, sum, stream_); };
    const Launch run_gate_up = [&](int i) {
      norm_gated_linear(inner, hidden, norm, layer(i).gate_up, {}, Activation::silu, {normed, gate_up}, stream_);
    };
    const Launch run_down = [&](int i) { linear_residual(hidden, inner, layer(i).down, {}, sum, stream_); };
    const int repetitions = int(all.size()) * 2;
    const auto one = [&](const char* name, const LinearWeight& w, const Launch& launch) {
      const double bytes = double(w.data.view().bytes());
      time(std::string(name) + " " + std::to_string(w.out_features) + "x" + std::to_string(w.in_features) + tail, bytes,
           bytes * double(tokens), launch, std::max(repetitions, 8));
    };
    one("qkv", all[0].qkv, run_qkv);
    one("o", all[0].o, run_o);
    one("gate_up", all[0].gate_up, run_gate_up);
    one("down", all[0].down, run_down);
    time("layer" + tail, all[0].bytes(), all[0].bytes() * double(tokens),
         [&](int i) { run_qkv(i), run_o(i), run_gate_up(i), run_down(i); }, repetitions);
  }

  void output_layer(const std::string& name, int64_t out_features, int64_t in_features) {
    if (name.find(filter_) == std::string::npos) return;
    std::vector<LinearWeight> all;
    for (int i = 0; i < 2; ++i) all.push_back(weight(out_features, in_features));
    const double bytes = double(all[0].data.view().bytes());
    for (const bool tuned : {false, true}) {
      if (tuned) tune({&all[0], &all[1]}, DType::f32, {.normed = true});
      for (int64_t tokens : kTokens) {
        const Tensor x = rows(tokens, in_features), out(DType::f32, {tokens, out_features}, kGpu);
        time(name + " T=" + std::to_string(tokens) + (tuned ? " tuned" : ""), bytes, bytes * double(tokens),
             [&](int i) { linear(out, x, all[size_t(i) % 2], {}, stream_); }, 8);
      }
    }
  }

  std::string filter_;
  Stream stream_;
  Timer timer_;
  Limits limits_;
  uint64_t seed_ = 0;
};

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  if (trireme::cuda_device_count() == 0) {
    std::printf("linear_bench: no GPU here\n");
    return 0;
  }
  trireme::set_current_device({trireme::DeviceKind::cuda, 0});
  trireme::bench::Bench(argc > 1 ? argv[1] : "").run();
}
