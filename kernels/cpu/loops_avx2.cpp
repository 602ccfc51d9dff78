// The vector loops for AVX2, FMA and F16C. Everything below the pragma is compiled for that target and called only
// where the processor has it; standard headers come first, so that none of their inline functions is.

#if defined(__x86_64__)

#include <immintrin.h>

#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "kernels/cpu/linear_layout.h"
#include "kernels/cpu/loops.h"

#pragma GCC target("avx2,fma,f16c")

#define TRIREME_ISA avx2
// Each builds on the ones before it.
// clang-format off
#include "kernels/cpu/vector_avx2.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/linear_loops.h"
#include "kernels/cpu/attention_loops.h"
#include "kernels/cpu/loops_table.h"
// clang-format on

namespace trireme::cpu {

const Loops& avx2_loops() { return avx2::kLoops; }

}  // namespace trireme::cpu

#endif
