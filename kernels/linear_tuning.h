#pragma once
// Measures at the start which algorithm computes each linear layer fastest on this GPU. On the cpu nothing is measured.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/stream.h"
#include "kernels/linear.h"
#include "kernels/linear_choices.h"

namespace trireme {

// What stands around the layers of a shape in their model, and is measured with them (kernels/fused_linear.h).
struct LinearRole {
  bool normed = false;  // norm_linear, or norm_gated_linear with a norm
  bool gated = false;   // norm_gated_linear
  bool added = false;   // linear_residual
  bool operator==(const LinearRole&) const = default;
};

// Numbers of tokens worth a measurement, ascending, up to the first that covers `most`. Those between two take the
// larger one's algorithm.
std::vector<int64_t> tuned_token_counts(int64_t most);

// Times the candidates of those numbers of tokens that the table (linear_choices.h) lacks, and adds the fastest.
// weights: layers of one shape, all measured with in turn, so that none of them is found in the cache; out: activation
// dtype or f32. Allocates and synchronizes: not while a graph is captured. Returns how many it measured.
int64_t tune_linear(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role,
                    std::span<const int64_t> token_counts, const Stream& stream);

// What choices are good for: GPU and library version. Empty on the cpu.
std::string linear_tuning_machine(Device device);

// The file of choices of a machine, in TRIREME_CACHE_DIR, else XDG_CACHE_HOME/trireme, else ~/.cache/trireme. Empty
// where there is no such folder to think of.
std::string linear_tuning_file(const std::string& machine);
// What the file holds is added to the table. A file that is missing, torn or foreign is none: never fails.
void load_linear_choices(const std::string& file, const std::string& machine);
// Adds the table to what the file holds; readers see the old file or the new one. Warns where it cannot.
void save_linear_choices(const std::string& file, const std::string& machine);

}  // namespace trireme
