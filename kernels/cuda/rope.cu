#include "kernels/rope.h"

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 128;

// A token's cosines and sines, made once by its block in shared memory: [half] each.
__device__ inline void make_tables(float* cosines, float* sines, float position, const float* inv_freq, float scale,
                                   int half) {
  for (int i = int(threadIdx.x); i < half; i += kThreads) {
    float sine, cosine;
    sincosf(position * inv_freq[i], &sine, &cosine);
    cosines[i] = cosine * scale;
    sines[i] = sine * scale;
  }
  __syncthreads();
}

// One block per token.
template <int kWidth>
__global__ void rope_kernel(bf16* x, const int32_t* positions, const float* inv_freq, float scale, int heads,
                            int head_dim, int half, int64_t token_stride) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + half;
  make_tables(cosines, sines, float(positions[blockIdx.x]), inv_freq, scale, half);

  const int pieces = half / kWidth;  // of one head
  bf16* token = x + int64_t(blockIdx.x) * token_stride;
  for (int p = int(threadIdx.x); p < heads * pieces; p += kThreads) {
    const int i = p % pieces * kWidth;
    bf16* low = token + int64_t(p / pieces) * head_dim + i;
    bf16* high = low + half;
    float a[kWidth], b[kWidth];
    load(low, a);
    load(high, b);
    for (int j = 0; j < kWidth; ++j) {
      const float first = a[j], second = b[j];
      a[j] = first * cosines[i + j] - second * sines[i + j];
      b[j] = second * cosines[i + j] + first * sines[i + j];
    }
    store(low, a);
    store(high, b);
  }
}

// One block per token, one pair of neighbours per thread and turn.
__global__ void rope_interleaved_kernel(bf16* x, const int32_t* positions, const float* inv_freq, float scale,
                                        int heads, int head_dim, int half, int64_t token_stride) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + half;
  make_tables(cosines, sines, float(positions[blockIdx.x]), inv_freq, scale, half);
  bf16* token = x + int64_t(blockIdx.x) * token_stride;
  for (int p = int(threadIdx.x); p < heads * half; p += kThreads) {
    const int i = p % half;
    bf16* pair = token + int64_t(p / half) * head_dim + 2 * i;
    const float first = __bfloat162float(pair[0]), second = __bfloat162float(pair[1]);
    pair[0] = __float2bfloat16_rn(first * cosines[i] - second * sines[i]);
    pair[1] = __float2bfloat16_rn(second * cosines[i] + first * sines[i]);
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
    rope_kernel<width()><<<grid_size(x.dim(0)), kThreads, size_t(half) * 2 * sizeof(float), stream.get()>>>(
        bf16_data(x), i32_data(positions), f32_data(inv_freq), scale, int(heads), int(head_dim), int(half),
        x.stride(0));
  });
  check_launch();
}

void rope_interleaved(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream) {
  if (x.empty() || inv_freq.empty()) return;
  const int64_t half = inv_freq.dim(0);
  check_heads(x, half);
  rope_interleaved_kernel<<<grid_size(x.dim(0)), kThreads, size_t(half) * 2 * sizeof(float), stream.get()>>>(
      bf16_data(x), i32_data(positions), f32_data(inv_freq), scale, int(x.dim(1)), int(x.dim(2)), int(half),
      x.stride(0));
  check_launch();
}

}  // namespace trireme::cuda
