#include "kernels/rope.h"

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/rotary.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 128;

// One block per token.
template <int kWidth>
__global__ void rope_kernel(bf16* x, const int32_t* positions, const float* inv_freq, float scale, int heads,
                            int head_dim, int half, int64_t token_stride) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + half;
  wait_for_previous_kernel();
  let_next_kernel_start();
  make_rotary_tables(cosines, sines, float(positions[blockIdx.x]), inv_freq, scale, half);

  const int pieces = half / kWidth;  // of one head
  bf16* token = x + int64_t(blockIdx.x) * token_stride;
  for (int p = int(threadIdx.x); p < heads * pieces; p += kThreads) {
    const int i = p % pieces * kWidth;
    bf16* low = token + int64_t(p / pieces) * head_dim + i;
    bf16* high = low + half;
    float a[kWidth], b[kWidth];
    load(low, a);
    load(high, b);
    for (int j = 0; j < kWidth; ++j) rotate(a[j], b[j], cosines[i + j], sines[i + j]);
    store(low, a);
    store(high, b);
  }
}

// One block per token, one pair of neighbours per thread and turn.
__global__ void rope_interleaved_kernel(bf16* x, const int32_t* positions, const float* inv_freq, float scale,
                                        int heads, int head_dim, int half, int64_t token_stride) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + half;
  wait_for_previous_kernel();
  let_next_kernel_start();
  make_rotary_tables(cosines, sines, float(positions[blockIdx.x]), inv_freq, scale, half);
  bf16* token = x + int64_t(blockIdx.x) * token_stride;
  for (int p = int(threadIdx.x); p < heads * half; p += kThreads) {
    const int i = p % half;
    bf16* pair = token + int64_t(p / half) * head_dim + 2 * i;
    float first = __bfloat162float(pair[0]), second = __bfloat162float(pair[1]);
    rotate(first, second, cosines[i], sines[i]);
    pair[0] = __float2bfloat16_rn(first);
    pair[1] = __float2bfloat16_rn(second);
  }
}

void check_heads(const TensorView& x, int64_t half) {
  CHECK(x.stride(1) == x.dim(2) || x.dim(1) == 1) << "rope: heads of a token must be adjacent" << x.shape_text();
  CHECK(half <= 4096 && x.dim(1) * half <= INT32_MAX) << "rope" << x.shape_text();
}

}  // namespace

void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream) {
  if (x.empty() || inv_freq.empty()) return;
  const int64_t heads = x.dim(1), head_dim = x.dim(2), half = inv_freq.dim(0);
  check_heads(x, half);
  const bool wide = half % 8 == 0 && rows_are_wide(x, head_dim);
  with_vector_width(wide, [&](auto width) {
    launch_dependent(rope_kernel<width()>, grid_size(x.dim(0)), kThreads, size_t(half) * 2 * sizeof(float), stream,
                     bf16_data(x), i32_data(positions), f32_data(inv_freq), scale, int(heads), int(head_dim), int(half),
                     x.stride(0));
  });
}

void rope_interleaved(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream) {
  if (x.empty() || inv_freq.empty()) return;
  const int64_t half = inv_freq.dim(0);
  check_heads(x, half);
  launch_dependent(rope_interleaved_kernel, grid_size(x.dim(0)), kThreads, size_t(half) * 2 * sizeof(float), stream,
                   bf16_data(x), i32_data(positions), f32_data(inv_freq), scale, int(x.dim(1)), int(x.dim(2)),
                   int(half), x.stride(0));
}

}  // namespace trireme::cuda
