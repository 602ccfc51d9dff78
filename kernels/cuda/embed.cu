#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/vector.cuh"
#include "kernels/linear.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 128;

// One block per token; zeros where the id belongs to another shard.
template <int kWidth>
__global__ void embed_kernel(bf16* out, const int32_t* ids, const bf16* table, int64_t vocab_begin, int64_t vocab_local,
                             int64_t cols, int64_t out_stride) {
  const int64_t row = int64_t(ids[blockIdx.x]) - vocab_begin;
  const bool mine = row >= 0 && row < vocab_local;
  bf16* to = out + int64_t(blockIdx.x) * out_stride;
  for (int64_t c = int64_t(threadIdx.x) * kWidth; c < cols; c += kThreads * kWidth) {
    float values[kWidth] = {};
    if (mine) load(table + row * cols + c, values);
    store(to + c, values);
  }
}

}  // namespace

void embed(TensorView out, TensorView ids, const LinearWeight& table, int64_t vocab_begin, const Stream& stream) {
  if (out.empty()) return;
  const int64_t cols = table.in_features;
  const bool wide = rows_are_wide(out, cols) && rows_are_wide(table.data, cols);
  with_vector_width(wide, [&](auto width) {
    embed_kernel<width()><<<grid_size(out.dim(0)), kThreads, 0, stream.get()>>>(
        bf16_data(out), i32_data(ids), bf16_data(table.data), vocab_begin, table.out_features, cols, out.stride(0));
  });
  check_launch();
}

}  // namespace trireme::cuda
