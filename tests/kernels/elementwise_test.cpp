#include "kernels/elementwise.h"

#include "tests/support/backend.h"
#include "tests/support/tensors.h"

namespace trireme::test {
namespace {

using Shape = std::pair<int64_t, int64_t>;
constexpr Shape kShapes[] = {{1, 1}, {3, 7}, {2, 16}, {5, 1536}, {4, 33}, {90, 576}};

class ElementwiseTest : public BackendTest {
 public:
  Tensor up(const Values& values, std::initializer_list<int64_t> dims) {
    return to_device(values, dims, activation(), stream());
  }
};

TEST_P(ElementwiseTest, SiluMulMatchesReference) {
  for (auto [rows, cols] : kShapes) {
    const Values x = rounded(random_values(rows * 2 * cols, 1, 12), activation());
    Tensor owner;
    const TensorView out = strided(owner, rows, cols, 8, activation(), stream());
    silu_mul(out, up(x, {rows, 2 * cols}), stream());
    std::vector<double> expected;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const double gate = x[size_t(r * 2 * cols + c)], up_value = x[size_t(r * 2 * cols + cols + c)];
        expected.push_back(gate / (1 + std::exp(-gate)) * up_value);
      }
    }
    expect_close(to_host(out, stream()), expected, tolerance());
  }
}

TEST_P(ElementwiseTest, SiluMulKeepsItsLimits) {
  const Values x = rounded({-200, -90, -60, 90, 200, 0, 1, 1, 1, 1, 1, 1}, activation());
  Tensor out(activation(), {1, 6}, device());
  silu_mul(out, up(x, {1, 12}), stream());
  expect_close(to_host(out, stream()), Values{0, 0, 0, x[3], x[4], 0}, tolerance());
}

