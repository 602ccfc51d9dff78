#pragma once
// Which of the three builds of the vector loops runs. All three give the same bits; they differ in speed only.

#include <cstdint>

namespace trireme::cpu {

enum class InstructionSet : uint8_t { portable, avx2, avx512 };

bool runs_here(InstructionSet set);
InstructionSet best_instruction_set();  // of this machine
InstructionSet instruction_set();       // in use now: the best, unless forced
const char* instruction_set_name(InstructionSet set);

// A hook for tests and benchmarks; `set` must run here. Not while a kernel runs.
void force_instruction_set(InstructionSet set);

}  // namespace trireme::cpu
