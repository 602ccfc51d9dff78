#include "kernels/fused_linear.h"

#include "kernels/linear_tuning.h"
#include "kernels/norm.h"
#include "tests/support/backend.h"
#include "tests/support/linear_weights.h"

namespace trireme::test {
namespace {

struct Shape {
  int64_t tokens, out, in;
};

// Every number of tokens of the skinny kernel's tiles and beyond; rows and k that no tile divides.
constexpr Shape kShapes[] = {{1, 1, 8},      {1, 16, 64},   {2, 40, 264},   {3, 37, 136},   {4, 130, 520},
                             {5, 64, 1000},  {6, 100, 2048}, {7, 18, 3000},  {8, 66, 4096},  {9, 50, 72},
                             {10, 98, 640},  {11, 16, 1032}, {12, 34, 328},  {13, 128, 256}, {14, 20, 40},
                             {15, 300, 776}, {16, 62, 1600}, {17, 70, 520},  {31, 44, 1288}, {33, 90, 264},
                             {40, 12, 72},   {3, 22, 67},    {19, 10, 33}};

double sum_tolerance(const BackendTest& test, int64_t in) {
  return test.tolerance() * std::sqrt(double(in)) * 0.25;
}

class FusedLinearTest : public BackendTest {
 public:
  DType weight_dtype() const { return device().is_cuda() ? DType::bf16 : DType::f32; }

  struct Layer {
    Values x, w, bias, norm;
    Tensor x_device, bias_device, norm_device;
    LinearWeight weight;
  };
  Layer make_layer(Shape shape, float scale = 1) {
    Layer layer;
    const EncodedRows rows = random_rows(DType::f32, shape.out, shape.in, 7);
    layer.w = rounded(rows.values, weight_dtype());
    layer.x = rounded(random_values(shape.tokens * shape.in, 3, scale), activation());
    layer.bias = rounded(random_values(shape.out, 5), activation());
    layer.norm = random_values(shape.in, 9);
    layer.weight = load_weight(rows, 64, stream());
    layer.x_device = to_device(layer.x, {shape.tokens, shape.in}, activation(), stream());
    layer.bias_device = to_device(layer.bias, {shape.out}, activation(), stream());
    layer.norm_device = to_device(layer.norm, {shape.in}, DType::f32, stream());
    return layer;
  }
  Tensor scratch(int64_t rows, int64_t cols) { return Tensor(activation(), {rows, cols}, device()); }

  static Values normalized(const Layer& layer, Shape shape, float eps) {
    Values out;
    for (int64_t t = 0; t < shape.tokens; ++t) {
      const float* row = layer.x.data() + t * shape.in;
      double squares = 0;
      for (int64_t k = 0; k < shape.in; ++k) squares += double(row[k]) * double(row[k]);
      const double factor = 1 / std::sqrt(squares / double(shape.in) + double(eps));
      for (int64_t k = 0; k < shape.in; ++k)
        out.push_back(float(double(row[k]) * factor * double(layer.norm[size_t(k)])));
    }
    return out;
  }

  // A kernel with a row of its table and a way of sharing the work: what every check goes through, where there are some.
  struct Way {
    LinearKernel kernel;
    int tile, grid;
  };
  std::vector<Way> ways;
  void take_ways(LinearKernel kernel, int tiles, std::initializer_list<int> grids) {
    ways.clear();
    for (int tile = 0; device().is_cuda() && tile < tiles; ++tile)
      for (int grid : grids) ways.push_back({kernel, tile, grid});
  }

  // Two passes each way: the same call gives the same bits.
  template <typename Pass>
  void each_way(Shape shape, Pass&& pass) {
    const auto both = [&] {
      std::vector<double> first;
      for (int number = 0; number < 2; ++number) pass(number, first);
    };
    if (ways.empty()) return both();
    for (const Way& way : ways) {
      SCOPED_TRACE(testing::Message() << "kernel " << int(way.kernel) << " tile " << way.tile << " grid " << way.grid);
      choose(shape, way);
      both();
    }
  }
  // Layers of this shape, gated ones too, are computed so from now on.
  static void choose(Shape shape, Way way) {
    std::vector<LinearChoice> choices;
    for (bool float_out : {false, true})
      for (int64_t rows : {shape.out, 2 * shape.out}) {
        LinearChoice choice;
        choice.out_features = rows, choice.in_features = shape.in, choice.tokens = 512;
        choice.float_out = float_out, choice.kernel = way.kernel, choice.tile = way.tile, choice.grid = way.grid;
        choices.push_back(choice);
      }
    adopt_linear_choices(choices);
  }

