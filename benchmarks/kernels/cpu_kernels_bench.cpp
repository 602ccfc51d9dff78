// The CPU kernels on the shapes of SmolLM2-135M (Q4_1 layers, Q8_0 output), against limits measured in the same run:
//   cpu_kernels_bench [threads] [seconds per line]
// A line is the best of its repetitions. Bytes are those of the weights or the cache; operations are multiply-adds
// counted twice. The last lines add the ops of one model up: what a rank can do when nothing else costs anything.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/attention.h"
#include "kernels/bandwidth.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trireme {
namespace {

constexpr int64_t kHidden = 576, kFfn = 1536, kHeads = 9, kKvHeads = 3, kHeadDim = 64, kLayers = 30,
                  kVocabulary = 49152;
constexpr int64_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;

double seconds_per_line = 0.5;
double read_limit = 0;  // bytes per second
double fma_limit = 0;   // operations per second

// One thread is timed by its own processor time, so that what else runs on the machine shows less.
double clock_seconds() {
  timespec now{};
  clock_gettime(cpu_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

double best_seconds(const std::function<void()>& body) {
  double best = 1e9;
  const double end = clock_seconds() + seconds_per_line;
  for (int i = 0; i < 3 || clock_seconds() < end; ++i) {
    const double start = clock_seconds();
    body();
    best = std::min(best, clock_seconds() - start);
  }
  return best;
}

// Times `body`, which stands for `count` equal ops; returns seconds per op.
double report(const std::string& name, double bytes, double operations, int64_t count,
              const std::function<void()>& body) {
  const double seconds = best_seconds(body) / double(count), rate = bytes / seconds, speed = operations / seconds;
  std::printf("%-44s %9.1f us  %7.2f GB/s (%3.0f %%)  %7.1f GFLOP/s (%3.0f %%)\n", name.c_str(), seconds * 1e6,
              rate / 1e9, 100 * rate / read_limit, speed / 1e9, 100 * speed / fma_limit);
  return seconds;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float fma_loop_avx512(int64_t rounds) {
  __m512 sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = _mm512_set1_ps(float(i));
  const __m512 factor = _mm512_set1_ps(0.999f);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sums[i] = _mm512_fmadd_ps(sums[i], factor, factor);
  for (int i = 1; i < 16; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  return _mm512_cvtss_f32(sums[0]);
}
__attribute__((target("avx2,fma"))) float fma_loop_avx2(int64_t rounds) {
  __m256 sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm256_set1_ps(float(i));
  const __m256 factor = _mm256_set1_ps(0.999f);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, factor);
  for (int i = 1; i < 12; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  return _mm256_cvtss_f32(sums[0]);
}
#endif

// Fused multiply-adds on registers alone, on all threads: operations per second.
double measure_fma_limit() {
#if defined(__x86_64__)
  const cpu::InstructionSet set = cpu::instruction_set();
  if (set == cpu::InstructionSet::portable) return 1e9;
  const int64_t rounds = 2000000, threads = cpu_threads();
  const double per_round = set == cpu::InstructionSet::avx512 ? 16 * 16 * 2 : 12 * 8 * 2;
  volatile float sink = 0;
  const double seconds = best_seconds([&] {
    cpu::parallel_for(threads, [&](int64_t) {
      sink = set == cpu::InstructionSet::avx512 ? fma_loop_avx512(rounds) : fma_loop_avx2(rounds);
    });
  });
  return double(threads * rounds) * per_round / seconds;
#else
  return 1e9;
#endif
}

struct Layers {
  std::vector<LinearWeight> weights;
  int64_t out, in;
};

Layers make_layers(DType storage, int64_t out, int64_t in, int64_t count, const Stream& stream) {
  Layers layers{{}, out, in};
  for (int64_t i = 0; i < count; ++i) {
    layers.weights.push_back(make_linear_weight(kCpu, storage, out, in));
    fill_linear_random(layers.weights.back(), uint64_t(i), 0.05f, 0, 0, stream);
  }
  return layers;
}

Tensor filled(std::initializer_list<int64_t> dims, DType dtype = DType::f32) {
  Tensor tensor(dtype, dims, kCpu);
  for (int64_t i = 0; i < tensor.view().elements(); ++i) {
    if (dtype == DType::f32)
      tensor.as<float>()[i] = float(i % 17) / 17 - 0.5f;
    else if (dtype == DType::f64)
      tensor.as<double>()[i] = double(i % 17) / 17 - 0.5;
  }
  return tensor;
}

double bench_linear(const std::string& name, const Layers& layers, int64_t tokens, DType out_dtype,
                    const Stream& stream) {
  const Tensor x = filled({tokens, layers.in}), out = filled({tokens, layers.out}, out_dtype);
  const double bytes = double(layers.weights[0].data.view().bytes()),
               operations = 2.0 * double(tokens * layers.in * layers.out);
  return report(name + " T=" + std::to_string(tokens), bytes, operations, int64_t(layers.weights.size()), [&] {
    for (const LinearWeight& weight : layers.weights) linear(out, x, weight, TensorView(), stream);
  });
}

Tensor int_tensor(const std::vector<int32_t>& values, std::initializer_list<int64_t> dims) {
  Tensor tensor(DType::i32, dims, kCpu);
  std::copy(values.begin(), values.end(), tensor.as<int32_t>());
  return tensor;
}

// `rows` sequences, each querying its last `count` of `context` positions.
double bench_attention(int64_t rows, int64_t context, int64_t count, const Stream& stream) {
  constexpr int64_t kBlock = 16;
  const int64_t blocks = (context + kBlock - 1) / kBlock, tokens = rows * count;
  const Tensor kv = filled({rows * blocks, 2, kKvHeads, kBlock, kHeadDim}), q = filled({tokens, kHeads, kHeadDim}),
               out = filled({tokens, kHeads, kHeadDim});
  std::vector<int32_t> positions, slots, begin = {0}, row_slots, table;
  for (int32_t r = 0; r < rows; ++r) {
    for (int64_t p = context - count; p < context; ++p) positions.push_back(int32_t(p)), slots.push_back(r);
    for (int64_t b = 0; b < blocks; ++b) table.push_back(int32_t(r * blocks + b));
    begin.push_back(int32_t(positions.size()));
    row_slots.push_back(r);
  }
  const Tensor p = int_tensor(positions, {tokens}), s = int_tensor(slots, {tokens}), rb = int_tensor(begin, {rows + 1}),
               rs = int_tensor(row_slots, {rows}), t = int_tensor(table, {rows, blocks});
  const AttentionBatch batch{p, s, rb, rs, t, tokens, rows, int32_t(count)};
  const double pairs = double(rows) * (double(context - count) * double(count) + double(count) * double(count + 1) / 2);
  return report("attention rows=" + std::to_string(rows) + " context=" + std::to_string(context) +
                    " queries=" + std::to_string(count),
                double(rows * context * kKvHeads * kHeadDim * 8), 4 * pairs * double(kHeads * kHeadDim), 1,
                [&] { paged_attention(out, q, kv, batch, {0.125f}, stream); });
}

// Norms, rope, activation, residuals of one layer.
double bench_small_ops(int64_t tokens, const Stream& stream) {
  const Tensor hidden = filled({tokens, kHidden}), norm = filled({tokens, kHidden}), weight = filled({kHidden}),
               sum = filled({tokens, kHidden}, DType::f64);
  const Tensor gate_up = filled({tokens, 2 * kFfn}), activated = filled({tokens, kFfn}),
               q = filled({tokens, kHeads + kKvHeads, kHeadDim});
  const Tensor inv_freq = filled({kHeadDim / 2}),
               positions = int_tensor(std::vector<int32_t>(size_t(tokens), 300), {tokens});
  return report("2 norms, rope, silu, 2 residuals T=" + std::to_string(tokens), 0, 0, 1, [&] {
    for (int i = 0; i < 2; ++i) {
      rms_norm(norm, hidden, weight, 1e-5f, stream);
      add_partial(hidden, sum, TensorView(), stream);
    }
    rope(q, positions, inv_freq, 1, stream);
    silu_mul(activated, gate_up, stream);
  });
}

void bench_model(const Stream& stream) {
  const Layers qkv = make_layers(DType::q4_1, kQkv, kHidden, kLayers, stream),
               o = make_layers(DType::q4_1, kHidden, kHidden, kLayers, stream);
  const Layers gate_up = make_layers(DType::q4_1, 2 * kFfn, kHidden, kLayers, stream),
               down = make_layers(DType::q4_1, kHidden, kFfn, kLayers, stream);
  const Layers lm_head = make_layers(DType::q8_0, kVocabulary, kHidden, 1, stream);
  for (int64_t tokens : {int64_t(1), int64_t(4), int64_t(8), int64_t(32), int64_t(512)}) {
    double layer = bench_linear("qkv 576 -> 960 q4_1", qkv, tokens, DType::f32, stream);
    layer += bench_linear("o 576 -> 576 q4_1, f64", o, tokens, DType::f64, stream);
    layer += bench_linear("gate_up 576 -> 3072 q4_1", gate_up, tokens, DType::f32, stream);
    layer += bench_linear("down 1536 -> 576 q4_1, f64", down, tokens, DType::f64, stream);
    layer += bench_small_ops(tokens, stream);
    layer += tokens == 512 ? bench_attention(1, 512, 512, stream) : bench_attention(tokens, 512, 1, stream);
    const int64_t logit_rows = tokens == 512 ? 1 : tokens;
    const double step =
        double(kLayers) * layer + bench_linear("lm_head 576 -> 49152 q8_0", lm_head, logit_rows, DType::f32, stream);
    std::printf("=> %s of %ld tokens: %.2f ms, %.0f tok/s\n\n", tokens == 512 ? "prefill" : "decode", long(tokens),
                step * 1e3, double(tokens) / step);
  }
}

void bench_storages(const Stream& stream) {
  for (DType storage : {DType::f32, DType::bf16, DType::f16, DType::q8_0, DType::q4_1}) {
    const Layers layers = make_layers(storage, 4096, 4096, 4, stream);
    for (int64_t tokens : {1, 64})
      bench_linear("4096 -> 4096 " + std::string(dtype_name(storage)), layers, tokens, DType::f32, stream);
  }
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  using namespace trireme;
  set_cpu_threads(argc > 1 ? std::atoi(argv[1]) : 1);
  if (argc > 2) seconds_per_line = std::atof(argv[2]);
  const Stream stream(kCpu);
  read_limit = measure_read_bandwidth(kCpu);
  fma_limit = measure_fma_limit();
  std::printf("%s, %s, %d threads: reads %.1f GB/s, multiply-adds %.0f GFLOP/s\n\n", device_description(kCpu).c_str(),
              cpu::instruction_set_name(cpu::instruction_set()), cpu_threads(), read_limit / 1e9, fma_limit / 1e9);
  bench_model(stream);
  bench_storages(stream);
  return 0;
}
