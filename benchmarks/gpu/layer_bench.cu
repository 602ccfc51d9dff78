// layer_bench [filter...]: a decoder layer at few tokens as a decode step runs it, eight layers with weights and caches
// of their own in one graph: norm and q/k/v, attention, output and addition, norm, gate/up and activation, down and
// addition. Of a rank of several GPUs the sum over them is missing: a residual addition with the norm stands in for it.
// Looks for the fastest kernels of the chain, each linear layer in turn with all kernels and their ways, the others
// kept, and prints microseconds per layer, also of layers that lack one part. Rows whose name has none of the filters
// are skipped.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "benchmarks/gpu/timing.h"
#include "kernels/attention_plan.h"
#include "kernels/bandwidth.h"
#include "kernels/cuda/linear/call.h"
#include "kernels/fused_linear.h"
#include "kernels/norm.h"
#include "kernels/rope_append.h"

namespace trireme::bench {
namespace {

constexpr Device kGpu{DeviceKind::cuda, 0};
constexpr int kLayers = 8, kContext = 512, kBlockSize = 16;
constexpr int64_t kHeadDim = 128, kTokens[] = {1, 32, 8, 64};

struct Shape {
  const char* name;
  int64_t hidden, q_heads, kv_heads, ffn;
  bool cut;  // one rank's share of a layer: its inputs come normed
};
constexpr Shape kShapes[] = {{"8B", 4096, 32, 8, 14336, false}, {"8B tp4", 4096, 8, 2, 3584, true}};

enum Place { kQkv, kOutput, kGateUp, kDown, kPlaces };
constexpr const char* kPlaceNames[] = {"qkv", "o", "gate_up", "down"};
enum Part { kNothing, kFirst, kAttention, kSecond, kThird, kFourth, kSums };
constexpr const char* kPartNames[] = {"", "qkv", "attention", "o", "gate_up", "down", "sums"};
using Choices = std::array<LinearChoice, kPlaces>;

std::string label(const LinearChoice& c) {
  if (c.kernel == LinearKernel::library) return "library";
  return (c.kernel == LinearKernel::skinny ? "skinny" : "hopper") + std::to_string(c.tile) + "x" +
         std::to_string(c.grid);
}
std::string label(const Choices& choices) {
  std::string text;
  for (const LinearChoice& c : choices) text += " " + label(c);
  return text;
}

// The decode attention of T rows of one token at kContext, for all layers.
class Attention {
 public:
  Attention(const Shape& shape, int64_t tokens, const Stream& stream)
      : shape_(shape),
        blocks_(tokens * (kContext / kBlockSize)),
        cache_(DType::bf16, {kLayers * blocks_, 2, shape.kv_heads, kBlockSize, kHeadDim}, kGpu),
        inv_freq_(DType::f32, {kHeadDim / 2}, kGpu) {
    CUDA_CHECK(cudaMemsetAsync(cache_.data(), 0, cache_.view().bytes(), stream.get()));
    CUDA_CHECK(cudaMemsetAsync(inv_freq_.data(), 0, inv_freq_.view().bytes(), stream.get()));
    std::vector<int32_t> slots, begins = {0}, positions(size_t(tokens), kContext - 1), tables;
    std::vector<AttentionPlanRow> rows;
    for (int32_t t = 0; t < tokens; ++t) {
      slots.push_back(t), begins.push_back(t + 1);
      rows.push_back({.first_token = t, .count = 1, .start = kContext - 1, .slot = t});
    }
    for (int64_t layer = 0; layer < kLayers; ++layer)
      for (int64_t i = 0; i < blocks_; ++i) tables.push_back(int32_t(layer * blocks_ + i));
    tables_ = ints(tables), slots_ = ints(slots), begins_ = ints(begins), positions_ = ints(positions);
    batch_.positions = positions_, batch_.token_slots = slots_, batch_.row_begin = begins_, batch_.row_slots = slots_;
    batch_.num_tokens = tokens, batch_.num_rows = tokens, batch_.max_row_tokens = 1;
    plan(rows);
  }
  void run(TensorView out, TensorView qkv, int layer, const Stream& stream) {
    const int64_t rows = batch_.num_rows;
    batch_.block_table = tables_.view().reshape({kLayers, rows, kContext / kBlockSize}).select(layer);
    rope_append_attention(out.reshape({rows, shape_.q_heads, kHeadDim}), qkv, cache_,
                          {.q_norm = {}, .k_norm = {}, .norm_eps = 0, .inv_freq = inv_freq_},
                          {.scale = 1.0f / std::sqrt(float(kHeadDim))}, batch_, stream);
  }

