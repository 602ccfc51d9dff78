#include "runtime/kv_pool.h"

#include "base/backend_traits.h"
#include "kernels/attention.h"

namespace trireme {

int64_t kv_block_bytes(const KvGroupSpec& spec, Device device) {
  return spec.num_layers * 2 * spec.kv_heads * spec.block_size * spec.head_dim *
         dtype_bytes(activation_dtype(device), 1);
}

KvPool::KvPool(std::vector<KvGroupSpec> specs, std::vector<int32_t> num_blocks, Device device)
    : specs_(std::move(specs)), num_blocks_(std::move(num_blocks)) {
  CHECK_EQ(specs_.size(), num_blocks_.size());
  const Stream stream(device);
  for (size_t group = 0; group < specs_.size(); ++group) {
    const KvGroupSpec& spec = specs_[group];
    auto& layers = layers_.emplace_back();
    for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
      layers.emplace_back(
          activation_dtype(device),
          std::initializer_list<int64_t>{num_blocks_[group], 2, spec.kv_heads, spec.block_size, spec.head_dim}, device);
      // Stale bytes could be NaN, and 0 * NaN would reach a masked score. On the CPU fresh pages are zero
      // already, and touching them would make an oversized pool real memory.
      if (device.is_cuda()) fill_zero_async(layers.back().data(), size_t(layers.back().view().bytes()), device, stream);
    }
  }
  stream.synchronize();
}

void KvPool::copy(int group, TensorView pairs, const Stream& stream) {
  for (const Tensor& layer : layers_[size_t(group)]) copy_blocks(layer, pairs, stream);
}

}  // namespace trireme
