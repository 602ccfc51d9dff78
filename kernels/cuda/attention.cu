#include "kernels/attention.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/workspace.h"
#include "kernels/cuda/paged_attention/args.h"
#include "kernels/qkv_heads.h"
#include "kernels/rope_append.h"

namespace trireme::cuda {

void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream);

namespace {

constexpr int kMaxHeadDim = 256;
constexpr float kLog2e = 1.4426950408889634f;

int compute_capability(Device device) {
  int major = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  return major;
}

// Room for the partials of any work list that was planned for this device; launches on one stream share it.
void bind_partials(AttentionArgs& args, const Stream& stream) {
  const size_t rows = size_t(kPartialRowsPerProcessor) * size_t(multiprocessor_count(stream.device()));
  const size_t out_bytes = rows * kMaxHeadDim * sizeof(float), state_bytes = rows * sizeof(float2);
  const size_t counter_bytes = (1 + rows / kDecodeTileRows) * sizeof(unsigned);
  auto* memory = static_cast<char*>(
      workspace(WorkspaceUse::attention, out_bytes + state_bytes + counter_bytes, stream));
  args.partial_out = reinterpret_cast<float*>(memory);
  args.partial_state = reinterpret_cast<float2*>(memory + out_bytes);
  args.next_tile = reinterpret_cast<unsigned*>(memory + out_bytes + state_bytes);
  args.arrivals = args.next_tile + 1;
}

AttentionArgs attention_args(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                             const AttentionOptions& options) {
  AttentionArgs args{};
  args.out = bf16_data(out), args.q = bf16_data(q), args.kv = bf16_data(kv);
  args.positions = i32_data(batch.positions), args.block_table = i32_data(batch.block_table);
  args.out_stride = out.stride(0), args.q_stride = q.stride(0);
  args.block_stride = kv.stride(0), args.value_offset = kv.stride(1), args.head_stride = kv.stride(2);
  args.table_stride = batch.block_table.stride(0);
  args.num_tokens = q.dim(0), args.num_blocks = kv.dim(0);
  args.kv_heads = int(kv.dim(2)), args.group = int(q.dim(1)) / args.kv_heads;
  args.head_dim = int(kv.dim(4)), args.block_size = int(kv.dim(3));
  args.window = std::max(0, options.window);
  args.soft_cap = std::max(0.0f, options.soft_cap);
  args.exponent_scale = args.soft_cap > 0 ? kLog2e : options.scale * kLog2e;
  args.cap_scale = args.soft_cap > 0 ? options.scale / args.soft_cap : 0;
  const AttentionPlanOptions plan{.group = args.group,
                                  .kv_heads = args.kv_heads,
                                  .head_dim = args.head_dim,
                                  .num_processors = multiprocessor_count(kv.device())};
  args.decode_blocks = decode_blocks_per_processor(batch.num_rows, plan);
  args.decode_groups = decode_tiles_are_grouped(batch.num_rows, plan) && compute_capability(kv.device()) >= 9;
  args.decode_bulk = args.block_size % 16 == 0 && compute_capability(kv.device()) >= 9;
  args.wide_queries = rows_are_wide(q, args.head_dim);
  args.wide_output = rows_are_wide(out, args.head_dim);
  return args;
}

void check_work(const AttentionWork& work, Device device) {
  CHECK(work.items.rank() == 2 && work.items.dim(1) == kAttentionWorkStride && work.items.contiguous() &&
        work.items.device() == device && is_aligned(work.items.data(), 16))
      << "paged_attention: work items" << work.items.shape_text();
  CHECK(work.count.elements() == 1 && work.count.device() == device)
      << "paged_attention: work count" << work.count.shape_text();
}

void launch_class(AttentionArgs args, const AttentionWork& work, const Stream& stream) {
  if (work.items.empty()) return;
  check_work(work, stream.device());
  args.items = reinterpret_cast<const AttentionWorkItem*>(i32_data(work.items));
  args.num_items = i32_data(work.count);
  const int64_t capacity = work.items.dim(0);
  if (work.tile_rows == kLargePrefillTileRows && args.wide_queries && args.wide_output &&
      attention_has_warpgroup_tiles(stream.device(), args.head_dim, args.block_size)) {
    if (args.head_dim == 64) return launch_hopper_prefill<64>(args, capacity, stream);
    return launch_hopper_prefill<128>(args, capacity, stream);
  }
  if (args.head_dim <= 64)
    launch_attention<64>(args, work.tile_rows, capacity, stream);
  else if (args.head_dim <= 80)
    launch_attention<80>(args, work.tile_rows, capacity, stream);
  else if (args.head_dim <= 96)
    launch_attention<96>(args, work.tile_rows, capacity, stream);
  else if (args.head_dim <= 128)
    launch_attention<128>(args, work.tile_rows, capacity, stream);
  else
    launch_attention<256>(args, work.tile_rows, capacity, stream);
}

void check_call(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                const AttentionOptions& options) {
  const int64_t head_dim = kv.dim(4);
  CHECK(head_dim % 8 == 0 && head_dim <= kMaxHeadDim)
      << "paged_attention: head_dim" << head_dim << "is no multiple of 8 up to 256";
  CHECK(kv.contiguous() && is_aligned(kv.data(), 16)) << "paged_attention" << kv.shape_text();
  CHECK_LT(kv.elements() / 8, int64_t(UINT32_MAX)) << "paged_attention: cache of one layer";
  CHECK(q.dim(1) == 1 || (q.stride(1) == head_dim && out.stride(1) == head_dim))
      << "paged_attention: heads must be adjacent";
  CHECK_EQ(q.dim(1) % kv.dim(2), 0) << "paged_attention: query heads per KV head";
  CHECK_GT(options.scale, 0) << "paged_attention: scale";
  CHECK(!batch.decode_work.items.empty() || !batch.prefill_work.items.empty())
      << "paged_attention: a batch without a work list";
}

}  // namespace

int32_t attention_processors(Device device) { return multiprocessor_count(device); }

bool attention_has_warpgroup_tiles(Device device, int64_t head_dim, int64_t block_size) {
  if (!TRIREME_WITH_WGMMA || block_size % 8 != 0 || (head_dim != 64 && head_dim != 128)) return false;
  return compute_capability(device) == 9;
}

void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream& stream) {
  if (batch.num_tokens == 0 || batch.num_rows == 0 || out.empty()) return;
  check_call(out, q, kv, batch, options);
  AttentionArgs args = attention_args(out, q, kv, batch, options);
  bind_partials(args, stream);
  launch_class(args, batch.prefill_work, stream);
  launch_class(args, batch.decode_work, stream);
}

// In one launch where every row is one token and of decode tiles.
void rope_append_attention(TensorView out, TensorView qkv, TensorView kv, const RopeAppendOptions& append,
                           const AttentionOptions& options, const AttentionBatch& batch, const Stream& stream) {
  const TensorView q = QkvHeads(qkv, kv.dim(2), kv.dim(4)).q;
  if (batch.max_row_tokens > 1 || !batch.prefill_work.items.empty() || batch.decode_work.items.empty() ||
      !fits_rotary_heads(qkv, kv, append)) {
    cuda::rope_append(qkv, kv, append, batch, stream);
    return cuda::paged_attention(out, q, kv, batch, options, stream);
  }
  check_call(out, q, kv, batch, options);
  AttentionArgs args = attention_args(out, q, kv, batch, options);
  args.append = {.wanted = true, .rotary = rotary_head_args(append, kv.dim(4)), .kv = bf16_data(kv)};
  bind_partials(args, stream);
  launch_class(args, batch.decode_work, stream);
}

}  // namespace trireme::cuda
