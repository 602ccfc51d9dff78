// kernels_bench [filter]: every op at the shapes of Llama-3.1-8B (and its TP 4 slices) on one GPU, against the read
// bandwidth and the bf16 GEMM rate that the same run measures. Rows whose name lacks `filter` are skipped.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/backend_traits.h"
#include "benchmarks/gpu/timing.h"
#include "kernels/attention.h"
#include "kernels/bandwidth.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/rope_append.h"

namespace trireme::bench {
namespace {

constexpr Device kGpu{DeviceKind::cuda, 0};
constexpr int64_t kHidden = 4096, kFfn = 14336, kVocab = 128256, kQHeads = 32, kKvHeads = 8, kHeadDim = 128;
constexpr int64_t kBlockSize = 16;
constexpr double kRotatedBytes = 256e6;  // several times the L2 cache
constexpr double kBf16 = 2;

struct Rows {
  int count, tokens, context;  // rows of `tokens` tokens that end at `context`
};

struct Heads {
  int64_t q = kQHeads, kv = kKvHeads, dim = kHeadDim;
  int64_t block_elements() const { return 2 * kv * kBlockSize * dim; }
};

struct HostBatch {
  std::vector<AttentionPlanRow> rows;
  std::vector<int32_t> positions, slots, row_begin = {0}, row_slots;
  int32_t max_context = 0, max_row_tokens = 0;
  double kv_tokens = 0, scores = 0;  // tokens whose K and V are read; (query, key) pairs per head
};

HostBatch host_batch(const std::vector<Rows>& groups) {
  HostBatch batch;
  for (const Rows& rows : groups) {
    batch.max_context = std::max(batch.max_context, rows.context);
    batch.max_row_tokens = std::max(batch.max_row_tokens, rows.tokens);
    for (int r = 0; r < rows.count; ++r) {
      const auto slot = int32_t(batch.row_slots.size());
      batch.row_slots.push_back(slot);
      batch.rows.push_back({.first_token = int32_t(batch.positions.size()),
                            .count = rows.tokens,
                            .start = rows.context - rows.tokens,
                            .slot = slot});
      for (int i = 0; i < rows.tokens; ++i) {
        batch.positions.push_back(rows.context - rows.tokens + i);
        batch.slots.push_back(slot);
        batch.scores += batch.positions.back() + 1;
      }
      batch.row_begin.push_back(int32_t(batch.positions.size()));
      batch.kv_tokens += rows.context;
    }
  }
  return batch;
}

// [copies, rows, max_blocks]: neighbouring blocks of a sequence lie apart, as they do after some time of serving.
std::vector<int32_t> scattered_tables(int64_t copies, int64_t rows, int64_t max_blocks) {
  std::vector<int32_t> tables;
  for (int64_t copy = 0; copy < copies; ++copy)
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < max_blocks; ++i) tables.push_back(int32_t((i * copies + copy) * rows + row));
  return tables;
}

class Bench {
 public:
  explicit Bench(std::string filter) : filter_(std::move(filter)), stream_(kGpu) {}

  void run() {
    measure_limits();
    linear_layers();
    for (int64_t tokens : {1, 32, 8192}) row_ops(tokens);
    attention_cases();
  }

 private:
  bool wanted(const std::string& name) const { return name.find(filter_) != std::string::npos; }

  LinearWeight random_weight(int64_t out_features, int64_t in_features, uint64_t seed) {
    LinearWeight weight = make_linear_weight(kGpu, DType::bf16, out_features, in_features);
    fill_linear_random(weight, seed, 0.05f, 0, 0, stream_);
    return weight;
  }
  Tensor random_tensor(int64_t rows, int64_t cols) { return std::move(random_weight(rows, cols, 1).data); }