  void check_residual(Shape shape, bool with_bias) {
    SCOPED_TRACE(testing::Message() << "residual T " << shape.tokens << " N " << shape.out << " K " << shape.in);
    const Layer layer = make_layer(shape);
    const Values old = rounded(random_values(shape.tokens * shape.out, 11), activation());
    const Tensor sum(partial(), {shape.tokens, shape.out}, device());
    const TensorView bias = with_bias ? layer.bias_device.view() : TensorView();
    auto expected =
        reference_linear(layer.x, layer.w, with_bias ? layer.bias : Values(), shape.tokens, shape.out, shape.in);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += double(old[i]);
    each_way(shape, [&](int pass, std::vector<double>& first) {
      const Tensor hidden = to_device(old, {shape.tokens, shape.out}, activation(), stream());
      linear_residual(hidden, layer.x_device, layer.weight, bias, sum, stream());
      const auto got = to_host(hidden, stream());
      if (pass > 0) return expect_identical(got, first, "the same call again");
      first = got;
      expect_close(got, expected, sum_tolerance(*this, shape.in));
    });
  }

  void check_norm(Shape shape, bool with_bias, DType out_dtype, float scale) {
    SCOPED_TRACE(testing::Message() << "norm T " << shape.tokens << " N " << shape.out << " K " << shape.in << " "
                                    << dtype_name(out_dtype));
    const Layer layer = make_layer(shape, scale);
    const float eps = 1e-5f;
    const Tensor normed = scratch(shape.tokens, shape.in);
    const auto expected = reference_linear(normalized(layer, shape, eps), layer.w, with_bias ? layer.bias : Values(),
                                           shape.tokens, shape.out, shape.in);
    each_way(shape, [&](int pass, std::vector<double>& first) {
      const Tensor out(out_dtype, {shape.tokens, shape.out}, device());
      norm_linear(out, layer.x_device, {layer.norm_device, eps}, layer.weight,
                  with_bias ? layer.bias_device.view() : TensorView(), normed, stream());
      const auto got = to_host(out, stream());
      if (pass > 0) return expect_identical(got, first, "the same call again");
      first = got;
      expect_close(got, expected, sum_tolerance(*this, shape.in));
    });
  }

  void check_gated(Shape shape, Activation activation_kind, bool with_norm, bool with_bias) {
    SCOPED_TRACE(testing::Message() << "gated T " << shape.tokens << " N " << shape.out << " K " << shape.in);
    const int64_t cols = shape.out;
    const Shape whole{shape.tokens, 2 * cols, shape.in};
    const Layer layer = make_layer(whole);
    const float eps = 1e-6f;
    const Tensor normed = scratch(shape.tokens, shape.in), gate_up = scratch(shape.tokens, 2 * cols);
    const auto sums = reference_linear(with_norm ? normalized(layer, whole, eps) : layer.x, layer.w,
                                       with_bias ? layer.bias : Values(), shape.tokens, 2 * cols, shape.in);
    std::vector<double> expected;
    double largest = 1;
    for (int64_t t = 0; t < shape.tokens; ++t) {
      for (int64_t c = 0; c < cols; ++c) {
        const double gate = sums[size_t(t * 2 * cols + c)], up = sums[size_t(t * 2 * cols + cols + c)];
        largest = std::max({largest, std::abs(gate), std::abs(up)});
        const double inner = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate);
        expected.push_back(up * (activation_kind == Activation::silu ? gate / (1 + std::exp(-gate))
                                                                     : 0.5 * gate * (1 + std::tanh(inner))));
      }
    }
    const InputNorm norm = with_norm ? InputNorm{layer.norm_device, eps} : InputNorm{};
    each_way(shape, [&](int pass, std::vector<double>& first) {
      const Tensor out(activation(), {shape.tokens, cols}, device());
      norm_gated_linear(out, layer.x_device, norm, layer.weight, with_bias ? layer.bias_device.view() : TensorView(),
                        activation_kind, {normed, gate_up}, stream());
      const auto got = to_host(out, stream());
      if (pass > 0) return expect_identical(got, first, "the same call again");
      first = got;
      // Each factor is off by what a sum is off by, the other one multiplies it.
      expect_close(got, expected, sum_tolerance(*this, shape.in) * 2 * largest);
    });
  }

