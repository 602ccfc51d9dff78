#include "kernels/rope.h"

#include "tests/support/backend.h"
#include "tests/support/tensors.h"

namespace trireme::test {
namespace {

Values frequencies(int64_t half, double base = 10000) {
  Values inv_freq;
  for (int64_t i = 0; i < half; ++i) inv_freq.push_back(float(std::pow(base, -double(i) / double(half))));
  return inv_freq;
}

struct Case {
  int64_t heads, head_dim, half;
  bool interleaved = false;
};

class RopeTest : public BackendTest {
 public:
  void check(Case shape, const std::vector<int32_t>& positions, float scale) {
    const int64_t tokens = int64_t(positions.size()), row = shape.heads * shape.head_dim;
    SCOPED_TRACE(testing::Message() << shape.heads << " heads of " << shape.head_dim << ", rotary " << 2 * shape.half
                                    << (shape.interleaved ? " interleaved" : ""));
    const Values x = rounded(random_values(tokens * row, 1), activation()), inv_freq = frequencies(shape.half);
    Tensor owner;
    const TensorView view = strided(owner, tokens, row, 16, activation(), stream());
    upload_rows(view, x, stream());
    const auto op = shape.interleaved ? rope_interleaved : rope;
    op(view.reshape({tokens, shape.heads, shape.head_dim}), to_device(positions, stream()),
       to_device(inv_freq, {shape.half}, DType::f32, stream()), scale, stream());
    std::vector<double> expected(x.begin(), x.end());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < shape.heads; ++h) {
        double* head = expected.data() + t * row + h * shape.head_dim;
        for (int64_t i = 0; i < shape.half; ++i) {
          const double angle = double(float(positions[size_t(t)]) * inv_freq[size_t(i)]);  // the float32 product
          double& low = head[shape.interleaved ? 2 * i : i];
          double& high = head[shape.interleaved ? 2 * i + 1 : i + shape.half];
          const double first = low, second = high, c = std::cos(angle) * double(scale),
                       s = std::sin(angle) * double(scale);
          low = first * c - second * s;
          high = second * c + first * s;
        }
      }
    }
    expect_close(to_host(view, stream()), expected, device().is_cpu() ? 3e-7 : tolerance());
  }
};

TEST_P(RopeTest, MatchesReferenceNearAndFar) {
  check({9, 64, 32}, {0, 1, 2, 511, 700, 8191, 131071, 1000003}, 1);
  check({1, 2, 1}, {5}, 1);
  check({3, 80, 40}, {17, 3}, 1.2f);
  check({2, 24, 12}, std::vector<int32_t>(300, 77), 1);
}

TEST_P(RopeTest, DimensionsPastTheRotaryOnesStay) { check({2, 20, 5}, {9, 1}, 1); }

TEST_P(RopeTest, InterleavedRotatesNeighbours) {
  check({9, 64, 32, true}, {0, 1, 511, 8191, 131071}, 1);
  check({3, 128, 32, true}, {17, 3}, 1.2f);  // partial
  check({2, 20, 5, true}, {9, 1}, 1);
  check({2, 160, 80, true}, std::vector<int32_t>(70, 77), 1);
}

TEST_P(RopeTest, EmptyInputsAreFine) {
  const Tensor x(activation(), {0, 2, 8}, device()), one(activation(), {1, 2, 8}, device()),
      positions(DType::i32, {0}, device());
  const Tensor inv_freq(DType::f32, {4}, device()), no_freq(DType::f32, {0}, device());
  rope(x, positions, inv_freq, 1, stream());
  rope(one, to_device({3}, stream()), no_freq, 1, stream());
  rope_interleaved(x, positions, inv_freq, 1, stream());
  rope_interleaved(one, to_device({3}, stream()), no_freq, 1, stream());
}

TEST_P(RopeTest, WrongShapesThrow) {
  const Tensor x(activation(), {2, 2, 8}, device()), inv_freq(DType::f32, {4}, device()),
      long_freq(DType::f32, {5}, device());
  EXPECT_THROW(rope(x, to_device({1}, stream()), inv_freq, 1, stream()), InternalError);
  EXPECT_THROW(rope(x, to_device({1, 2}, stream()), long_freq, 1, stream()), InternalError);
  EXPECT_THROW(rope(x.view().reshape({2, 16}), to_device({1, 2}, stream()), inv_freq, 1, stream()), InternalError);
  EXPECT_THROW(rope_interleaved(x, to_device({1, 2}, stream()), long_freq, 1, stream()), InternalError);
}

INSTANTIATE_BACKENDS(RopeTest);

}  // namespace
}  // namespace trireme::test
