// The vector loops in plain C++, for processors without AVX2.

#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "base/half.h"
#include "kernels/cpu/linear_layout.h"
#include "kernels/cpu/loops.h"

#define TRIREME_ISA portable
// Each builds on the ones before it.
// clang-format off
#include "kernels/cpu/vector_portable.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/row_loops.h"
#include "kernels/cpu/linear_loops.h"
#include "kernels/cpu/attention_loops.h"
#include "kernels/cpu/loops_table.h"
// clang-format on

namespace trireme::cpu {

const Loops& portable_loops() { return portable::kLoops; }

}  // namespace trireme::cpu
