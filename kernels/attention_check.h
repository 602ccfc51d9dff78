#pragma once
// What the ops on a paged cache ask of their arguments.

#include "kernels/attention.h"
#include "kernels/shape_check.h"

namespace trireme {

inline void check_cache(const char* op, const TensorView& kv) {
  CHECK_EQ(kv.rank(), 5) << op << "kv" << kv.shape_text();
  check_contiguous(op, "kv", kv, activation_dtype(kv.device()), kv.device(),
                   {kv.dim(0), 2, kv.dim(2), kv.dim(3), kv.dim(4)});
  CHECK_GT(kv.dim(3), 0) << op << "block size";
}

inline void check_batch(const char* op, const AttentionBatch& batch, Device device) {
  CHECK_GE(batch.num_tokens, 0) << op;
  CHECK_GE(batch.num_rows, 0) << op;
  check_contiguous(op, "positions", batch.positions, DType::i32, device, {batch.num_tokens});
  check_contiguous(op, "token_slots", batch.token_slots, DType::i32, device, {batch.num_tokens});
  check_contiguous(op, "row_begin", batch.row_begin, DType::i32, device, {batch.num_rows + 1});
  check_contiguous(op, "row_slots", batch.row_slots, DType::i32, device, {batch.num_rows});
  CHECK_EQ(batch.block_table.rank(), 2) << op << "block_table" << batch.block_table.shape_text();
  check_contiguous(op, "block_table", batch.block_table, DType::i32, device,
                   {batch.block_table.dim(0), batch.block_table.dim(1)});
}

inline void check_attention(const char* op, const TensorView& out, const TensorView& q, const TensorView& kv,
                            const AttentionBatch& batch) {
  CHECK_EQ(q.rank(), 3) << op << "q" << q.shape_text();
  check_rows(op, "q", q, kv.dtype(), kv.device(), {batch.num_tokens, q.dim(1), kv.dim(4)});
  check_rows(op, "out", out, kv.dtype(), kv.device(), {batch.num_tokens, q.dim(1), kv.dim(4)});
  CHECK_LE(kv.dim(4), 256) << op << "head_dim";
  CHECK(q.empty() || (kv.dim(2) > 0 && q.dim(1) % kv.dim(2) == 0)) << op << q.dim(1) << "query heads on" << kv.dim(2);
}

}  // namespace trireme
