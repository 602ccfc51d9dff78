#include "kernels/cpu/instruction_set.h"

#include <atomic>

#include "base/check.h"
#include "kernels/cpu/loops.h"

namespace trireme::cpu {
namespace {

std::atomic<InstructionSet>& current() {
  static std::atomic<InstructionSet> set{best_instruction_set()};
  return set;
}

}  // namespace

bool runs_here(InstructionSet set) {
  if (set == InstructionSet::portable) return true;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (set == InstructionSet::avx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

InstructionSet best_instruction_set() {
  if (runs_here(InstructionSet::avx512)) return InstructionSet::avx512;
  if (runs_here(InstructionSet::avx2)) return InstructionSet::avx2;
  return InstructionSet::portable;
}

InstructionSet instruction_set() { return current().load(std::memory_order_relaxed); }

const char* instruction_set_name(InstructionSet set) {
  switch (set) {
    case InstructionSet::portable:
      return "portable";
    case InstructionSet::avx2:
      return "avx2";
    case InstructionSet::avx512:
      return "avx512";
  }
  return "unknown";
}

void force_instruction_set(InstructionSet set) {
  CHECK(runs_here(set)) << instruction_set_name(set);
  current().store(set);
}

const Loops& loops() {
#if defined(__x86_64__)
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return avx512_loops();
    case InstructionSet::avx2:
      return avx2_loops();
    case InstructionSet::portable:
      break;
  }
#endif
  return portable_loops();
}

}  // namespace trireme::cpu
