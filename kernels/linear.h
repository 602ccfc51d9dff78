#pragma once
// Linear layers: out[t, n] = sum_k x[t, k] * weight[n, k] (+ bias[n]).
//
// A LinearWeight holds this rank's [out_features, in_features] slice in the layout its back end wants:
//   cpu   panels of 16 rows, K-major inside a panel, in the storage dtype (f32, bf16, f16, q8_0, q4_1; block
//         formats are dequantized in registers, bit-exactly as at load);
//   cuda  row-major bf16.
// CPU order, for every batch size and instruction set: within a granule of K (fixed on the layer's global K
// axis) s = fma(x[k], w[k], s) for ascending k in float32; granule sums are added in float64 in ascending
// order; the result is rounded once, or kept as float64 where `out` is a partial sum.

#include <cstdint>

#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

struct LinearWeight {
  int64_t out_features = 0;   // of this shard
  int64_t in_features = 0;    // of this shard; starts on a granule border of the global K axis
  int granule = 64;           // 64, or head_dim for the attention output
  DType storage = DType::f32; // what each element is kept as
  Tensor data;
  Device device() const { return data.view().device(); }
};

// What `source` (the checkpoint's dtype) is kept as: cpu keeps f32 bf16 f16 q8_0 q4_1 and widens the rest to
// f32; q8_0 and q4_1 need in_features % 32 == 0, else they are f32, too. cuda: always bf16.
DType linear_storage(Device device, DType source, int64_t in_features);

// Undefined contents. `source` is the checkpoint's dtype.
LinearWeight make_linear_weight(Device device, DType source, int64_t out_features, int64_t in_features, int granule = 64);

// Writes rows [row_begin, row_begin + count) from host memory, row-major [count, in_features] in `source`
// dtype, which is the weight's storage or any plain float dtype (converted). row_begin and count are free on
// cuda; on the cpu too (panels are written partially). `rows` may be freed when this returns.
void load_linear_rows(LinearWeight& weight, int64_t row_begin, int64_t count, const void* rows, DType source, const Stream& stream);

// cuda only: the same without waiting and from any thread. `rows` is pinned memory, `scratch` as many bytes of device
// memory (may be null for bf16); both must stay until the stream has passed.   out: bf16, contiguous, the whole rows.
void load_pinned_rows_async(TensorView out, const void* rows, DType source, void* scratch, const Stream& stream);

// Seeded random values, uniform in [-scale, scale], made on the device: element (n, k) depends only on
// (seed, n + row_offset, k + column_offset), so every tp makes the same matrix.
void fill_linear_random(LinearWeight& weight, uint64_t seed, float scale, int64_t row_offset, int64_t column_offset, const Stream& stream);

// x: [T, in] activation dtype, rows may be strided.  bias: [out] activation dtype, or an empty view.
// out: [T, out], rows may be strided: activation dtype, partial dtype (then no bias) or f32 (logits).
// T may be 0. in_features may be 0 (an empty shard): out is zero (plus bias).
void linear(TensorView out, TensorView x, const LinearWeight& weight, TensorView bias, const Stream& stream);

// out[t, :] = table row (ids[t] - vocab_begin) where that lies in [0, table.out_features), else zeros.
// ids: [T] i32 on the device.  out: [T, in_features] activation dtype.  The table may also be an output
// layer's weight (tied embeddings).
void embed(TensorView out, TensorView ids, const LinearWeight& table, int64_t vocab_begin, const Stream& stream);

}  // namespace trireme
