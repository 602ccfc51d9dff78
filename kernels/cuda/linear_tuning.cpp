#include "kernels/linear_tuning.h"

#include "kernels/cuda/linear/shape_tuner.h"

namespace trireme::cuda {

int64_t tune_linear(std::span<const LinearWeight* const> weights, DType out, const LinearRole& role,
                    std::span<const int64_t> token_counts, const Stream& stream) {
  const LinearWeight& first = *weights.front();
  std::vector<int64_t> missing;
  for (int64_t tokens : token_counts) {
    const LinearChoice* known = find_linear_choice(first.out_features, first.in_features, out == DType::f32, tokens);
    if (!known || known->tokens != tokens) missing.push_back(tokens);
  }
  if (missing.empty()) return 0;
  adopt_linear_choices(measure_shape(weights, out, role, missing, stream));
  return int64_t(missing.size());
}

}  // namespace trireme::cuda
