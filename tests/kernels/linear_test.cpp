#include "kernels/linear.h"

#include "kernels/random_fill.h"
#include "tests/support/backend.h"
#include "tests/support/linear_weights.h"

namespace trireme::test {
namespace {

constexpr DType kStorages[] = {DType::f32, DType::bf16, DType::f16, DType::q8_0, DType::q4_1};

struct Shape {
  int64_t tokens, out, in;
  int granule;
};

// Sums of `in` products of order one: errors grow with the square root.
double sum_tolerance(const BackendTest& test, int64_t in) {
  return test.tolerance() * std::sqrt(double(std::max<int64_t>(in, 1))) * 0.25;
}

class LinearTest : public BackendTest {
 public:
  void check(DType storage, Shape shape, bool with_bias) {
    SCOPED_TRACE(testing::Message() << dtype_name(storage) << " T " << shape.tokens << " N " << shape.out << " K "
                                    << shape.in << " granule " << shape.granule);
    const EncodedRows rows = random_rows(storage, shape.out, shape.in, 7);
    const LinearWeight weight = load_weight(rows, shape.granule, stream());
    const Values x = rounded(random_values(shape.tokens * shape.in, 3), activation());
    const Values bias = with_bias ? rounded(random_values(shape.out, 5), activation()) : Values();
    const Tensor x_device = to_device(x, {shape.tokens, shape.in}, activation(), stream());
    const Tensor bias_device = to_device(bias, {int64_t(bias.size())}, activation(), stream());
    Tensor out(activation(), {shape.tokens, shape.out}, device());
    linear(out, x_device, weight, with_bias ? bias_device.view() : TensorView(), stream());
    const auto expected = reference_linear(x, rounded(rows.values, device().is_cuda() ? DType::bf16 : DType::f32), bias,
                                           shape.tokens, shape.out, shape.in);
    expect_close(to_host(out, stream()), expected, sum_tolerance(*this, shape.in));
  }
};

TEST_P(LinearTest, MatchesReferenceOnOddShapesInPlainStorages) {
  for (DType storage : {DType::f32, DType::bf16, DType::f16})
    for (Shape shape : {Shape{1, 1, 1, 64},
                        {1, 16, 64, 64},
                        {3, 17, 65, 64},
                        {2, 33, 7, 4},
                        {5, 49, 200, 80},
                        {7, 40, 130, 64},
                        {100, 35, 96, 64},
                        {203, 70, 67, 64}})
      check(storage, shape, shape.tokens % 2 == 1);
}

TEST_P(LinearTest, MatchesReferenceOnOddShapesInBlockStorages) {
  for (DType storage : {DType::q8_0, DType::q4_1})
    for (Shape shape : {Shape{1, 1, 32, 64},
                        {1, 80, 64, 64},
                        {2, 17, 96, 64},
                        {4, 30, 160, 80},
                        {1, 30, 160, 80},
                        {13, 65, 192, 64},
                        {101, 33, 96, 48},
                        {9, 16, 32, 7}})
      check(storage, shape, shape.tokens % 2 == 0);
}

TEST_P(LinearTest, TakesStridedRowsAndLeavesTheGapsAlone) {
  const EncodedRows rows = random_rows(DType::f32, 19, 40, 1);
  const LinearWeight weight = load_weight(rows, 64, stream());
  for (int64_t tokens : {1, 6, 30}) {
    const Values x = rounded(random_values(tokens * 40, 2), activation());
    Tensor x_owner, out_owner;
    const TensorView x_view = strided(x_owner, tokens, 40, 9, activation(), stream());
    const TensorView out_view = strided(out_owner, tokens, 19, 5, activation(), stream(), 77);
    upload_rows(x_view, x, stream());
    linear(out_view, x_view, weight, TensorView(), stream());
    const Values w = rounded(rows.values, device().is_cuda() ? DType::bf16 : DType::f32);
    expect_close(to_host(out_view, stream()), reference_linear(x, w, {}, tokens, 19, 40), sum_tolerance(*this, 40));
    const auto gaps = to_host(out_owner.view().slice(1, 19, 24), stream());
    EXPECT_EQ(gaps, std::vector<double>(size_t(tokens * 5), 77.0));
  }
}

TEST_P(LinearTest, WritesPartialSumsAndFloat32Logits) {
  const EncodedRows rows = random_rows(DType::f32, 18, 70, 1);
  const LinearWeight weight = load_weight(rows, 64, stream());
  const Values x = rounded(random_values(3 * 70, 2), activation());
  const Tensor x_device = to_device(x, {3, 70}, activation(), stream());
  const auto expected =
      reference_linear(x, rounded(rows.values, device().is_cuda() ? DType::bf16 : DType::f32), {}, 3, 18, 70);
  for (DType dtype : {partial(), DType::f32}) {
    Tensor out(dtype, {3, 18}, device());
    linear(out, x_device, weight, TensorView(), stream());
    expect_close(to_host(out, stream()), expected, sum_tolerance(*this, 70));
  }
}

TEST_P(LinearTest, EmptyInputsGiveNothingOrTheBias) {
  const LinearWeight weight = load_weight(random_rows(DType::f32, 5, 8, 1), 64, stream());
  Tensor none(activation(), {0, 5}, device());
  linear(none, Tensor(activation(), {0, 8}, device()), weight, TensorView(), stream());
  const LinearWeight empty_out = make_linear_weight(device(), DType::f32, 0, 8);
  linear(Tensor(activation(), {3, 0}, device()), Tensor(activation(), {3, 8}, device()), empty_out, TensorView(),
         stream());
  const LinearWeight empty_in = make_linear_weight(device(), DType::q8_0, 5, 0);
  const Values bias = {1, 2, 3, 4, 5};
  const Tensor bias_device = to_device(bias, {5}, activation(), stream());
  Tensor out = to_device(Values(10, 9), {2, 5}, activation(), stream());
  linear(out, Tensor(activation(), {2, 0}, device()), empty_in, bias_device, stream());
  EXPECT_EQ(to_host(out, stream()), (std::vector<double>{1, 2, 3, 4, 5, 1, 2, 3, 4, 5}));
  linear(out, Tensor(activation(), {2, 0}, device()), empty_in, TensorView(), stream());
  EXPECT_EQ(to_host(out, stream()), std::vector<double>(10, 0.0));
}

TEST_P(LinearTest, RowsMayBeLoadedInAnyPieces) {
  for (DType storage : kStorages) {
    SCOPED_TRACE(dtype_name(storage));
    const EncodedRows rows = random_rows(storage, 45, 64, 11);
    const int64_t row_bytes = int64_t(rows.bytes.size()) / 45;
    LinearWeight weight = make_linear_weight(device(), storage, 45, 64);
    for (auto [begin, count] : {std::pair<int64_t, int64_t>{30, 15}, {0, 3}, {3, 27}, {5, 0}})
      load_linear_rows(weight, begin, count, rows.bytes.data() + begin * row_bytes, storage, stream());
    const Tensor x = to_device(rounded(random_values(2 * 64, 2), activation()), {2, 64}, activation(), stream());
    Tensor whole(activation(), {2, 45}, device()), pieces(activation(), {2, 45}, device());
    linear(whole, x, load_weight(rows, 64, stream()), TensorView(), stream());
    linear(pieces, x, weight, TensorView(), stream());
    expect_identical(to_host(pieces, stream()), to_host(whole, stream()), "loaded in pieces");
  }
}

TEST_P(LinearTest, ConvertsPlainRowsToTheStorage) {
  const EncodedRows wide = random_rows(DType::f64, 5, 12, 3);
  LinearWeight weight = make_linear_weight(device(), DType::bf16, 5, 12);
  load_linear_rows(weight, 0, 5, wide.bytes.data(), DType::f64, stream());
  EXPECT_EQ(weight.storage, DType::bf16);
  Values identity(144, 0);
  for (size_t i = 0; i < 12; ++i) identity[i * 13] = 1;
  Tensor out(activation(), {12, 5}, device());
  linear(out, to_device(identity, {12, 12}, activation(), stream()), weight, TensorView(), stream());
  const auto got = to_host(out, stream());
  for (size_t n = 0; n < 5; ++n)
    for (size_t k = 0; k < 12; ++k)
      EXPECT_EQ(got[k * 5 + n], double(bf16_to_f32(f32_to_bf16(wide.values[n * 12 + k]))));
}

TEST_P(LinearTest, EmbedReadsRowsOfItsVocabularyAndZeroesTheRest) {
  for (DType storage : kStorages) {
    SCOPED_TRACE(dtype_name(storage));
    const EncodedRows rows = random_rows(storage, 21, 96, 4);
    const LinearWeight table = load_weight(rows, 64, stream());
    const std::vector<int32_t> ids = {100, 120, 99, 121, 0, 117, 100};
    Tensor owner;
    const TensorView out = strided(owner, int64_t(ids.size()), 96, 3, activation(), stream(), 5);
    embed(out, to_device(ids, stream()), table, 100, stream());
    Values expected;
    for (int32_t id : ids)
      for (int64_t k = 0; k < 96; ++k)
        expected.push_back(id < 100 || id > 120 ? 0 : rows.values[size_t((id - 100) * 96 + k)]);
    expect_close(to_host(out, stream()), rounded(expected, activation()), 0);
  }
}

TEST_P(LinearTest, RandomShardsAreSlicesOfOneMatrix) {
  LinearWeight whole = make_linear_weight(device(), DType::bf16, 40, 128),
               shard = make_linear_weight(device(), DType::bf16, 17, 64);
  fill_linear_random(whole, 99, 0.5f, 0, 0, stream());
  fill_linear_random(shard, 99, 0.5f, 20, 64, stream());
  std::vector<int32_t> whole_ids, shard_ids;
  for (int32_t n = 0; n < 17; ++n) whole_ids.push_back(20 + n), shard_ids.push_back(n);
  Tensor whole_rows(activation(), {17, 128}, device()), shard_rows(activation(), {17, 64}, device());
  embed(whole_rows, to_device(whole_ids, stream()), whole, 0, stream());
  embed(shard_rows, to_device(shard_ids, stream()), shard, 0, stream());
  const auto got = to_host(shard_rows, stream());
  expect_identical(got, to_host(whole_rows.view().slice(1, 64, 128), stream()), "a shard of the random matrix");
  for (int64_t n : {0, 16})
    for (int64_t k : {0, 63})
      EXPECT_EQ(got[size_t(n * 64 + k)],
                double(bf16_to_f32(f32_to_bf16(random_fill_value(random_fill_row(99, 20 + n), 64 + k, 0.5f)))));
}

TEST_P(LinearTest, RandomBlockStoragesStayInRange) {
  for (DType storage : {DType::q8_0, DType::q4_1}) {
    LinearWeight weight = make_linear_weight(device(), storage, 16, 64);
    fill_linear_random(weight, 3, 0.25f, 0, 0, stream());
    Tensor rows(activation(), {2, 64}, device());
    embed(rows, to_device({3, 9}, stream()), weight, 0, stream());
    double sum = 0;
    for (double value : to_host(rows, stream())) {
      EXPECT_LE(std::abs(value), 0.2503);
      sum += value * value;
    }
    EXPECT_NEAR(sum / 128, 0.0625 / 3, 0.008);
  }
}

TEST_P(LinearTest, WrongShapesThrow) {
  const LinearWeight weight = load_weight(random_rows(DType::f32, 5, 8, 1), 64, stream());
  const auto tensor = [&](DType dtype, int64_t rows, int64_t cols) { return Tensor(dtype, {rows, cols}, device()); };
  const Tensor x = tensor(activation(), 2, 8), out = tensor(activation(), 2, 5), bias(activation(), {4}, device());
  EXPECT_THROW(linear(out, tensor(activation(), 2, 7), weight, TensorView(), stream()), InternalError);
  EXPECT_THROW(linear(tensor(activation(), 2, 4), x, weight, TensorView(), stream()), InternalError);
  EXPECT_THROW(linear(tensor(activation(), 3, 5), x, weight, TensorView(), stream()), InternalError);
  EXPECT_THROW(linear(tensor(DType::i32, 2, 5), x, weight, TensorView(), stream()), InternalError);
  EXPECT_THROW(linear(out, x, weight, bias, stream()), InternalError);
  EXPECT_THROW(embed(out, to_device({1, 2}, stream()), weight, 0, stream()), InternalError);
  EXPECT_THROW(make_linear_weight(device(), DType::f32, -1, 8), InternalError);
  LinearWeight other = make_linear_weight(device(), DType::f32, 5, 8);
  EXPECT_THROW(load_linear_rows(other, 3, 3, nullptr, DType::f32, stream()), InternalError);
}

INSTANTIATE_BACKENDS(LinearTest);

TEST(LinearStorage, CpuKeepsWhatItCanAndWidensTheRest) {
  EXPECT_EQ(linear_storage(kCpu, DType::bf16, 5), DType::bf16);
  EXPECT_EQ(linear_storage(kCpu, DType::q4_1, 64), DType::q4_1);
  EXPECT_EQ(linear_storage(kCpu, DType::q4_1, 40), DType::f32);
  EXPECT_EQ(linear_storage(kCpu, DType::f64, 5), DType::f32);
}

}  // namespace
}  // namespace trireme::test