  Tensor ones(int64_t count) {
    Tensor tensor(DType::f32, {count}, kGpu);
    const std::vector<float> values(size_t(count), 1.0f);
    CUDA_CHECK(cudaMemcpy(tensor.data(), values.data(), values.size() * sizeof(float), cudaMemcpyDefault));
    return tensor;
  }
  Tensor ints(const std::vector<int32_t>& values) {
    Tensor tensor(DType::i32, {int64_t(values.size())}, kGpu);
    CUDA_CHECK(cudaMemcpy(tensor.data(), values.data(), values.size() * sizeof(int32_t), cudaMemcpyDefault));
    return tensor;
  }

  void time(const std::string& name, double bytes, double flops, const Launch& launch, int repetitions = 20) {
    if (!wanted(name)) return;
    report(name, timer_.seconds(stream_, repetitions, launch), bytes, flops, limits_);
  }

  void measure_limits() {
    limits_.bytes_per_second = measure_read_bandwidth(kGpu);
    constexpr int64_t n = 8192;
    const LinearWeight weight = random_weight(n, n, 2);
    const Tensor x = random_tensor(n, n);
    const Tensor out(DType::bf16, {n, n}, kGpu);
    const double seconds = timer_.seconds(stream_, 4, [&](int) { linear(out, x, weight, {}, stream_); });
    limits_.flops_per_second = 2.0 * n * n * n / seconds;
    std::printf("%s\nread bandwidth %.2f TB/s, bf16 GEMM 8192 %.1f TFLOP/s\n", device_description(kGpu).c_str(),
                limits_.bytes_per_second * 1e-12, limits_.flops_per_second * 1e-12);
  }

  void linear_layer(const std::string& layer, int64_t out_features, int64_t in_features, DType out_dtype,
                    const std::vector<int64_t>& token_counts) {
    const double weight_bytes = kBf16 * double(out_features) * double(in_features);
    std::vector<LinearWeight> weights;
    for (int i = 0; i < std::max(1, int(std::ceil(kRotatedBytes / weight_bytes))); ++i)
      weights.push_back(random_weight(out_features, in_features, uint64_t(i)));
    for (int64_t tokens : token_counts) {
      const Tensor x = random_tensor(tokens, in_features);
      const Tensor out(out_dtype, {tokens, out_features}, kGpu);
      const double moved = weight_bytes + double(x.view().bytes() + out.view().bytes());
      time("linear " + layer + " T=" + std::to_string(tokens), moved, weight_bytes * double(tokens),
           [&](int i) { linear(out, x, weights[size_t(i) % weights.size()], {}, stream_); });
    }
  }

  void linear_layers() {
    const std::vector<int64_t> tokens = {1, 2, 4, 8, 16, 32, 128, 1024, 8192};
    linear_layer("qkv 6144x4096", 6144, kHidden, DType::bf16, tokens);
    linear_layer("o 4096x4096", kHidden, kHidden, DType::bf16, tokens);
    linear_layer("gate_up 28672x4096", 2 * kFfn, kHidden, DType::bf16, tokens);
    linear_layer("down 4096x14336", kHidden, kFfn, DType::bf16, tokens);
    linear_layer("lm_head 128256x4096 f32", kVocab, kHidden, DType::f32, {1, 4, 8, 32, 128});
    linear_layer("qkv tp4 1536x4096", 1536, kHidden, DType::bf16, {1, 4, 8, 32, 128});
    linear_layer("o tp4 4096x1024", kHidden, 1024, DType::bf16, {1, 4, 8, 32, 128});
    linear_layer("down tp4 4096x3584", kHidden, 3584, DType::bf16, {1, 4, 8, 32, 128});
  }

