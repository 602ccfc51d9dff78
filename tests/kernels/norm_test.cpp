#include "kernels/norm.h"

#include "tests/support/backend.h"
#include "tests/support/tensors.h"

namespace trireme::test {
namespace {

std::vector<double> reference_norm(const Values& x, const Values& weight, const Values& bias, double eps, int64_t rows,
                                   int64_t cols) {
  std::vector<double> out;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x.data() + r * cols;
    double mean = 0, squares = 0;
    if (!bias.empty()) mean = std::accumulate(row, row + cols, 0.0) / double(cols);
    for (int64_t c = 0; c < cols; ++c) squares += (double(row[c]) - mean) * (double(row[c]) - mean);
    const double scale = 1 / std::sqrt(squares / double(cols) + eps);
    for (int64_t c = 0; c < cols; ++c)
      out.push_back((double(row[c]) - mean) * scale * double(weight[size_t(c)]) +
                    (bias.empty() ? 0 : double(bias[size_t(c)])));
  }
  return out;
}

class NormTest : public BackendTest {
 public:
  // An empty bias: rms_norm.
  void apply(TensorView out, TensorView x, const Values& weight, const Values& bias, float eps) {
    const Tensor weight_device = to_device(weight, {int64_t(weight.size())}, DType::f32, stream());
    const Tensor bias_device = to_device(bias, {int64_t(bias.size())}, DType::f32, stream());
    if (bias.empty())
      rms_norm(out, x, weight_device, eps, stream());
    else
      layer_norm(out, x, weight_device, bias_device, eps, stream());
    stream().synchronize();
  }
};

TEST_P(NormTest, MatchesReferenceOnOddShapesAndStrides) {
  for (auto [rows, cols] :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {2, 16}, {5, 576}, {2, 4096}, {3, 5121}, {70, 33}}) {
    for (bool centered : {false, true}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << (centered ? " layer_norm" : " rms_norm"));
      Values x = random_values(rows * cols, 1, 3);
      for (float& value : x) value += 0.5f;
      x = rounded(x, activation());
      const Values weight = random_values(cols, 2, 2), bias = centered ? random_values(cols, 3) : Values();
      Tensor x_owner, out_owner;
      const TensorView x_view = strided(x_owner, rows, cols, 8, activation(), stream(), 1e6f);
      const TensorView out_view = strided(out_owner, rows, cols, 16, activation(), stream());
      upload_rows(x_view, x, stream());
      apply(out_view, x_view, weight, bias, 1e-5f);
      const auto expected = reference_norm(x, weight, bias, 1e-5, rows, cols);
      expect_close(to_host(out_view, stream()), expected, tolerance());
      apply(x_view, x_view, weight, bias, 1e-5f);
      expect_close(to_host(x_view, stream()), expected, tolerance());  // in place
    }
  }
}

TEST_P(NormTest, LargeValuesDoNotOverflow) {
  const Values x = rounded({1e18f, -2e18f, 3e18f, 1e18f}, activation()), weight(4, 1);
  Tensor out(activation(), {1, 4}, device());
  apply(out, to_device(x, {1, 4}, activation(), stream()), weight, {}, 1e-6f);
  expect_close(to_host(out, stream()), reference_norm(x, weight, {}, 1e-6, 1, 4), tolerance());
}

TEST_P(NormTest, NoRowsIsFine) {
  Tensor x(activation(), {0, 12}, device());
  apply(x, x, Values(12, 1), {}, 1e-6f);
  apply(x, x, Values(12, 1), Values(12, 0), 1e-6f);
}

TEST_P(NormTest, WrongShapesThrow) {
  const Tensor x(activation(), {2, 12}, device()), narrow(activation(), {2, 11}, device()),
      ints(DType::i32, {2, 12}, device());
  const Values weight(12, 1);
  EXPECT_THROW(apply(narrow, x, weight, {}, 1e-6f), InternalError);
  EXPECT_THROW(apply(x, ints, weight, {}, 1e-6f), InternalError);
  EXPECT_THROW(apply(x, x, Values(11, 1), {}, 1e-6f), InternalError);
  EXPECT_THROW(apply(x, x, weight, Values(13, 1), 1e-6f), InternalError);
}

INSTANTIATE_BACKENDS(NormTest);

}  // namespace
}  // namespace trireme::test
