#pragma once
// Sums over ranks whose bits depend on the ranks' values only: element by element, in rank order.

#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace trireme {

// out[i] = terms[0][i] + terms[1][i] + ...; `out` may be one of the terms. f64, f32, i32, i64 in their own type
// (integers wrap), bf16 in float32 rounded once.
void sum_in_rank_order(DType dtype, void* out, std::span<const void* const> terms, int64_t elements);

}  // namespace trireme