  // Small rows live in the L2 cache, as they do in a step; then the limit is not memory and the time says it all.
  void row_ops(int64_t tokens) {
    const std::string suffix = " T=" + std::to_string(tokens);
    const double row = kBf16 * double(tokens) * double(kHidden);
    const Tensor hidden = random_tensor(tokens, kHidden), sum = random_tensor(tokens, kHidden),
                 out = random_tensor(tokens, kHidden);
    const Tensor gate_up = random_tensor(tokens, 2 * kFfn), ffn = random_tensor(tokens, kFfn);
    const Tensor norm = ones(kHidden), positions = ints(std::vector<int32_t>(size_t(tokens), 1000)),
                 inv_freq = ones(kHeadDim / 2);
    const LinearWeight table = random_weight(kVocab, kHidden, 3);
    time("embed" + suffix, 2 * row, 0, [&](int) { embed(out, positions, table, 0, stream_); });
    time("rms_norm 4096" + suffix, 2 * row, 0, [&](int) { rms_norm(out, hidden, norm, 1e-5f, stream_); });
    time("add_rms_norm 4096" + suffix, 4 * row, 0,
         [&](int) { add_rms_norm(out, hidden, sum, {}, norm, 1e-5f, stream_); });
    time("layer_norm 4096" + suffix, 2 * row, 0, [&](int) { layer_norm(out, hidden, norm, norm, 1e-5f, stream_); });
    time("add_partial 4096" + suffix, 3 * row, 0, [&](int) { add_partial(hidden, sum, {}, stream_); });
    time("silu_mul 14336" + suffix, 3 * kBf16 * double(tokens * kFfn), 0,
         [&](int) { silu_mul(ffn, gate_up, stream_); });
    const TensorView heads = hidden.view().reshape({tokens, kQHeads, kHeadDim});
    time("rope 32x128" + suffix, 2 * row, 0, [&](int) { rope(heads, positions, inv_freq, 1.0f, stream_); });
  }

  void attention_cases() {
    for (const int context : {512, 4096, 16384, 131072}) decode(1, context);
    for (const int context : {512, 4096, 16384}) decode(32, context);
    decode(64, 512);
    decode(128, 512);
    decode(128, 1024);
    decode(128, 4096);
    decode(256, 512);
    attention("decode group 2 256 x 512", {{256, 1, 512}}, {16, 8, 128});
    attention("decode tp4 1 x 16384", {{1, 1, 16384}}, {8, 2, 128});
    attention("decode tp4 32 x 4096", {{32, 1, 4096}}, {8, 2, 128});
    attention("decode hd64 1 x 512", {{1, 1, 512}}, {32, 8, 64});
    attention("decode hd64 32 x 4096", {{32, 1, 4096}}, {32, 8, 64});
    attention("decode hd64 256 x 512", {{256, 1, 512}}, {32, 8, 64});
    attention("decode hd96 32 x 4096", {{32, 1, 4096}}, {32, 8, 96});
    attention("decode hd256 32 x 4096", {{32, 1, 4096}}, {16, 8, 256});
    attention("decode uneven 100 x 512 + 4 x 16384", {{100, 1, 512}, {4, 1, 16384}});
    attention("prefill 1 x 512", {{1, 512, 512}});
    attention("prefill 1 x 2048", {{1, 2048, 2048}});
    attention("prefill 1 x 8192", {{1, 8192, 8192}});
    attention("prefill 16 x 512", {{16, 512, 512}});
    attention("prefill 16 x 2048", {{16, 2048, 2048}});
    attention("prefill 1 x 32768", {{1, 32768, 32768}});
    attention("prefill hd64 1 x 2048", {{1, 2048, 2048}}, {32, 8, 64});
    attention("prefill hd64 16 x 2048", {{16, 2048, 2048}}, {32, 8, 64});
    attention("prefill hd256 16 x 2048", {{16, 2048, 2048}}, {16, 8, 256});
    attention("chunk 512 at 32768", {{1, 512, 32768}});
    attention("chunk tp4 512 at 32768", {{1, 512, 32768}}, {8, 2, 128});
    attention("mixed 1 x 2048 + 128 x 1024", {{1, 2048, 2048}, {128, 1, 1024}});
  }

  void decode(int rows, int context) {
    attention("decode " + std::to_string(rows) + " x " + std::to_string(context), {{rows, 1, context}});
  }

