#include "kernels/rope.h"

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 128;

// One block per token. Its cosines and sines are made once, in shared memory: [half] each.
template <int kWidth>
__global__ void rope_kernel(bf16* x, const int32_t* positions, const float* inv_freq, float scale, int heads,
                            int head_dim, int half, int64_t token_stride) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + half;
  const float position = float(positions[blockIdx.x]);
  for (int i = int(threadIdx.x); i < half; i += kThreads) {
    float sine, cosine;
    sincosf(position * inv_freq[i], &sine, &cosine);
    cosines[i] = cosine * scale;
    sines[i] = sine * scale;
  }
  __syncthreads();

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

}  // namespace

void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream& stream) {
  if (x.empty() || inv_freq.empty()) return;
  const int64_t heads = x.dim(1), head_dim = x.dim(2), half = inv_freq.dim(0);
  CHECK(x.stride(1) == head_dim || heads == 1) << "rope: heads of a token must be adjacent" << x.shape_text();
  CHECK(half <= 4096 && heads * half <= INT32_MAX) << "rope" << x.shape_text();
  const bool wide = half % 8 == 0 && rows_are_wide(x, head_dim);
  with_vector_width(wide, [&](auto width) {
    rope_kernel<width()><<<grid_size(x.dim(0)), kThreads, size_t(half) * 2 * sizeof(float), stream.get()>>>(
        bf16_data(x), i32_data(positions), f32_data(inv_freq), scale, int(heads), int(head_dim), int(half),
        x.stride(0));
  });
  check_launch();
}

}  // namespace trireme::cuda
