#pragma once
// The number formats of a back end: the only place that knows them.

#include "base/device.h"
#include "base/dtype.h"

namespace trireme {

// Hidden states, q/k/v and the KV cache.
inline DType activation_dtype(Device device) { return device.is_cpu() ? DType::f32 : DType::bf16; }

// One rank's share of a sum over K that ranks have yet to add up (row-parallel linear layers). On the CPU
// float64: granule sums are float32, everything above them float64, rounded once after the ranks are summed
// in rank order, so that the result does not depend on tp (docs/design.md 4).
inline DType partial_dtype(Device device) { return device.is_cpu() ? DType::f64 : DType::bf16; }

inline constexpr DType kLogitsDType = DType::f32;

}  // namespace trireme