  void check_all(Shape shape) {
    const bool odd = shape.tokens % 2 == 1;
    check_residual(shape, odd);
    check_norm(shape, !odd, activation(), odd ? 3.0f : 0.01f);
    check_norm(shape, odd, DType::f32, 1);
    check_gated(shape, odd ? Activation::silu : Activation::gelu_tanh, true, odd);
    check_gated(shape, odd ? Activation::gelu_tanh : Activation::silu, false, !odd);
  }
  void check_forms(Shape shape, float odd_scale, float even_scale) {
    const bool odd = shape.tokens % 2 == 1;
    check_residual(shape, odd);
    check_norm(shape, !odd, odd ? DType::f32 : activation(), odd ? odd_scale : even_scale);
    check_gated(shape, odd ? Activation::silu : Activation::gelu_tanh, odd, !odd);
  }
  // On the cpu the same again; on cuda every tile shape of the skinny kernel that takes these tokens, with each way of
  // sharing the work.
  void check_skinny(std::initializer_list<Shape> shapes) {
    take_ways(LinearKernel::skinny, 8, {0, 1, 2, 3});
    for (const Shape& shape : shapes) {
      check_residual(shape, true);
      check_norm(shape, false, DType::f32, 1);
      check_gated(shape, Activation::silu, true, true);
    }
  }
  // Of the kernel for Hopper GPUs, from one token to its most: rows and k that no tile divides, layers of less than a
  // tile and of many.
  void check_warpgroup(std::initializer_list<int> splits) {
    take_ways(LinearKernel::hopper, 4, splits);
    for (const Shape& shape : {Shape{1, 40, 1032}, {7, 96, 2056}, {8, 72, 3080}, {13, 10, 1096}, {17, 136, 4104}, {24, 320, 1544},
                               {32, 1800, 136}, {33, 200, 2600}, {49, 130, 2048}, {64, 1104, 1160}, {65, 72, 1024}})
      check_forms(shape, 3.0f, 0.01f);
  }
  // Of the one for more tokens: tiles and clusters that the shape fills, and that it does not; rows of odd length.
  void check_wide(std::initializer_list<int> grids, std::initializer_list<Shape> shapes) {
    take_ways(LinearKernel::wide, 8, grids);
    for (const Shape& shape : shapes) check_forms(shape, 1, 1);
  }
  // Of two tiles, more than are computed at a time.
  void check_wide_rounds(int grid) {
    take_ways(LinearKernel::wide, 2, {grid});
    check_forms({257, 7000, 264}, 1, 1);
  }
  static constexpr std::initializer_list<Shape> kWideShapes = {
      {65, 40, 1032}, {66, 17, 72}, {130, 130, 1096}, {192, 328, 520}, {257, 200, 136}};
};

TEST_P(FusedLinearTest, MatchesReferenceOnOddShapes) {
  for (const Shape& shape : kShapes) check_all(shape);
}

// Few ways at a time: under a tool that watches shared memory each takes a second. Wide layers give every block several
// tiles, narrow ones share a tile among many blocks.
TEST_P(FusedLinearTest, EveryTileAndGridOfNarrowLayersGivesTheSameSums) {
  check_skinny({{2, 24, 4096}, {7, 96, 2056}, {4, 40, 14336}});
}
TEST_P(FusedLinearTest, EveryTileAndGridOfWideLayersGivesTheSameSums) { check_skinny({{8, 5000, 136}, {1, 2200, 1544}}); }
TEST_P(FusedLinearTest, EveryTileAndGridOf16TokensGivesTheSameSums) { check_skinny({{16, 2100, 264}, {13, 48, 3584}}); }
TEST_P(FusedLinearTest, EveryTileAndGridOf32TokensGivesTheSameSums) { check_skinny({{32, 1100, 264}, {29, 70, 4104}}); }

TEST_P(FusedLinearTest, EveryWarpgroupTileGivesTheSameSums) { check_warpgroup({1}); }
TEST_P(FusedLinearTest, EveryWarpgroupPairGivesTheSameSums) {
  if (device().is_cpu()) GTEST_SKIP() << "the cpu has no splits";
  check_warpgroup({2});
}
TEST_P(FusedLinearTest, EveryWarpgroupSplitGivesTheSameSums) {
  if (device().is_cpu()) GTEST_SKIP() << "the cpu has no splits";
  check_warpgroup({3, 4, 5, 6, 7, 8});
}
TEST_P(FusedLinearTest, EveryWideTileGivesTheSameSums) { check_wide({111}, kWideShapes); }
TEST_P(FusedLinearTest, EveryWidePairGivesTheSameSums) {
  if (device().is_cpu()) GTEST_SKIP() << "the cpu has no clusters";
  check_wide({211, 121, 112}, {{65, 40, 1032}});
}
TEST_P(FusedLinearTest, EveryWideClusterGivesTheSameSums) {
  if (device().is_cpu()) GTEST_SKIP() << "the cpu has no clusters";
  check_wide({211, 121, 141, 221, 112, 113, 118, 142, 214, 222}, kWideShapes);
}
TEST_P(FusedLinearTest, WideTilesInRoundsGiveTheSameSums) {
  check_wide_rounds(111);
  if (device().is_cuda()) check_wide_rounds(221);
}

TEST_P(FusedLinearTest, OnTheCpuTheFusedFormsAreTheirParts) {
  if (device().is_cuda()) GTEST_SKIP() << "on cuda they round less often";
  const Shape shape{5, 46, 200};
  const Layer layer = make_layer(shape);
  const Values old = random_values(5 * 46, 2);
  Tensor fused = to_device(old, {5, 46}, activation(), stream()),
         parts = to_device(old, {5, 46}, activation(), stream());
  const Tensor sum(partial(), {5, 46}, device()), normed = scratch(5, 200), gate_up = scratch(5, 46);
  linear_residual(fused, layer.x_device, layer.weight, layer.bias_device, sum, stream());
  linear(sum, layer.x_device, layer.weight, TensorView(), stream());
  add_partial(parts, sum, layer.bias_device, stream());
  expect_identical(to_host(fused, stream()), to_host(parts, stream()), "linear_residual");

  const InputNorm norm{layer.norm_device, 1e-5f};
  norm_linear(fused, layer.x_device, norm, layer.weight, layer.bias_device, normed, stream());
  rms_norm(normed, layer.x_device, layer.norm_device, 1e-5f, stream());
  linear(parts, normed, layer.weight, layer.bias_device, stream());
  expect_identical(to_host(fused, stream()), to_host(parts, stream()), "norm_linear");

  const Tensor fused_inner = scratch(5, 23), inner = scratch(5, 23);
  norm_gated_linear(fused_inner, layer.x_device, norm, layer.weight, layer.bias_device, Activation::silu,
                    {normed, gate_up}, stream());
  silu_mul(inner, parts, stream());
  expect_identical(to_host(fused_inner, stream()), to_host(inner, stream()), "norm_gated_linear");
}

TEST_P(FusedLinearTest, TakesStridedRowsAndEmptyLayers) {
  for (int64_t tokens : {1, 6, 40}) {
    const Shape shape{tokens, 24, 64};
    const Layer layer = make_layer(shape);
    Tensor x_owner, out_owner;
    const TensorView x = strided(x_owner, tokens, 64, 8, activation(), stream());
    const TensorView out = strided(out_owner, tokens, 24, 5, activation(), stream(), 77);
    upload_rows(x, layer.x, stream());
    const Tensor normed = scratch(tokens, 64);
    norm_linear(out, x, {layer.norm_device, 1e-5f}, layer.weight, TensorView(), normed, stream());
    expect_close(to_host(out, stream()),
                 reference_linear(normalized(layer, shape, 1e-5f), layer.w, {}, tokens, 24, 64),
                 sum_tolerance(*this, 64));
    EXPECT_EQ(to_host(out_owner.view().slice(1, 24, 29), stream()), std::vector<double>(size_t(tokens * 5), 77.0));
  }
  const LinearWeight no_inputs = make_linear_weight(device(), DType::bf16, 5, 0);
  const Tensor hidden = to_device(Values(10, 2), {2, 5}, activation(), stream());
  const Tensor bias = to_device(Values{1, 2, 3, 4, 5}, {5}, activation(), stream());
  linear_residual(hidden, Tensor(activation(), {2, 0}, device()), no_inputs, bias, Tensor(partial(), {2, 5}, device()),
                  stream());
  EXPECT_EQ(to_host(hidden, stream()), (std::vector<double>{3, 4, 5, 6, 7, 3, 4, 5, 6, 7}));
  const LinearWeight no_outputs = make_linear_weight(device(), DType::bf16, 0, 8);
  norm_gated_linear(Tensor(activation(), {2, 0}, device()), Tensor(activation(), {2, 8}, device()), {}, no_outputs,
                    TensorView(), Activation::silu, {TensorView(), Tensor(activation(), {2, 0}, device())}, stream());
}

TEST_P(FusedLinearTest, TunedLayersGiveTheSameSums) {
  // Shapes of their own: what is known is not measured again. Rows of 67 no library takes.
  const std::pair<Shape, LinearRole> cases[] = {{{6, 96, 512}, {}},
                                                {{6, 104, 520}, {.added = true}},
                                                {{6, 112, 528}, {.normed = true}},
                                                {{6, 120, 536}, {.gated = true}},
                                                {{6, 128, 544}, {.normed = true, .gated = true}},
                                                {{6, 22, 67}, {.normed = true}}};
  const std::vector<int64_t> counts = tuned_token_counts(600);
  for (const auto& [shape, role] : cases) {
    const Layer layer = make_layer(shape);
    const LinearWeight* weights[] = {&layer.weight};
    const int64_t measured = tune_linear(weights, activation(), role, counts, stream());
    EXPECT_EQ(measured, device().is_cuda() ? int64_t(counts.size()) : 0);
    EXPECT_EQ(tune_linear(weights, activation(), role, counts, stream()), 0);
    for (int64_t tokens : {1, 6, 17, 40, 70, 130}) {
      check_residual({tokens, shape.out, shape.in}, true);
      check_norm({tokens, shape.out, shape.in}, false, activation(), 1);
      check_gated({tokens, shape.out / 2, shape.in}, Activation::silu, true, true);
    }
  }
}

TEST_P(FusedLinearTest, RolesThatALayerCannotHaveThrow) {
  const LinearWeight weight = load_weight(random_rows(DType::f32, 7, 8, 1), 64, stream());
  const LinearWeight* weights[] = {&weight};
  const int64_t one[] = {1};
  EXPECT_THROW(tune_linear(weights, activation(), {.gated = true}, one, stream()), InternalError);
  EXPECT_THROW(tune_linear(weights, kLogitsDType == activation() ? DType::f64 : kLogitsDType, {.added = true}, one, stream()), InternalError);
}

TEST_P(FusedLinearTest, WrongShapesThrow) {
  const LinearWeight weight = load_weight(random_rows(DType::f32, 6, 8, 1), 64, stream());
  const auto tensor = [&](int64_t rows, int64_t cols) { return Tensor(activation(), {rows, cols}, device()); };
  const Tensor x = tensor(2, 8), out = tensor(2, 6), norm(DType::f32, {8}, device()),
               short_norm(DType::f32, {7}, device());
  const Tensor sum(partial(), {2, 6}, device());
  EXPECT_THROW(linear_residual(tensor(2, 5), x, weight, TensorView(), sum, stream()), InternalError);
  EXPECT_THROW(linear_residual(out, x, weight, tensor(1, 5).view().select(0), sum, stream()), InternalError);
  EXPECT_THROW(norm_linear(out, x, {short_norm, 0}, weight, TensorView(), tensor(2, 8), stream()), InternalError);
  EXPECT_THROW(norm_linear(out, x, {norm, 0}, weight, TensorView(), TensorView(), stream()), InternalError);
  EXPECT_THROW(norm_gated_linear(out, x, {norm, 0}, weight, TensorView(), Activation::silu,
                                 {tensor(2, 8), tensor(2, 6)}, stream()),
               InternalError);
}

INSTANTIATE_BACKENDS(FusedLinearTest);

}  // namespace
}  // namespace trireme::test
