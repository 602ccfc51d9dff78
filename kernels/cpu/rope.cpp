#include <algorithm>

#include "base/stream.h"
#include "base/tensor.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/thread_pool.h"

namespace trireme::cpu {
namespace {

constexpr int64_t kMaxFrequencies = 64;  // computed at a time

// Dimensions [first, first + count) of the low half with their partners in the high half.
void rotate_halves(float* head, int64_t first, const float* cosines, const float* sines, int64_t count, int64_t half) {
  loops().rotate(head + first, cosines, sines, count, half);
}

// Pairs [first, first + count).
void rotate_neighbours(float* head, int64_t first, const float* cosines, const float* sines, int64_t count, int64_t) {
  float* pair = head + 2 * first;
  for (int64_t i = 0; i < count; ++i, pair += 2) {
    const float low = pair[0], high = pair[1];
    pair[0] = low * cosines[i] - high * sines[i];
    pair[1] = high * cosines[i] + low * sines[i];
  }
}

// Every head of one token; the angles are shared by the heads.
template <typename Rotate>
void rotate_token(float* heads, int64_t num_heads, int64_t head_dim, float position, const float* inv_freq, float scale,
                  int64_t half, const Rotate& rotate) {
  float cosines[kMaxFrequencies], sines[kMaxFrequencies];
  for (int64_t first = 0; first < half; first += kMaxFrequencies) {
    const int64_t count = std::min(half - first, kMaxFrequencies);
    loops().rotary_angles(cosines, sines, position, inv_freq + first, scale, count);
    for (int64_t h = 0; h < num_heads; ++h) rotate(heads + h * head_dim, first, cosines, sines, count, half);
  }
}

template <typename Rotate>
void rotate_all(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Rotate& rotate) {
  const int64_t tokens = x.dim(0), heads = x.dim(1), head_dim = x.dim(2), half = inv_freq.dim(0);
  parallel_ranges(tokens, worthwhile_chunks(tokens, heads * head_dim * 2), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      rotate_token(x.as<float>() + t * x.stride(0), heads, head_dim, float(positions.as<int32_t>()[t]),
                   inv_freq.as<float>(), scale, half, rotate);
  });
}

}  // namespace

void rope(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream&) {
  rotate_all(x, positions, inv_freq, scale, rotate_halves);
}

void rope_interleaved(TensorView x, TensorView positions, TensorView inv_freq, float scale, const Stream&) {
  rotate_all(x, positions, inv_freq, scale, rotate_neighbours);
}

}  // namespace trireme::cpu
