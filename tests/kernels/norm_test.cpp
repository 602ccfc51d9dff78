#include "kernels/norm.h"

#include "kernels/elementwise.h"
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

struct HeadShape {
  int64_t tokens, heads, head_dim;
};
constexpr HeadShape kHeadShapes[] = {{1, 1, 2}, {3, 9, 8}, {5, 3, 80}, {70, 2, 128}, {2, 5, 256}};

TEST_P(NormTest, HeadNormsEachHeadByItself) {
  for (const auto [tokens, heads, dim] : kHeadShapes) {
    SCOPED_TRACE(testing::Message() << tokens << " x " << heads << " x " << dim);
    const Values x = rounded(random_values(tokens * heads * dim, 1, 3), activation()),
                 weight = random_values(dim, 2, 2);
    Tensor owner;
    const TensorView view = strided(owner, tokens, heads * dim, 16, activation(), stream(), 1e6f);
    upload_rows(view, x, stream());
    head_rms_norm(view.reshape({tokens, heads, dim}), to_device(weight, {dim}, DType::f32, stream()), 1e-5f, stream());
    expect_close(to_host(view, stream()), reference_norm(x, weight, {}, 1e-5, tokens * heads, dim), tolerance());
  }
}

TEST_P(NormTest, AddNormPartialAddsTheNormedSum) {
  for (auto [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {5, 576}, {2, 4096}, {70, 33}}) {
    for (const bool with_bias : {false, true}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << (with_bias ? " with bias" : ""));
      const Values hidden = rounded(random_values(rows * cols, 1, 3), activation()),
                   sum = rounded(random_values(rows * cols, 2, 3), partial()), weight = random_values(cols, 3, 2),
                   bias = with_bias ? rounded(random_values(cols, 4), activation()) : Values();
      Tensor owner;
      const TensorView view = strided(owner, rows, cols, 8, activation(), stream());
      upload_rows(view, hidden, stream());
      add_norm_partial(view, to_device(sum, {rows, cols}, partial(), stream()),
                       to_device(bias, {int64_t(bias.size())}, activation(), stream()),
                       to_device(weight, {cols}, DType::f32, stream()), 1e-5f, stream());
      Values biased = sum;
      for (size_t i = 0; with_bias && i < biased.size(); ++i) biased[i] += bias[i % size_t(cols)];
      std::vector<double> expected = reference_norm(biased, weight, {}, 1e-5, rows, cols);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += double(hidden[i]);
      expect_close(to_host(view, stream()), expected, tolerance());
    }
  }
}

TEST_P(NormTest, AddRmsNormIsAnAdditionAndANorm) {
  for (auto [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {5, 576}, {2, 4096}, {1, 8200}, {70, 33}}) {
    for (const bool with_bias : {false, true}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << (with_bias ? " with bias" : ""));
      const Values old = rounded(random_values(rows * cols, 1, 3), activation()),
                   added = rounded(random_values(rows * cols, 2, 3), partial()), weights = random_values(cols, 3, 2);
      const Tensor sum = to_device(added, {rows, cols}, partial(), stream()),
                   weight = to_device(weights, {cols}, DType::f32, stream()),
                   bias = to_device(rounded(random_values(cols, 4), activation()), {cols}, activation(), stream());
      const TensorView bias_view = with_bias ? bias.view() : TensorView();
      Tensor owner;
      const TensorView hidden = strided(owner, rows, cols, 8, activation(), stream());
      upload_rows(hidden, old, stream());
      const Tensor normed(activation(), {rows, cols}, device()), expected_normed(activation(), {rows, cols}, device());
      add_rms_norm(normed, hidden, sum, bias_view, weight, 1e-5f, stream());
      const Tensor expected = to_device(old, {rows, cols}, activation(), stream());
      add_partial(expected, sum, bias_view, stream());
      rms_norm(expected_normed, expected, weight, 1e-5f, stream());
      expect_identical(to_host(hidden, stream()), to_host(expected, stream()), "the sum");
      expect_identical(to_host(normed, stream()), to_host(expected_normed, stream()), "the norm");
    }
  }
}

// However the heads are dealt out, the parts together are the norm of the whole row; on the cpu to the bit.
TEST_P(NormTest, NormBySumsDoesNotDependOnHowHeadsAreDealtOut) {
  for (const auto [tokens, heads, dim] : kHeadShapes) {
    SCOPED_TRACE(testing::Message() << tokens << " x " << heads << " x " << dim);
    const int64_t cols = heads * dim;
    const Values x = rounded(random_values(tokens * cols, 1, 3), activation()), weight = random_values(cols, 2, 2);
    std::vector<double> first;
    for (const int64_t cut : {int64_t(0), heads / 2, heads - 1}) {
      const Tensor all = to_device(x, {tokens, cols}, activation(), stream());
      const Tensor sums =
          to_device(Values(size_t(tokens * heads), 0), {tokens, heads}, square_sum_dtype(device()), stream());
      const auto part = [&](int64_t begin, int64_t end) { return all.view().slice(1, begin * dim, end * dim); };
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, heads}})
        if (begin < end)
          head_square_sums(sums.view().slice(1, begin, end), part(begin, end).reshape({tokens, end - begin, dim}),
                           stream());
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, heads}}) {
        const Values mine(weight.begin() + begin * dim, weight.begin() + end * dim);
        rms_norm_by_sums(part(begin, end), sums, cols, to_device(mine, {(end - begin) * dim}, DType::f32, stream()),
                         1e-5f, stream());
      }
      const std::vector<double> got = to_host(all, stream());
      expect_close(got, reference_norm(x, weight, {}, 1e-5, tokens, cols), tolerance());
      if (first.empty()) first = got;
      expect_identical(got, first, "cut at head " + std::to_string(cut));
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
  const Tensor twelve = to_device(weight, {12}, DType::f32, stream());
  EXPECT_THROW(head_rms_norm(x.view().reshape({2, 2, 6}), twelve, 1e-6f, stream()), InternalError);
  EXPECT_THROW(add_norm_partial(x, x.view().slice(0, 0, 1), TensorView(), twelve, 1e-6f, stream()), InternalError);
  EXPECT_THROW(head_square_sums(x.view().slice(1, 0, 3), x.view().reshape({2, 2, 6}), stream()), InternalError);
  EXPECT_THROW(rms_norm_by_sums(x, ints, 12, twelve, 1e-6f, stream()), InternalError);
}

INSTANTIATE_BACKENDS(NormTest);

}  // namespace
}  // namespace trireme::test
