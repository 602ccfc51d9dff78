#pragma once
// Which algorithm computes a linear layer on this process's GPU, as measured (kernels/linear_tuning.h), and the text
// form that is kept in a file and sent to other ranks. Knows no CUDA.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// library: cuBLASLt with `algorithm`. Of kernels/cuda/linear: skinny: skinny_mma.h; hopper: hopper_linear.h; wide:
// wide_linear.h.
enum class LinearKernel : uint8_t { library, skinny, hopper, wide };

// For layers of that shape and `tokens` tokens, or fewer than that down to the next smaller entry.
struct LinearChoice {
  int64_t out_features = 0, in_features = 0, tokens = 0;
  bool float_out = false;
  LinearKernel kernel = LinearKernel::library;
  int tile = -1, grid = 0;  // the kernel's table row and way of sharing the work: SkinnyChoice, HopperChoice,
                           // WideChoice
  bool has_algorithm = false;  // for the calls too that `kernel` cannot take
  std::array<uint64_t, 8> algorithm{};  // cublasLtMatmulAlgo_t's bits
  bool operator==(const LinearChoice&) const = default;
};

// Adds entries to the process's table, or replaces them. Any thread; meant for the start: every call keeps its memory.
void adopt_linear_choices(std::span<const LinearChoice> choices);
// The entry with the fewest tokens >= `tokens`, or null. Never waits or allocates. The entry stays valid.
const LinearChoice* find_linear_choice(int64_t out_features, int64_t in_features, bool float_out, int64_t tokens);
// All of the table, sorted.
std::vector<LinearChoice> linear_choices();

// A line per entry below a first line that names `machine` (GPU and library version).
std::string format_linear_choices(std::span<const LinearChoice> choices, std::string_view machine);
// Empty unless the whole text is such a text of the same machine.
std::vector<LinearChoice> parse_linear_choices(std::string_view text, std::string_view machine);

}  // namespace trireme
