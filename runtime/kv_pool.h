#pragma once
// This rank's partition of the paged KV cache: its own layers x KV heads for every global block id.
// One group per attention kind (docs/design.md 4); a dense model has one.

#include <cstdint>
#include <vector>

#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

struct KvGroupSpec {
  int64_t num_layers = 0;  // of this rank's stage
  int64_t kv_heads = 0;    // of this rank
  int64_t head_dim = 0;
  int32_t window = 0;       // 0: full
  int32_t block_size = 16;  // tokens
  int64_t query_heads = 0;  // of this rank; a multiple of kv_heads
};

// Bytes one block takes on this rank, K and V over all its layers.
int64_t kv_block_bytes(const KvGroupSpec& spec, Device device);

class KvPool {
 public:
  KvPool(std::vector<KvGroupSpec> specs, std::vector<int32_t> num_blocks, Device device);

  const KvGroupSpec& spec(int group) const { return specs_[size_t(group)]; }
  int num_groups() const { return int(specs_.size()); }
  int32_t num_blocks(int group) const { return num_blocks_[size_t(group)]; }
  // [num_blocks, 2, kv_heads, block_size, head_dim] of the group's layer-th layer on this rank.
  TensorView layer(int group, int64_t layer) const { return layers_[size_t(group)][size_t(layer)]; }
  // pairs: [n, 2] i32 on the device (source, destination), over all layers of the group.
  void copy(int group, TensorView pairs, const Stream& stream);

 private:
  std::vector<KvGroupSpec> specs_;
  std::vector<int32_t> num_blocks_;
  std::vector<std::vector<Tensor>> layers_;
};

}  // namespace trireme
