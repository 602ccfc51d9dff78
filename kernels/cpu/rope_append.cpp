#include "kernels/append_stepwise.h"

namespace trireme::cpu {

void rope_append(TensorView qkv, TensorView kv, const RopeAppendOptions& options, const AttentionBatch& batch,
                 const Stream& stream) {
  append_stepwise(qkv, kv, options, batch, stream);
}

}  // namespace trireme::cpu
