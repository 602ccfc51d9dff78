#include "kernels/rope_append.h"

#include "kernels/attention_check.h"
#include "kernels/backend.h"

namespace trireme {

namespace cpu {
void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream);
}  // namespace cpu
namespace cuda {
void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream);
}  // namespace cuda

void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream) {
  const char* op = "rope_append";
  check_cache(op, kv);
  const Device device = kv.device();
  const int64_t head_dim = kv.dim(4);
  check_batch(op, batch, device);
  CHECK_EQ(qkv.rank(), 2) << op << "qkv" << qkv.shape_text();
  check_rows(op, "qkv", qkv, kv.dtype(), device, {batch.num_tokens, qkv.dim(1)});
  CHECK(head_dim > 0 && qkv.dim(1) % head_dim == 0 && qkv.dim(1) / head_dim > 2 * kv.dim(2))
      << op << "qkv" << qkv.shape_text() << "with" << kv.dim(2) << "KV heads of" << head_dim;
  CHECK_EQ(options.q_norm.empty(), options.k_norm.empty()) << op << "norms";
  if (!options.q_norm.empty()) {
    check_contiguous(op, "q_norm", options.q_norm, DType::f32, device, {head_dim});
    check_contiguous(op, "k_norm", options.k_norm, DType::f32, device, {head_dim});
  }
  if (!options.inv_freq.empty()) {
    check_contiguous(op, "inv_freq", options.inv_freq, DType::f32, device, {options.inv_freq.elements()});
    CHECK_LE(2 * options.inv_freq.dim(0), head_dim) << op << "rotary dimensions against head_dim";
  }
  if (qkv.empty()) return;
  BACKEND(device, rope_append(qkv, kv, options, batch, stream));
}

}  // namespace trireme