 private:
  static Tensor ints(const std::vector<int32_t>& values) {
    Tensor tensor(DType::i32, {int64_t(values.size())}, kGpu);
    CUDA_CHECK(cudaMemcpy(tensor.data(), values.data(), values.size() * sizeof(int32_t), cudaMemcpyDefault));
    return tensor;
  }
  void plan(const std::vector<AttentionPlanRow>& rows) {
    const AttentionPlanOptions options{
        .group = int32_t(shape_.q_heads / shape_.kv_heads),
        .kv_heads = int32_t(shape_.kv_heads),
        .head_dim = int32_t(kHeadDim),
        .window = 0,
        .num_processors = attention_processors(kGpu),
        .warpgroup_tiles = attention_has_warpgroup_tiles(kGpu, kHeadDim, kBlockSize)};
    const AttentionWorkCapacity most = attention_work_capacity(batch_.num_tokens, batch_.num_rows, options);
    std::vector<AttentionWorkItem> decode(size_t(most.decode)), prefill(size_t(most.prefill));
    const AttentionPlan made = plan_attention(rows, options, decode, prefill);
    std::vector<int32_t> values(decode.size() * kAttentionWorkStride);
    std::memcpy(values.data(), decode.data(), decode.size() * sizeof(AttentionWorkItem));
    items_ = ints(values), count_ = ints({made.decode_items}), none_ = ints({0});
    batch_.decode_work = {.items = items_.view().reshape({int64_t(decode.size()), kAttentionWorkStride}),
                          .count = count_,
                          .tile_rows = kDecodeTileRows};
    batch_.prefill_work = {.items = none_.view().slice(0, 0, 0).reshape({0, kAttentionWorkStride}),
                           .count = none_,
                           .tile_rows = made.prefill_tile_rows};
  }

  const Shape shape_;
  int64_t blocks_;
  Tensor cache_, inv_freq_, tables_, slots_, begins_, positions_, items_, count_, none_;
  AttentionBatch batch_;
};

class Bench {
 public:
  explicit Bench(std::vector<std::string> filters) : filters_(std::move(filters)), stream_(kGpu) {}

  void run() {
    std::printf("%s\n", device_description(kGpu).c_str());
    bandwidth_ = measure_read_bandwidth(kGpu);
    std::printf("read bandwidth %.2f TB/s\n", bandwidth_ * 1e-12);
    for (const Shape& shape : kShapes) {
      std::vector<int64_t> wanted;
      for (int64_t tokens : kTokens)
        if (is_wanted(name_of(shape, tokens))) wanted.push_back(tokens);
      if (!wanted.empty()) run(shape, wanted);
    }
  }

 private:
  bool is_wanted(const std::string& name) const {
    return filters_.empty() || std::any_of(filters_.begin(), filters_.end(), [&](const std::string& filter) {
             return name.find(filter) != std::string::npos;
           });
  }
  static std::string name_of(const Shape& shape, int64_t tokens) {
    return std::string(shape.name) + " T=" + std::to_string(tokens) + " ";
  }
  LinearWeight weight(int64_t out_features, int64_t in_features) {
    LinearWeight made = make_linear_weight(kGpu, DType::bf16, out_features, in_features);
    fill_linear_random(made, ++seed_, 0.02f, 0, 0, stream_);
    return made;
  }
  Tensor rows(int64_t tokens, int64_t cols) { return std::move(weight(tokens, cols).data); }

  void run(const Shape& shape, const std::vector<int64_t>& token_counts) {
    const int64_t q = shape.q_heads * kHeadDim, qkv = q + 2 * shape.kv_heads * kHeadDim;
    std::array<std::vector<LinearWeight>, kPlaces> weights;
    double bytes = 0;
    const int64_t sizes[kPlaces][2] = {{qkv, shape.hidden}, {shape.hidden, q}, {2 * shape.ffn, shape.hidden},
                                       {shape.hidden, shape.ffn}};
    for (int place = 0; place < kPlaces; ++place) {
      for (int i = 0; i < kLayers; ++i) weights[size_t(place)].push_back(weight(sizes[place][0], sizes[place][1]));
      bytes += 2.0 * double(sizes[place][0] * sizes[place][1]);
    }
    for (int64_t tokens : token_counts) {
      Chain chain(*this, shape, weights, tokens);
      std::printf("%s: weights alone %.1f us\n", name_of(shape, tokens).c_str(), bytes / bandwidth_ * 1e6);
      search(chain, shape, tokens);
    }
  }

