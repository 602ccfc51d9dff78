#include "kernels/rope_append.h"

#include <cstdlib>

#include "kernels/append_stepwise.h"
#include "kernels/cuda/common/head_sum.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/rotary.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int64_t kManyTokens = 1024;  // from here on a block takes all heads of its token
constexpr int kMaxQuads = 2;           // of a lane: head_dim 256

struct RopeAppendArgs {
  bf16 *qkv, *kv;
  const float *q_norm, *k_norm;  // both null: no norm
  const float* inv_freq;
  const int32_t *positions, *token_slots, *block_table;
  int64_t qkv_stride;                               // between tokens
  int64_t block_stride, value_offset, head_stride;  // of kv: next block, from K to V, next head
  int64_t table_stride;
  int q_heads, kv_heads, head_dim, block_size, half;
  int heads_per_block;
  float norm_eps, scale;
  bool interleaved, early;
};

// Four elements of a head that a lane has: two neighbours at `low`, two at `high`. The first half / 2 quads rotate.
struct Quad {
  int low, high;
  float values[4];

  __device__ Quad(const RopeAppendArgs& args, int index) {
    const bool halves = index < args.half / 2 && !args.interleaved;
    low = halves ? 2 * index : 4 * index;
    high = halves ? 2 * index + args.half : 4 * index + 2;
  }
  __device__ void load(const bf16* head) {
    const uint32_t a = *reinterpret_cast<const uint32_t*>(head + low),
                   b = *reinterpret_cast<const uint32_t*>(head + high);
    values[0] = low_bf16(a), values[1] = high_bf16(a), values[2] = low_bf16(b), values[3] = high_bf16(b);
  }
  __device__ void store(bf16* head) const {
    *reinterpret_cast<uint32_t*>(head + low) = pack_bf16(values[0], values[1]);
    *reinterpret_cast<uint32_t*>(head + high) = pack_bf16(values[2], values[3]);
  }
  // As head_rms_norm_kernel does it, with its rounding to bf16.
  __device__ void normalize(const float* weight, float factor) {
    for (int i = 0; i < 4; ++i) {
      const float w = weight[i < 2 ? low + i : high + i - 2];
      values[i] = __bfloat162float(__float2bfloat16_rn(values[i] * factor * w));
    }
  }
  __device__ void turn(const float* cosines, const float* sines, int index, bool interleaved) {
    const int i = 2 * index;
    if (interleaved) {
      rotate(values[0], values[1], cosines[i], sines[i]);
      rotate(values[2], values[3], cosines[i + 1], sines[i + 1]);
    } else {
      rotate(values[0], values[2], cosines[i], sines[i]);
      rotate(values[1], values[3], cosines[i + 1], sines[i + 1]);
    }
  }
};

// Where head h of the token goes: q in place, k and v into the cache's block at `place`.
__device__ inline bf16* destination(const RopeAppendArgs& args, bf16* head, int h, int64_t place) {
  if (h < args.q_heads) return head;
  const int kv_head = (h - args.q_heads) % args.kv_heads;
  const bool is_value = h >= args.q_heads + args.kv_heads;
  return args.kv + place + kv_head * args.head_stride + (is_value ? args.value_offset : 0);
}

// One warp per head. Lanes beyond the head's quads only help with the sum.
__device__ inline void append_head(const RopeAppendArgs& args, bf16* head, bf16* to, int h, const float* cosines,
                                   const float* sines) {
  const int lane = int(threadIdx.x) % kWarpSize;
  const bool is_key = h >= args.q_heads, is_value = h >= args.q_heads + args.kv_heads;
  const float* weight = is_value ? nullptr : is_key ? args.k_norm : args.q_norm;
  float factor = 1;
  if (weight) factor = 1.0f / sqrtf(head_square_sum(head, args.head_dim) / float(args.head_dim) + args.norm_eps);
#pragma unroll
  for (int j = 0; j < kMaxQuads; ++j) {
    const int index = lane + j * kWarpSize;
    if (4 * index >= args.head_dim) break;
    Quad quad(args, index);
    quad.load(head);
    if (weight) quad.normalize(weight, factor);
    if (!is_value && index < args.half / 2) quad.turn(cosines, sines, index, args.interleaved);
    quad.store(to);
  }
}

