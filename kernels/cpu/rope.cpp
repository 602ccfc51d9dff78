#include <algorithm>

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::cpu {
namespace {

constexpr int64_t kMaxFrequencies = 64;  // computed at a time

// Every head of one token; the angles are shared by the heads.
void rotate_token(float* heads, int64_t num_heads, int64_t head_dim, float position, const float* inv_freq, float scale,
                  int64_t half) {
  float cosines[kMaxFrequencies], sines[kMaxFrequencies];
  for (int64_t first = 0; first < half; first += kMaxFrequencies) {
    const int64_t count = std::min(half - first, kMaxFrequencies);
    loops().rotary_angles(cosines, sines, position, inv_freq + first, scale, count);
    for (int64_t h = 0; h < num_heads; ++h) loops().rotate(heads + h * head_dim + first, cosines, sines, count, half);
  }
}

}  // namespace

void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream&) {
  const int64_t tokens = x.dim(0), heads = x.dim(1), head_dim = x.dim(2), half = inv_freq.dim(0);
  parallel_ranges(tokens, worthwhile_chunks(tokens, heads * head_dim * 2), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      rotate_token(x.as<float>() + t * x.stride(0), heads, head_dim, float(positions.as<int32_t>()[t]),
                   inv_freq.as<float>(), scale, half);
  });
}

}  // namespace trireme::cpu
