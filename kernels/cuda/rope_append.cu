#include "kernels/rope_append.h"

#include "kernels/append_stepwise.h"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/rotary_head.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int64_t kManyTokens = 1024;  // from here on a block takes all heads of its token

struct RopeAppendArgs {
  RotaryHeadArgs rotary;
  bf16 *qkv, *kv;
  const int32_t *positions, *token_slots, *block_table;
  int64_t qkv_stride;                               // between tokens
  int64_t block_stride, value_offset, head_stride;  // of kv: next block, from K to V, next head
  int64_t table_stride;
  int q_heads, kv_heads, block_size;
  int heads_per_block;
};

__device__ inline HeadKind kind_of(const RopeAppendArgs& args, int h) {
  return h < args.q_heads ? HeadKind::query : h < args.q_heads + args.kv_heads ? HeadKind::key : HeadKind::value;
}

// Where head h of the token goes: q in place, k and v into the cache's block at `place`.
__device__ inline bf16* destination(const RopeAppendArgs& args, bf16* head, int h, int64_t place) {
  if (h < args.q_heads) return head;
  const int kv_head = (h - args.q_heads) % args.kv_heads;
  return args.kv + place + kv_head * args.head_stride + (kind_of(args, h) == HeadKind::value ? args.value_offset : 0);
}

// Blocks: one token, heads_per_block heads from blockIdx.y * heads_per_block on.
__global__ __launch_bounds__(kThreads) void rope_append_kernel(const RopeAppendArgs args) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + args.rotary.half;
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int64_t token = blockIdx.x;
  const int slot = args.token_slots[token], position = args.positions[token];
  if (slot < 0) return;
  make_rotary_tables(cosines, sines, float(position), args.rotary.inv_freq, args.rotary.scale, args.rotary.half);
  const int block = args.block_table[int64_t(slot) * args.table_stride + position / args.block_size];
  const int64_t place = int64_t(block) * args.block_stride + int64_t(position % args.block_size) * args.rotary.head_dim;
  const int first = int(blockIdx.y) * args.heads_per_block;
  const int end = min(first + args.heads_per_block, args.q_heads + 2 * args.kv_heads);
  for (int h = first + int(threadIdx.x) / kWarpSize; h < end; h += kWarps) {
    bf16* head = args.qkv + token * args.qkv_stride + int64_t(h) * args.rotary.head_dim;
    rotate_head(args.rotary, head, destination(args, head, h, place), kind_of(args, h), cosines, sines);
  }
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
  args.block_size = int(kv.dim(3));
  args.heads_per_block = tokens >= kManyTokens ? int(heads) : kWarps;
  const dim3 grid(grid_size(tokens), grid_size(ceil_div(heads, args.heads_per_block), kMaxGridY));
  launch_dependent(rope_append_kernel, grid, kThreads, size_t(args.rotary.half) * 2 * sizeof(float), stream, args);
}

}  // namespace trireme::cuda