  struct Work {
    Tensor items, count;
  };

  AttentionWork upload(Work& memory, std::vector<AttentionWorkItem> items, int32_t count, int32_t tile_rows) {
    std::vector<int32_t> values(items.size() * kAttentionWorkStride);
    if (!items.empty()) std::memcpy(values.data(), items.data(), items.size() * sizeof(AttentionWorkItem));
    memory.items = ints(values), memory.count = ints({count});
    return {.items = memory.items.view().reshape({int64_t(items.size()), kAttentionWorkStride}),
            .count = memory.count,
            .tile_rows = tile_rows};
  }

  // As the engine has it: decode steps run in graphs with room for any list, steps with prefill do not.
  void plan(AttentionBatch& batch, std::array<Work, 2>& memory, const HostBatch& host, const Heads& heads) {
    const AttentionPlanOptions options{.group = int32_t(heads.q / heads.kv),
                                       .kv_heads = int32_t(heads.kv),
                                       .head_dim = int32_t(heads.dim),
                                       .window = 0,
                                       .num_processors = attention_processors(kGpu),
                                       .warpgroup_tiles =
                                           attention_has_warpgroup_tiles(kGpu, heads.dim, kBlockSize)};
    const AttentionWorkCapacity most = attention_work_capacity(batch.num_tokens, batch.num_rows, options);
    std::vector<AttentionWorkItem> decode(size_t(most.decode)), prefill(size_t(most.prefill));
    const AttentionPlan made = plan_attention(host.rows, options, decode, prefill);
    if (made.prefill_items > 0) decode.resize(size_t(made.decode_items));
    prefill.resize(size_t(made.prefill_items));
    batch.decode_work = upload(memory[0], std::move(decode), made.decode_items, kDecodeTileRows);
    batch.prefill_work = upload(memory[1], std::move(prefill), made.prefill_items, made.prefill_tile_rows);
  }

  // Successive launches use other blocks, so that the cache is read from memory as it is in a step of many layers.
  void attention(const std::string& name, const std::vector<Rows>& groups, const Heads& heads = {}) {
    if (!wanted("attention " + name) && !wanted("kv_append " + name) && !wanted("rope_append " + name) &&
        !wanted("attention_layer " + name))
      return;
    const HostBatch host = host_batch(groups);
    const int64_t num_rows = int64_t(host.row_slots.size()), num_tokens = int64_t(host.positions.size());
    const int64_t max_blocks = (host.max_context + kBlockSize - 1) / kBlockSize, blocks = num_rows * max_blocks;
    const double block_bytes = kBf16 * double(heads.block_elements());
    const int64_t copies = std::clamp<int64_t>(int64_t(kRotatedBytes / (double(blocks) * block_bytes)) + 1, 1, 128);
    const Tensor positions = ints(host.positions), slots = ints(host.slots), row_begin = ints(host.row_begin);
    const Tensor row_slots = ints(host.row_slots), tables = ints(scattered_tables(copies, num_rows, max_blocks));
    const TensorView all_tables = tables.view().reshape({copies, num_rows, max_blocks});
    AttentionBatch batch;
    batch.positions = positions, batch.token_slots = slots, batch.row_begin = row_begin, batch.row_slots = row_slots;
    batch.num_tokens = num_tokens, batch.num_rows = num_rows;
    batch.max_row_tokens = host.max_row_tokens;
    std::array<Work, 2> work;
    plan(batch, work, host, heads);

    const Tensor cache = random_tensor(copies * blocks, heads.block_elements());
    const TensorView kv = cache.view().reshape({copies * blocks, 2, heads.kv, kBlockSize, heads.dim});
    const int64_t width = (heads.q + 2 * heads.kv) * heads.dim;
    const Tensor qkv = random_tensor(num_tokens, width), out = random_tensor(num_tokens, heads.q * heads.dim);
    const TensorView q = qkv.view().slice(1, 0, heads.q * heads.dim).reshape({num_tokens, heads.q, heads.dim});
    const TensorView new_kv = q.slice(1, 0, heads.kv), out_heads = out.view().reshape({num_tokens, heads.q, heads.dim});
    const AttentionOptions options{.scale = 1.0f / std::sqrt(float(heads.dim))};
    const double kv_row = kBf16 * double(heads.kv * heads.dim), q_row = kBf16 * double(heads.q * heads.dim);
    const int repetitions = int(std::max<int64_t>(copies, 8));
    const auto with_table = [&](const std::string& op, double bytes, double flops,
                                const std::function<void()>& launch) {
      time(
          op + name, bytes, flops,
          [&](int i) {
            batch.block_table = all_tables.select(i % copies);
            launch();
          },
          repetitions);
    };
    with_table("attention ", 2 * kv_row * host.kv_tokens + 2 * q_row * double(num_tokens),
               4.0 * double(heads.dim * heads.q) * host.scores,
               [&] { paged_attention(out_heads, q, kv, batch, options, stream_); });
    with_table("kv_append ", 4 * kv_row * double(num_tokens), 0,
               [&] { kv_append(kv, new_kv, new_kv, batch, stream_); });
    const Tensor inv_freq = ones(heads.dim / 2);
    with_table("rope_append ", (4 * kv_row + 2 * q_row) * double(num_tokens), 0, [&] {
      rope_append(qkv, kv, {.q_norm = {}, .k_norm = {}, .norm_eps = 0, .inv_freq = inv_freq}, batch, stream_);
    });
    if (host.max_row_tokens == 1) attention_layer(name, host, heads, batch, qkv, kv, out, all_tables, repetitions);
  }