  // The layers of one number of tokens, and their buffers.
  class Chain {
   public:
    Chain(Bench& bench, const Shape& shape, const std::array<std::vector<LinearWeight>, kPlaces>& weights,
          int64_t tokens)
        : bench_(bench),
          shape_(shape),
          weights_(weights),
          attention_(shape, tokens, bench.stream_),
          hidden_(bench.rows(tokens, shape.hidden)),
          normed_(bench.rows(tokens, shape.hidden)),
          sum_(bench.rows(tokens, shape.hidden)),
          qkv_(bench.rows(tokens, (shape.q_heads + 2 * shape.kv_heads) * kHeadDim)),
          heads_(bench.rows(tokens, shape.q_heads * kHeadDim)),
          inner_(bench.rows(tokens, shape.ffn)),
          gate_up_(bench.rows(tokens, 2 * shape.ffn)),
          ones_(DType::f32, {shape.hidden}, kGpu) {
      const std::vector<float> host(size_t(shape.hidden), 1.0f);
      CUDA_CHECK(cudaMemcpy(ones_.data(), host.data(), host.size() * sizeof(float), cudaMemcpyDefault));
    }
    // `without`: a part that is left out.
    double microseconds(const Choices& choices, Part without = kNothing) {
      adopt_linear_choices(choices);
      without_ = without;
      return bench_.timer_.seconds(bench_.stream_, kLayers, [&](int i) { layer(i); }) * 1e6;
    }
    const LinearWeight& weight(Place place, int i) const { return weights_[size_t(place)][size_t(i)]; }

   private:
    void layer(int i) {
      const Stream& stream = bench_.stream_;
      const InputNorm norm = shape_.cut ? InputNorm{} : InputNorm{ones_, 1e-5f};
      const TensorView x = shape_.cut ? normed_.view() : hidden_.view();
      if (without_ != kFirst) norm_linear(qkv_, x, norm, weight(kQkv, i), {}, normed_, stream);
      if (without_ != kAttention) attention_.run(heads_, qkv_, i, stream);
      add(heads_, weight(kOutput, i), without_ == kSecond);
      if (without_ != kThird)
        norm_gated_linear(inner_, x, norm, weight(kGateUp, i), {}, Activation::silu, {normed_, gate_up_}, stream);
      add(inner_, weight(kDown, i), without_ == kFourth);
    }
    void add(TensorView x, const LinearWeight& weight, bool left_out) {
      if (!shape_.cut && !left_out) return linear_residual(hidden_, x, weight, {}, sum_, bench_.stream_);
      if (!left_out) linear(sum_, x, weight, {}, bench_.stream_);
      if (shape_.cut && without_ != kSums)
        add_rms_norm(normed_, hidden_, sum_, {}, ones_, 1e-5f, bench_.stream_);
    }

    Bench& bench_;
    const Shape& shape_;
    const std::array<std::vector<LinearWeight>, kPlaces>& weights_;
    Attention attention_;
    Tensor hidden_, normed_, sum_, qkv_, heads_, inner_, gate_up_, ones_;
    Part without_ = kNothing;
  };
  static void print_parts(Chain& chain, const Choices& choices) {
    std::printf("    without");
    for (Part part : {kFirst, kAttention, kSecond, kThird, kFourth, kSums})
      std::printf(" %s %.1f", kPartNames[part], chain.microseconds(choices, part));
    std::printf("\n");
  }

  using Tried = std::array<std::vector<LinearChoice>, kPlaces>;

