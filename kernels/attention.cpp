#include "kernels/attention.h"

#include "kernels/attention_check.h"
#include "kernels/backend.h"

namespace trireme {

namespace cpu {
int32_t attention_processors(Device device);
bool attention_has_warpgroup_tiles(Device device, int64_t head_dim, int64_t block_size);
void kv_append(TensorView kv, TensorView k, TensorView v, const AttentionBatch& batch, const Stream& stream);
void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream& stream);
void copy_blocks(TensorView kv, TensorView pairs, const Stream& stream);
}  // namespace cpu
namespace cuda {
int32_t attention_processors(Device device);
bool attention_has_warpgroup_tiles(Device device, int64_t head_dim, int64_t block_size);
void kv_append(TensorView kv, TensorView k, TensorView v, const AttentionBatch& batch, const Stream& stream);
void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream& stream);
void copy_blocks(TensorView kv, TensorView pairs, const Stream& stream);
}  // namespace cuda

int32_t attention_processors(Device device) { BACKEND_RETURN(device, attention_processors(device)); }

bool attention_has_warpgroup_tiles(Device device, int64_t head_dim, int64_t block_size) {
  BACKEND_RETURN(device, attention_has_warpgroup_tiles(device, head_dim, block_size));
}

void kv_append(TensorView kv, TensorView k, TensorView v, const AttentionBatch& batch, const Stream& stream) {
  check_cache("kv_append", kv);
  const Device device = kv.device();
  check_batch("kv_append", batch, device);
  check_rows("kv_append", "k", k, kv.dtype(), device, {batch.num_tokens, kv.dim(2), kv.dim(4)});
  check_rows("kv_append", "v", v, kv.dtype(), device, {batch.num_tokens, kv.dim(2), kv.dim(4)});
  if (k.empty()) return;
  BACKEND(device, kv_append(kv, k, v, batch, stream));
}

void paged_attention(TensorView out, TensorView q, TensorView kv, const AttentionBatch& batch,
                     const AttentionOptions& options, const Stream& stream) {
  check_cache("paged_attention", kv);
  const Device device = kv.device();
  check_batch("paged_attention", batch, device);
  check_attention("paged_attention", out, q, kv, batch);
  if (q.empty()) return;
  BACKEND(device, paged_attention(out, q, kv, batch, options, stream));
}

void copy_blocks(TensorView kv, TensorView pairs, const Stream& stream) {
  check_cache("copy_blocks", kv);
  CHECK_EQ(pairs.rank(), 2) << "copy_blocks: pairs" << pairs.shape_text();
  check_contiguous("copy_blocks", "pairs", pairs, DType::i32, kv.device(), {pairs.dim(0), 2});
  if (pairs.empty() || kv.empty()) return;
  BACKEND(kv.device(), copy_blocks(kv, pairs, stream));
}

}  // namespace trireme
