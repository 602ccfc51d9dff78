#pragma once
// What a cuBLASLt algorithm is made of, and what else it might be made of.

#include <cublasLt.h>

#include <algorithm>
#include <string>
#include <vector>

namespace trireme::bench {

struct Attribute {
  cublasLtMatmulAlgoConfigAttributes_t id;
  const char* name;
  size_t bytes;
};
inline constexpr Attribute kAttributes[] = {{CUBLASLT_ALGO_CONFIG_ID, "id", 4},
                                            {CUBLASLT_ALGO_CONFIG_TILE_ID, "tile", 4},
                                            {CUBLASLT_ALGO_CONFIG_STAGES_ID, "stages", 4},
                                            {CUBLASLT_ALGO_CONFIG_SPLITK_NUM, "split", 4},
                                            {CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, "reduce", 4},
                                            {CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, "swizzle", 4},
                                            {CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, "custom", 4},
                                            {CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, "inner", 2},
                                            {CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, "cluster", 2}};
enum { kId, kTile, kStages, kSplit, kReduce, kSwizzle, kCustom, kInner, kCluster };

inline uint32_t get_attribute(const cublasLtMatmulAlgo_t& algorithm, int attribute) {
  uint32_t value = 0;
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, kAttributes[attribute].id, &value, kAttributes[attribute].bytes,
                                       &written);
  return value;
}
inline bool set_attribute(cublasLtMatmulAlgo_t& algorithm, int attribute, uint32_t value) {
  return cublasLtMatmulAlgoConfigSetAttribute(&algorithm, kAttributes[attribute].id, &value,
                                              kAttributes[attribute].bytes) == CUBLAS_STATUS_SUCCESS;
}
inline std::string attributes(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (int i = 0; i < int(std::size(kAttributes)); ++i)
    text +=
        (i ? "," : "") + std::string(kAttributes[i].name).substr(0, 3) + std::to_string(get_attribute(algorithm, i));
  return text;
}

inline std::vector<uint32_t> capability(const cublasLtMatmulAlgo_t& algorithm,
                                        cublasLtMatmulAlgoCapAttributes_t attribute) {
  std::vector<uint32_t> values(1024);
  size_t written = 0;
  if (cublasLtMatmulAlgoCapGetAttribute(&algorithm, attribute, values.data(), values.size() * sizeof(uint32_t),
                                        &written) != CUBLAS_STATUS_SUCCESS)
    return {};
  values.resize(written / sizeof(uint32_t));
  return values;
}

// All values of an attribute that are worth a try beside an algorithm's own.
inline std::vector<uint32_t> values_of(const cublasLtMatmulAlgo_t& algorithm, int attribute) {
  std::vector<uint32_t> values;
  const auto up_to = [&](uint32_t last) {
    for (uint32_t value = 0; value <= last; ++value) values.push_back(value);
  };
  switch (attribute) {
    case kTile:
      return capability(algorithm, CUBLASLT_ALGO_CAP_TILE_IDS);
    case kStages:
      return capability(algorithm, CUBLASLT_ALGO_CAP_STAGES_IDS);
    case kSplit:
      return {1, 2, 3, 4, 5, 6, 8};
    case kSwizzle:
      up_to(3);
      break;
    case kInner:
      up_to(CUBLASLT_MATMUL_INNER_SHAPE_END - 1);
      break;
    case kCluster:
      up_to(CUBLASLT_CLUSTER_SHAPE_END - 1);
      break;
    case kCustom: {
      int32_t most = 0;
      size_t written = 0;
      cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_CUSTOM_OPTION_MAX, &most, sizeof most, &written);
      up_to(uint32_t(std::clamp(most, 0, 255)));
      break;
    }
    default:
      break;
  }
  return values;
}

}  // namespace trireme::bench