// Blocks: one token, heads_per_block heads from blockIdx.y * heads_per_block on.
__global__ __launch_bounds__(kThreads) void rope_append_kernel(const RopeAppendArgs args) {
  extern __shared__ float tables[];
  float *cosines = tables, *sines = tables + args.half;
  if (!args.early) wait_for_previous_kernel(), let_next_kernel_start();
  const int64_t token = blockIdx.x;
  const int slot = args.token_slots[token], position = args.positions[token];
  const int block = slot < 0 ? 0 : args.block_table[int64_t(slot) * args.table_stride + position / args.block_size];
  if (slot >= 0) make_rotary_tables(cosines, sines, float(position), args.inv_freq, args.scale, args.half);
  if (args.early) wait_for_previous_kernel(), let_next_kernel_start();
  if (slot < 0) return;
  const int64_t place = int64_t(block) * args.block_stride + int64_t(position % args.block_size) * args.head_dim;
  const int first = int(blockIdx.y) * args.heads_per_block;
  const int end = min(first + args.heads_per_block, args.q_heads + 2 * args.kv_heads);
  for (int h = first + int(threadIdx.x) / kWarpSize; h < end; h += kWarps) {
    bf16* head = args.qkv + token * args.qkv_stride + int64_t(h) * args.head_dim;
    append_head(args, head, destination(args, head, h, place), h, cosines, sines);
  }
}

// What the kernel's pairs of neighbours ask for.
bool fits(TensorView qkv, TensorView kv, const RopeAppendOptions& options) {
  const int64_t head_dim = kv.dim(4);
  return head_dim % 4 == 0 && head_dim <= 4 * kMaxQuads * kWarpSize && options.inv_freq.elements() % 2 == 0 &&
         is_aligned(qkv.data(), 4) && is_aligned(kv.data(), 4) && (qkv.dim(0) <= 1 || qkv.stride(0) % 2 == 0);
}

}  // namespace

void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream) {
  if (qkv.empty()) return;
  CHECK(kv.contiguous()) << "rope_append" << kv.shape_text();
  if (!fits(qkv, kv, options)) return append_stepwise(qkv, kv, options, batch, stream);
  const int64_t kv_heads = kv.dim(2), head_dim = kv.dim(4), heads = qkv.dim(1) / head_dim, tokens = qkv.dim(0);
  RopeAppendArgs args{};
  args.qkv = bf16_data(qkv), args.kv = bf16_data(kv);
  if (!options.q_norm.empty()) args.q_norm = f32_data(options.q_norm), args.k_norm = f32_data(options.k_norm);
  if (!options.inv_freq.empty()) args.inv_freq = f32_data(options.inv_freq);
  args.positions = i32_data(batch.positions), args.token_slots = i32_data(batch.token_slots);
  args.block_table = i32_data(batch.block_table), args.table_stride = batch.block_table.stride(0);
  args.qkv_stride = qkv.stride(0);
  args.block_stride = kv.stride(0), args.value_offset = kv.stride(1), args.head_stride = kv.stride(2);
  args.q_heads = int(heads - 2 * kv_heads), args.kv_heads = int(kv_heads), args.head_dim = int(head_dim);
  args.block_size = int(kv.dim(3)), args.half = int(options.inv_freq.elements());
  args.heads_per_block = tokens >= kManyTokens ? int(heads) : kWarps;
  args.norm_eps = options.norm_eps, args.scale = options.scale, args.interleaved = options.interleaved;
  static const bool early = std::getenv("TRIREME_ROPE");
  args.early = early;
  const dim3 grid(grid_size(tokens), grid_size(ceil_div(heads, args.heads_per_block), kMaxGridY));
  launch_dependent(rope_append_kernel, grid, kThreads, size_t(args.half) * 2 * sizeof(float), stream, args);
}

}  // namespace trireme::cuda
