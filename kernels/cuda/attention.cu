#include "kernels/attention.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/paged_attention/args.h"

namespace trireme::cuda {
namespace {

constexpr int kMergeThreads = 128;
constexpr int kMaxHeadDim = 256;
constexpr int kMinSplitKeys = 256;      // shorter pieces spend their time starting up
constexpr int kBlocksPerProcessor = 4;  // splits are made until the GPU holds about this many blocks

// out[t, h] = sum_s 2^(m_s - m) o_s / sum_s 2^(m_s - m) l_s over the splits s in ascending order.
// One block per (token, query head); tokens that no row owns are left alone.
__global__ void merge_splits_kernel(const AttentionArgs args) {
  const int64_t row = blockIdx.x;
  const int64_t token = row / args.q_heads, head = row % args.q_heads;
  if (token >= args.row_begin[args.num_rows]) return;
  const float2* states = args.partial_state + row * args.num_splits;
  float top = -INFINITY;
  for (int s = 0; s < args.num_splits; ++s)
    if (states[s].y != 0) top = fmaxf(top, states[s].x);
  for (int d = int(threadIdx.x); d < args.head_dim; d += kMergeThreads) {
    float sum = 0, value = 0;
    for (int s = 0; s < args.num_splits; ++s) {
      if (states[s].y == 0) continue;  // saw nothing
      const float weight = exp2f(states[s].x - top);
      sum += weight * states[s].y;
      value += weight * args.partial_out[(row * args.num_splits + s) * args.head_dim + d];
    }
    args.out[token * args.out_stride + head * args.head_dim + d] = __float2bfloat16_rn(value / sum);
  }
}

int64_t target_blocks(Device device) { return int64_t(kBlocksPerProcessor) * multiprocessor_count(device); }

// Tiles: decode tiles where every row fits one. Splits: enough to fill the GPU, none shorter than kMinSplitKeys.
// blocks * splits <= target_blocks wherever there is more than one split, which bounds the partials.
void choose_tiles(AttentionArgs& args, const AttentionBatch& batch, Device device) {
  args.tile_rows = int64_t(batch.max_row_tokens) * args.group <= kDecodeRows ? kDecodeRows : kPrefillRows;
  args.tiles = int(batch.num_tokens * args.group / args.tile_rows + batch.num_rows);
  const int64_t blocks = int64_t(args.tiles) * args.kv_heads;
  const int64_t wanted = std::max<int64_t>(1, target_blocks(device) / blocks);
  const int64_t context = std::max<int64_t>(1, batch.max_context);
  const int64_t splits = std::min(wanted, ceil_div(context, kMinSplitKeys));
  args.split_keys = int(ceil_div(ceil_div(context, splits), 64) * 64);
  args.num_splits = int(ceil_div(context, args.split_keys));
}

// A packed row of a tile has a partial per split: at most target_blocks tiles' worth in all.
void bind_partials(AttentionArgs& args, const Stream& stream) {
  args.partial_out = nullptr;
  args.partial_state = nullptr;
  if (args.num_splits == 1) return;
  const int64_t most = target_blocks(stream.device()) * kPrefillRows;
  const int64_t used = int64_t(args.num_tokens) * args.q_heads * args.num_splits;
  CHECK_LE(used, most) << "paged_attention: partial results";
  const size_t state_bytes = size_t(most) * sizeof(float2);
  auto* memory = static_cast<char*>(
      workspace(WorkspaceUse::attention, state_bytes + size_t(most) * kMaxHeadDim * sizeof(float), stream));
  args.partial_state = reinterpret_cast<float2*>(memory);
  args.partial_out = reinterpret_cast<float*>(memory + state_bytes);
}

AttentionArgs attention_args(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                             const AttentionOptions& options) {
  AttentionArgs args{};
  args.out = bf16_data(out), args.q = bf16_data(q), args.kv = bf16_data(kv);
  args.positions = i32_data(batch.positions), args.row_begin = i32_data(batch.row_begin);
  args.row_slots = i32_data(batch.row_slots), args.block_table = i32_data(batch.block_table);
  args.out_stride = out.stride(0), args.q_stride = q.stride(0);
  args.block_stride = kv.stride(0), args.value_offset = kv.stride(1), args.head_stride = kv.stride(2);
  args.table_stride = batch.block_table.stride(0);
  args.num_tokens = int(batch.num_tokens), args.num_rows = int(batch.num_rows);
  args.q_heads = int(q.dim(1)), args.kv_heads = int(kv.dim(2)), args.group = args.q_heads / args.kv_heads;
  args.head_dim = int(kv.dim(4)), args.block_size = int(kv.dim(3));
  args.window = std::max(0, options.window);
  args.scale = options.scale, args.soft_cap = options.soft_cap;
  args.wide_queries = rows_are_wide(q, args.head_dim);
  args.wide_output = rows_are_wide(out, args.head_dim);
  return args;
}

}  // namespace

void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream& stream) {
  if (batch.num_tokens == 0 || batch.num_rows == 0 || out.empty()) return;
  const int64_t head_dim = kv.dim(4);
  CHECK(head_dim % 8 == 0 && head_dim <= kMaxHeadDim)
      << "paged_attention: head_dim" << head_dim << "is no multiple of 8 up to 256";
  CHECK(kv.contiguous() && is_aligned(kv.data(), 16)) << "paged_attention" << kv.shape_text();
  CHECK(q.dim(1) == 1 || (q.stride(1) == head_dim && out.stride(1) == head_dim))
      << "paged_attention: heads must be adjacent";
  CHECK_EQ(q.dim(1) % kv.dim(2), 0) << "paged_attention: query heads per KV head";

  AttentionArgs args = attention_args(out, q, kv, batch, options);
  choose_tiles(args, batch, stream.device());
  bind_partials(args, stream);
  if (head_dim <= 64)
    launch_attention<64>(args, stream);
  else if (head_dim <= 128)
    launch_attention<128>(args, stream);
  else
    launch_attention<256>(args, stream);
  if (args.num_splits == 1) return;
  merge_splits_kernel<<<grid_size(int64_t(args.num_tokens) * args.q_heads), kMergeThreads, 0, stream.get()>>>(args);
  check_launch();
}

}  // namespace trireme::cuda