  // A decode step's attention as a step has it: projection, rope_append_attention, projection.
  void attention_layer(const std::string& name, const HostBatch& host, const Heads& heads, AttentionBatch& batch,
                       const Tensor& qkv, TensorView kv, const Tensor& out, TensorView tables, int repetitions) {
    if (!wanted("attention_layer " + name)) return;
    const int64_t tokens = batch.num_tokens, q_width = heads.q * heads.dim, width = qkv.dim(1);
    std::vector<LinearWeight> project, output;
    for (int i = 0; i < 4; ++i)
      project.push_back(random_weight(width, kHidden, uint64_t(i))),
          output.push_back(random_weight(kHidden, q_width, 9));
    const Tensor x = random_tensor(tokens, kHidden), sum = random_tensor(tokens, kHidden),
                 inv_freq = ones(heads.dim / 2);
    const TensorView out_heads = out.view().reshape({tokens, heads.q, heads.dim});
    const double kv_row = kBf16 * double(heads.kv * heads.dim), weights = kBf16 * double(kHidden * (width + q_width));
    time(
        "attention_layer " + name, weights + 2 * kv_row * host.kv_tokens, 0,
        [&](int i) {
          batch.block_table = tables.select(i % tables.dim(0));
          linear(qkv, x, project[size_t(i) % 4], {}, stream_);
          rope_append_attention(out_heads, qkv, kv, {.q_norm = {}, .k_norm = {}, .norm_eps = 0, .inv_freq = inv_freq},
                            {.scale = 1.0f / std::sqrt(float(heads.dim))}, batch, stream_);
          linear(sum, out, output[size_t(i) % 4], {}, stream_);
        },
        repetitions);
  }

  std::string filter_;
  Stream stream_;
  Timer timer_;
  Limits limits_;
};

}  // namespace
}  // namespace trireme::bench

int main(int argc, char** argv) {
  if (trireme::cuda_device_count() == 0) {
    std::printf("kernels_bench: no GPU here\n");
    return 0;
  }
  trireme::set_current_device({trireme::DeviceKind::cuda, 0});
  trireme::bench::Bench(argc > 1 ? argv[1] : "").run();
}
