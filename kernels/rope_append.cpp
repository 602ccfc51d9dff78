#include "kernels/rope_append.h"

#include "kernels/attention_check.h"
#include "kernels/backend.h"
#include "kernels/qkv_heads.h"

namespace trireme {

namespace cpu {
void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream);
void rope_append_attention(TensorView out, TensorView qkv, TensorView kv, const RopeAppendOptions& append,
                           const AttentionOptions& options, const AttentionBatch& batch, const Stream& stream);
}  // namespace cpu
namespace cuda {
void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream);
void rope_append_attention(TensorView out, TensorView qkv, TensorView kv, const RopeAppendOptions& append,
                           const AttentionOptions& options, const AttentionBatch& batch, const Stream& stream);
}  // namespace cuda

namespace {

void check_rope_append(const char* op, TensorView qkv, TensorView kv, const RopeAppendOptions& options,
                       const AttentionBatch& batch) {
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
}

}  // namespace

void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream) {
  check_rope_append("rope_append", qkv, kv, options, batch);
  if (qkv.empty()) return;
  BACKEND(kv.device(), rope_append(qkv, kv, options, batch, stream));
}

void rope_append_attention(TensorView out, TensorView qkv, TensorView kv, const RopeAppendOptions& append,
                           const AttentionOptions& options, const AttentionBatch& batch, const Stream& stream) {
  const char* op = "rope_append_attention";
  check_rope_append(op, qkv, kv, append, batch);
  check_attention(op, out, QkvHeads(qkv, kv.dim(2), kv.dim(4)).q, kv, batch);
  if (qkv.empty()) return;
  BACKEND(kv.device(), rope_append_attention(out, qkv, kv, append, options, batch, stream));
}

}  // namespace trireme
