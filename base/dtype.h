#pragma once
// Element types. q8_0 and q4_1 are GGUF block formats: 32 consecutive elements of a row share one header
// (q8_0: f16 scale, 32 int8 = 34 bytes; q4_1: f16 scale, f16 minimum, 32 nibbles = 20 bytes, low nibbles are
// elements 0-15), so their sizes are counted per block.

#include <cstdint>
#include <string_view>

namespace trireme {

enum class DType : uint8_t { f32, f16, bf16, f64, f8_e4m3, i64, i32, i16, i8, u64, u32, u16, u8, boolean, q8_0, q4_1 };

std::string_view dtype_name(DType dtype);       // "bf16"
int64_t dtype_block_elements(DType dtype);      // 1, or 32 for block formats
int64_t dtype_block_bytes(DType dtype);         // bytes of one block (of one element for plain types)
int64_t dtype_bytes(DType dtype, int64_t elements);  // elements must be a multiple of the block

inline bool is_block_dtype(DType dtype) { return dtype == DType::q8_0 || dtype == DType::q4_1; }

}  // namespace trireme