  static LinearChoice blank(const LinearWeight& weight, int64_t tokens) {
    LinearChoice choice;
    choice.out_features = weight.out_features, choice.in_features = weight.in_features, choice.tokens = tokens;
    return choice;
  }
  std::vector<LinearChoice> library_ways(const Chain& chain, Place place, int64_t tokens) {
    const LinearWeight& weight = chain.weight(place, 0);
    const Tensor out(DType::bf16, {tokens, weight.out_features}, kGpu),
        x(DType::bf16, {tokens, weight.in_features}, kGpu);
    std::vector<LinearChoice> all = {blank(weight, tokens)};
    for (const cuda::GemmAlgorithm& algorithm :
         cuda::gemm_algorithms(cuda::gemm_problem(out, x, weight.data), 8, stream_)) {
      all.push_back(blank(weight, tokens));
      all.back().has_algorithm = true, all.back().algorithm = algorithm;
    }
    return all;
  }
  static std::vector<LinearChoice> skinny_ways(const Chain& chain, Place place, int64_t tokens) {
    LinearChoice choice = blank(chain.weight(place, 0), tokens);
    std::vector<LinearChoice> all;
    choice.kernel = LinearKernel::skinny;
    for (choice.tile = 0; tokens <= cuda::kMaxSkinnyTokens && choice.tile < cuda::skinny_tile_count(); ++choice.tile)
      for (choice.grid = 1; choice.grid <= 3 && cuda::skinny_tile_fits(choice.tile, tokens); ++choice.grid)
        all.push_back(choice);
    return all;
  }
  static std::vector<LinearChoice> hopper_ways(const Chain& chain, Place place, int64_t tokens) {
    const LinearWeight& weight = chain.weight(place, 0);
    LinearChoice choice = blank(weight, tokens);
    std::vector<LinearChoice> all;
    choice.kernel = LinearKernel::hopper;
    cuda::SkinnyLinear problem;
    problem.x = problem.weight = problem.out = weight.data.data();
    problem.tokens = tokens, problem.in_features = problem.x_stride = weight.in_features;
    problem.features = problem.out_stride = weight.out_features;
    if (place == kGateUp) problem.epilogue = cuda::SkinnyEpilogue::gated, problem.features /= 2;
    for (const cuda::HopperChoice& way : cuda::hopper_candidates(problem, kGpu)) {
      choice.tile = way.tile, choice.grid = way.splits;
      all.push_back(choice);
    }
    return all;
  }

  void search(Chain& chain, const Shape& shape, int64_t tokens) {
    const std::string name = "  " + name_of(shape, tokens);
    Choices best;
    Tried tried;
    for (Place place : {kGateUp, kDown, kQkv, kOutput}) {
      best[place] = blank(chain.weight(place, 0), tokens);
      tried[place] = library_ways(chain, place, tokens);
      for (const auto& ways : {skinny_ways(chain, place, tokens), hopper_ways(chain, place, tokens)})
        tried[place].insert(tried[place].end(), ways.begin(), ways.end());
    }
    for (const bool first_round : {true, false})
      for (Place place : {kGateUp, kDown, kQkv, kOutput})
        best[place] = fastest(chain, place, tried[place], best, first_round);
    std::printf("%s best:%s %.1f us\n", name.c_str(), label(best).c_str(), chain.microseconds(best));
    print_parts(chain, best);
    std::fflush(stdout);
  }
  // One place with all that is left to try there; keeps the best six for the next round.
  static LinearChoice fastest(Chain& chain, Place place, std::vector<LinearChoice>& tried, const Choices& others,
                              bool print) {
    std::vector<std::pair<double, LinearChoice>> times;
    for (const LinearChoice& candidate : tried) {
      Choices choices = others;
      choices[place] = candidate;
      times.emplace_back(chain.microseconds(choices), candidate);
    }
    std::stable_sort(times.begin(), times.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    tried.clear();
    for (size_t i = 0; i < std::min<size_t>(6, times.size()); ++i) tried.push_back(times[i].second);
    if (print) std::printf("    %-7s", kPlaceNames[place]);
    std::map<std::string, int> seen;  // prints the best of every table row
    for (const auto& [microseconds, choice] : times) {
      const std::string text = label(choice), row = text.substr(0, text.find('x'));
      if (print && seen[row]++ == 0) std::printf(" %s %.1f", text.c_str(), microseconds);
    }
    if (print) std::printf("\n");
    return times.front().second;
  }

  std::vector<std::string> filters_;
  Stream stream_;
  Timer timer_;
  double bandwidth_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  if (trireme::cuda_device_count() == 0) {
    std::printf("layer_bench: no GPU here\n");
    return 0;
  }
  trireme::set_current_device({trireme::DeviceKind::cuda, 0});
  trireme::bench::Bench(std::vector<std::string>(argv + 1, argv + argc)).run();
}
