// kv_append and copy_blocks: what writes the paged cache.

#include "kernels/attention.h"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/vector.cuh"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 128;

struct AppendArgs {
  bf16* kv;  // [num_blocks, 2, kv_heads, block_size, head_dim]
  const bf16 *k, *v;
  const int32_t *positions, *token_slots, *block_table;
  int64_t block_stride, value_offset, head_stride;  // of kv: next block, from K to V, next head
  int64_t k_stride, v_stride;                       // between tokens
  int64_t table_stride;
  int kv_heads, head_dim, block_size;
};

// One block per token; consecutive threads on consecutive dimensions. Padding tokens have no slot.
template <int kWidth>
__global__ void kv_append_kernel(AppendArgs args) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int64_t token = blockIdx.x;
  const int position = args.positions[token], slot = args.token_slots[token];
  if (slot < 0) return;
  const int block = args.block_table[int64_t(slot) * args.table_stride + position / args.block_size];
  bf16* to = args.kv + int64_t(block) * args.block_stride + int64_t(position % args.block_size) * args.head_dim;
  const int pieces = args.head_dim / kWidth;
  for (int p = int(threadIdx.x); p < args.kv_heads * pieces; p += kThreads) {
    const int64_t source = int64_t(p) * kWidth;
    const int64_t target = int64_t(p / pieces) * args.head_stride + p % pieces * kWidth;
    float values[kWidth];
    load(args.k + token * args.k_stride + source, values);
    store(to + target, values);
    load(args.v + token * args.v_stride + source, values);
    store(to + target + args.value_offset, values);
  }
}

// Every thread moves the same piece of each pair's block, pair after pair, so that pairs take effect in order.
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* kv, const int32_t* pairs, int64_t num_pairs, int64_t block_units,
                                   int64_t block_stride) {
  const int64_t piece = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (piece >= block_units) return;
  for (int64_t i = 0; i < num_pairs; ++i) {
    const int64_t source = pairs[2 * i], destination = pairs[2 * i + 1];
    kv[destination * block_stride + piece] = kv[source * block_stride + piece];
  }
}

template <typename Unit>
void launch_copy(TensorView kv, TensorView pairs, int64_t block_elements, const Stream& stream) {
  constexpr int64_t kElements = sizeof(Unit) / sizeof(bf16);
  const int64_t units = block_elements / kElements;
  copy_blocks_kernel<<<grid_size(ceil_div(units, kThreads)), kThreads, 0, stream.get()>>>(
      static_cast<Unit*>(kv.data()), i32_data(pairs), pairs.dim(0), units, kv.stride(0) / kElements);
  check_launch();
}

}  // namespace

void kv_append(TensorView kv, TensorView k, TensorView v, const AttentionBatch& batch, const Stream& stream) {
  if (batch.num_tokens == 0 || k.empty()) return;
  const int64_t kv_heads = kv.dim(2), head_dim = kv.dim(4);
  CHECK(kv.contiguous()) << "kv_append" << kv.shape_text();
  CHECK((k.stride(1) == head_dim && v.stride(1) == head_dim) || kv_heads == 1) << "kv_append: heads must be adjacent";
  const AppendArgs args{bf16_data(kv),
                        bf16_data(k),
                        bf16_data(v),
                        i32_data(batch.positions),
                        i32_data(batch.token_slots),
                        i32_data(batch.block_table),
                        kv.stride(0),
                        kv.stride(1),
                        kv.stride(2),
                        k.stride(0),
                        v.stride(0),
                        batch.block_table.stride(0),
                        int(kv_heads),
                        int(head_dim),
                        int(kv.dim(3))};
  const bool wide = rows_are_wide(k, head_dim) && rows_are_wide(v, head_dim) && is_aligned(kv.data(), 16);
  with_vector_width(wide, [&](auto width) {
    launch_dependent(kv_append_kernel<width()>, grid_size(batch.num_tokens), kThreads, 0, stream, args);
  });
}

void copy_blocks(TensorView kv, TensorView pairs, const Stream& stream) {
  if (pairs.empty() || kv.empty()) return;
  CHECK(kv.contiguous() && kv.dtype() == DType::bf16) << "copy_blocks" << kv.shape_text();
  const int64_t block_elements = kv.stride(0);
  if (block_elements % 8 == 0 && is_aligned(kv.data(), 16))
    launch_copy<uint4>(kv, pairs, block_elements, stream);
  else
    launch_copy<uint16_t>(kv, pairs, block_elements, stream);
}

}  // namespace trireme::cuda
