#pragma once
// Element types. Those from q8_0 on are GGUF's block formats: 32 or 256 consecutive elements of a row share their
// scales, so their sizes are counted per block (layouts: runtime/quant/).

#include <cstdint>
#include <string_view>

namespace trireme {

enum class DType : uint8_t {
  f32, f16, bf16, f64, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u64, u32, u16, u8, boolean,
  q8_0, q4_1, q4_0, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k
};

std::string_view dtype_name(DType dtype);            // "bf16"
int64_t dtype_block_elements(DType dtype);           // 1; 32 or 256 for block formats
int64_t dtype_block_bytes(DType dtype);              // bytes of one block (of one element for plain types)
int64_t dtype_bytes(DType dtype, int64_t elements);  // elements must be a multiple of the block

inline bool is_block_dtype(DType dtype) { return dtype >= DType::q8_0; }
inline bool is_float_dtype(DType dtype) { return dtype <= DType::f8_e5m2; }

}  // namespace trireme
