#include "kernels/cuda/linear/maps.h"

#include <array>

namespace trireme::cuda {
namespace {

constexpr uint32_t kBoxColumns = 64;  // a panel of common/wgmma.cuh

}  // namespace

CUtensorMap linear_weight_map(const SkinnyLinear& p, int rows) {
  const auto k = uint64_t(p.in_features), n = uint64_t(p.features), row_bytes = 2 * k;
  // 256 bytes would bring what is not wanted yet, and may be gone by then.
  constexpr auto kFetch = CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
  if (p.epilogue == SkinnyEpilogue::gated)
    return make_tensor_map(p.weight, std::array{k, uint64_t(8), uint64_t(2), n / 8},
                           std::array{row_bytes, n * row_bytes, 8 * row_bytes},
                           std::array{kBoxColumns, 8u, 2u, uint32_t(rows) / 16}, kFetch);
  return make_tensor_map(p.weight, std::array{k, n}, std::array{row_bytes}, std::array{kBoxColumns, uint32_t(rows)},
                         kFetch);
}

CUtensorMap linear_input_map(const SkinnyLinear& p, int tokens) {
  const auto k = uint64_t(p.in_features), stride = p.tokens > 1 ? 2 * uint64_t(p.x_stride) : 2 * k;
  return make_tensor_map(p.x, std::array{k, uint64_t(p.tokens)}, std::array{stride},
                         std::array{kBoxColumns, uint32_t(tokens)});
}

}  // namespace trireme::cuda