double gelu_tanh_of(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

TEST_P(ElementwiseTest, GeluMulMatchesReference) {
  for (auto [rows, cols] : kShapes) {
    const Values x = rounded(random_values(rows * 2 * cols, 1, 8), activation());
    Tensor owner;
    const TensorView out = strided(owner, rows, cols, 8, activation(), stream());
    gelu_mul(out, up(x, {rows, 2 * cols}), stream());
    std::vector<double> expected;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        expected.push_back(gelu_tanh_of(x[size_t(r * 2 * cols + c)]) * double(x[size_t(r * 2 * cols + cols + c)]));
    expect_close(to_host(out, stream()), expected, tolerance());
  }
}

TEST_P(ElementwiseTest, ScaleMultipliesStridedRows) {
  for (auto [rows, cols] : kShapes) {
    const Values x = rounded(random_values(rows * cols, 1, 8), activation());
    Tensor owner;
    const TensorView view = strided(owner, rows, cols, 8, activation(), stream(), 3);
    upload_rows(view, x, stream());
    scale(view, 5.5f, stream());
    std::vector<double> expected;
    for (const double value : x) expected.push_back(value * 5.5);
    expect_close(to_host(view, stream()), expected, tolerance());
    if (rows > 1) {
      EXPECT_EQ(to_host(owner, stream())[size_t(cols)], 3);  // what lies between rows stays
    }
  }
}

TEST_P(ElementwiseTest, SoftCapBendsLogits) {
  for (auto [rows, cols] : kShapes) {
    Values x = random_values(rows * cols, 1, 90);
    x[0] = 1e30f;
    Tensor owner;
    const TensorView view = strided(owner, rows, cols, 3, DType::f32, stream());
    upload_rows(view, x, stream());
    soft_cap(view, 30, stream());
    std::vector<double> expected;
    for (const double value : x) expected.push_back(30 * std::tanh(value / 30));
    expect_close(to_host(view, stream()), expected, 1e-6);
  }
}

TEST_P(ElementwiseTest, GeluTanhMatchesReferenceInPlaceToo) {
  for (auto [rows, cols] : kShapes) {
    const Values x = rounded(random_values(rows * cols, 1, 8), activation());
    std::vector<double> expected;
    for (double value : x) expected.push_back(gelu_tanh_of(value));
    const Tensor in_place = up(x, {rows, cols});
    gelu_tanh(in_place, in_place, stream());
    expect_close(to_host(in_place, stream()), expected, tolerance());
  }
}

TEST_P(ElementwiseTest, AddPartialMatchesReferenceWithAndWithoutBias) {
  for (auto [rows, cols] : kShapes) {
    for (bool with_bias : {false, true}) {
      const Values hidden = rounded(random_values(rows * cols, 1), activation()),
                   sum = rounded(random_values(rows * cols, 2), partial());
      const Values bias = with_bias ? rounded(random_values(cols, 3), activation()) : Values();
      Tensor owner;
      const TensorView view = strided(owner, rows, cols, 8, activation(), stream());
      upload_rows(view, hidden, stream());
      const Tensor bias_device = up(bias, {int64_t(bias.size())});
      add_partial(view, to_device(sum, {rows, cols}, partial(), stream()), bias_device, stream());
      std::vector<double> expected;
      for (size_t i = 0; i < hidden.size(); ++i)
        expected.push_back(double(hidden[i]) + double(sum[i]) + (with_bias ? double(bias[i % size_t(cols)]) : 0));
      expect_close(to_host(view, stream()), expected, device().is_cpu() ? 1e-7 : tolerance());
    }
  }
}

TEST_P(ElementwiseTest, AddPositionEmbeddingAddsTheRowOfEachPosition) {
  const std::vector<int32_t> positions = {4, 0, 0, 8, 3};
  for (int64_t cols : {1, 17, 768}) {
    const Values hidden = rounded(random_values(5 * cols, 1), activation()),
                 table = rounded(random_values(9 * cols, 2), activation());
    const Tensor view = up(hidden, {5, cols});
    add_position_embedding(view, to_device(positions, stream()), up(table, {9, cols}), stream());
    std::vector<double> expected;
    for (size_t t = 0; t < 5; ++t)
      for (size_t c = 0; c < size_t(cols); ++c)
        expected.push_back(double(hidden[t * size_t(cols) + c]) + double(table[size_t(positions[t] * cols) + c]));
    expect_close(to_host(view, stream()), expected, tolerance());
  }
}

TEST_P(ElementwiseTest, GatherRowsCopiesStridedRowsOfAnyType) {
  const std::vector<int32_t> indices = {3, 0, 3, 1};
  for (DType dtype : {DType::f32, DType::f64, activation(), partial()}) {
    for (int64_t cols : {1, 5, 64, 333}) {
      const Values x = rounded(random_values(4 * cols, 1), dtype);
      Tensor owner;
      const TensorView view = strided(owner, 4, cols, 3, dtype, stream());
      upload_rows(view, x, stream());
      Tensor out(dtype, {4, cols}, device());
      gather_rows(out, view, to_device(indices, stream()), stream());
      Values expected;
      for (int32_t index : indices)
        expected.insert(expected.end(), x.begin() + index * cols, x.begin() + (index + 1) * cols);
      expect_close(to_host(out, stream()), expected, 0);
    }
  }
}

TEST_P(ElementwiseTest, EmptyInputsAreFine) {
  const Tensor none(activation(), {0, 4}, device()), wide(activation(), {0, 8}, device()),
      sum(partial(), {0, 4}, device());
  const Tensor no_ints(DType::i32, {0}, device()), table(activation(), {3, 4}, device());
  silu_mul(none, wide, stream());
  gelu_mul(none, wide, stream());
  scale(none, 2, stream());
  soft_cap(Tensor(DType::f32, {0, 4}, device()), 2, stream());
  gelu_tanh(none, none, stream());
  add_partial(none, sum, TensorView(), stream());
  add_position_embedding(none, no_ints, table, stream());
  gather_rows(none, table, no_ints, stream());
  const Tensor no_columns(activation(), {3, 0}, device());
  silu_mul(no_columns, no_columns, stream());
}

TEST_P(ElementwiseTest, WrongShapesThrow) {
  const Tensor a(activation(), {2, 4}, device()), b(activation(), {2, 6}, device()), sum(partial(), {2, 5}, device());
  const Tensor ints(DType::i32, {2}, device()), floats(DType::f32, {2}, device());
  EXPECT_THROW(silu_mul(a, b, stream()), InternalError);
  EXPECT_THROW(gelu_mul(a, b, stream()), InternalError);
  EXPECT_THROW(scale(sum.view().reshape({10}), 2, stream()), InternalError);
  EXPECT_THROW(soft_cap(floats, 2, stream()), InternalError);
  EXPECT_THROW(soft_cap(floats.view().reshape({1, 2}), 0, stream()), InternalError);
  EXPECT_THROW(gelu_tanh(a, b, stream()), InternalError);
  EXPECT_THROW(add_partial(a, sum, TensorView(), stream()), InternalError);
  EXPECT_THROW(add_position_embedding(a, ints, b, stream()), InternalError);
  EXPECT_THROW(gather_rows(a, a, floats, stream()), InternalError);
  EXPECT_THROW(gather_rows(b, a, ints, stream()), InternalError);
}

INSTANTIATE_BACKENDS(ElementwiseTest);

}  // namespace
}  // namespace trireme::test
