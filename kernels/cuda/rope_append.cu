#include "kernels/rope_append.h"

#include "kernels/append_stepwise.h"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/rope_append_wide.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int64_t kManyTokens = 1024;  // from here on a block takes all heads of its token

// Blocks: one token, heads_per_block heads from blockIdx.y * heads_per_block on.
__global__ __launch_bounds__(kThreads, 5) void rope_append_kernel(const RopeAppendArgs args) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + args.rotary.half;
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int64_t token = blockIdx.x;
  if (args.token_slots[token] < 0) return;
  make_rotary_tables(cosines, sines, float(args.positions[token]), args.rotary.inv_freq, args.rotary.scale,
                     args.rotary.half);
  const int64_t place = place_of(args, token);
  const int first = int(blockIdx.y) * args.heads_per_block;
  const int end = min(first + args.heads_per_block, args.q_heads + 2 * args.kv_heads);
  for (int h = first + int(threadIdx.x) / kWarpSize; h < end; h += kWarps) {
    bf16* head = head_at(args, token, h);
    rotate_head(args.rotary, head, destination(args, head, h, place), kind_of(args, h), cosines, sines);
  }
}

template <int kTokens, int kThreads>
void launch_wide(const RopeAppendArgs& args, const Stream& stream) {
  const size_t tables = size_t(kTokens) * size_t(args.rotary.half) * 2 * sizeof(float);
  launch_dependent(rope_append_wide_kernel<kTokens, kThreads>, grid_size(ceil_div(args.num_tokens, kTokens)),
                   unsigned(wide_threads(args)), tables, stream, args);
}

void launch_wide(const RopeAppendArgs& args, const Stream& stream) {
  constexpr int kFewThreads = 384;        // their registers hold four tokens
  constexpr int64_t kEnoughTokens = 512;  // for a block to take several
  if (args.num_tokens < kEnoughTokens) return launch_wide<1, kMaxWideThreads>(args, stream);
  if (wide_threads(args) > kFewThreads) return launch_wide<2, kMaxWideThreads>(args, stream);
  launch_wide<4, kFewThreads>(args, stream);
}

}  // namespace

void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream) {
  if (qkv.empty()) return;
  CHECK(kv.contiguous()) << "rope_append" << kv.shape_text();
  if (!fits_rotary_heads(qkv, kv, options)) return append_stepwise(qkv, kv, options, batch, stream);
  const int64_t kv_heads = kv.dim(2), head_dim = kv.dim(4), heads = qkv.dim(1) / head_dim, tokens = qkv.dim(0);
  RopeAppendArgs args{};
  args.qkv = bf16_data(qkv), args.kv = bf16_data(kv);
  args.rotary = rotary_head_args(options, head_dim);
  args.positions = i32_data(batch.positions), args.token_slots = i32_data(batch.token_slots);
  args.block_table = i32_data(batch.block_table), args.table_stride = batch.block_table.stride(0);
  args.qkv_stride = qkv.stride(0);
  args.block_stride = kv.stride(0), args.value_offset = kv.stride(1), args.head_stride = kv.stride(2);
  args.q_heads = int(heads - 2 * kv_heads), args.kv_heads = int(kv_heads);
  args.block_size = int(kv.dim(3)), args.num_tokens = tokens;
  if (fits_wide_slices(args)) return launch_wide(args, stream);
  args.heads_per_block = tokens >= kManyTokens ? int(heads) : kWarps;
  const dim3 grid(grid_size(tokens), grid_size(ceil_div(heads, args.heads_per_block), kMaxGridY));
  launch_dependent(rope_append_kernel, grid, kThreads, size_t(args.rotary.half) * 2 * sizeof(float), stream, args);
}

}  // namespace trireme::cuda
