// rope_append against the ops it stands for, run one after the other: the same bits on every back end.

#include "kernels/rope_append.h"

#include "kernels/append_stepwise.h"
#include "kernels/qkv_heads.h"
#include "tests/support/attention_batch.h"
#include "tests/support/backend.h"

namespace trireme::test {
namespace {

class RopeAppendTest : public BackendTest {
 public:
  struct Case {
    AttentionShape shape;
    int64_t half;
    bool norm = false, interleaved = false;
    int64_t gap = 0;  // between the tokens' rows
  };

  void check(const Case& c, const std::vector<AttentionRow>& rows, const std::vector<int64_t>& padding = {}) {
    SCOPED_TRACE(testing::Message() << c.shape.q_heads << "/" << c.shape.kv_heads << " heads of " << c.shape.head_dim
                                    << ", rotary " << 2 * c.half << ", norm " << c.norm << ", interleaved "
                                    << c.interleaved << ", gap " << c.gap);
    RopeAppendOptions options{.q_norm = {},
                              .k_norm = {},
                              .norm_eps = 1e-5f,
                              .inv_freq = {},
                              .scale = 1.1f,
                              .interleaved = c.interleaved};
    const Tensor q_norm = weights(c.shape.head_dim, 3), k_norm = weights(c.shape.head_dim, 4);
    const Tensor inv_freq = weights(c.half, 5);
    if (c.norm) options.q_norm = q_norm, options.k_norm = k_norm;
    if (c.half > 0) options.inv_freq = inv_freq;
    const Result fused = run(rope_append, c, rows, padding, options);
    const Result stepwise = run(append_stepwise, c, rows, padding, options);
    expect_close(fused.cache, stepwise.cache, 0);
    expect_close(fused.q, stepwise.q, 0);
  }

 private:
  struct Result {
    std::vector<double> cache, q;  // q: of tokens that have a slot
  };
  using Op = void (*)(TensorView, TensorView, const RopeAppendOptions&, const AttentionBatch&, const Stream&);

  Tensor weights(int64_t count, uint32_t seed) {
    return to_device(random_values(count, seed), {count}, DType::f32, stream());
  }

  Result run(Op op, const Case& c, const std::vector<AttentionRow>& rows, const std::vector<int64_t>& padding,
             const RopeAppendOptions& options) {
    PagedCache cache(c.shape, rows, stream());
    AttentionBatch batch = cache.batch();
    auto slots = raw_to_host<int32_t>(batch.token_slots, stream());
    for (int64_t t : padding) slots[size_t(t)] = -1;
    const Tensor padded = to_device(slots, stream());
    batch.token_slots = padded;
    const int64_t tokens = batch.num_tokens, width = (c.shape.q_heads + 2 * c.shape.kv_heads) * c.shape.head_dim;
    Tensor owner;
    const TensorView qkv = strided(owner, tokens, width, c.gap, activation(), stream());
    upload_rows(qkv, rounded(random_values(tokens * width, 9), activation()), stream());
    op(qkv, cache.kv(), options, batch, stream());
    Result result{to_host(cache.kv().reshape({1, cache.kv().elements()}), stream()), {}};
    for (int64_t t = 0; t < tokens; ++t) {
      if (slots[size_t(t)] < 0) continue;
      const auto row = to_host(qkv.slice(0, t, t + 1).slice(1, 0, c.shape.q_heads * c.shape.head_dim), stream());
      result.q.insert(result.q.end(), row.begin(), row.end());
    }
    return result;
  }
};

const std::vector<AttentionRow> kRows = {{13, 9, 4}, {1, 0, 1}, {300, 299, 1}, {70, 3, 60}};

TEST_P(RopeAppendTest, EqualsItsStepsForEveryHeadDimension) {
  for (int64_t head_dim : {8, 16, 64, 80, 96, 128, 256})
    for (bool norm : {false, true})
      for (bool interleaved : {false, true})
        check({{6, 2, head_dim, 16}, head_dim / 2, norm, interleaved}, kRows);
}

TEST_P(RopeAppendTest, PartialAndNoRotation) {
  for (bool interleaved : {false, true}) {
    check({{6, 2, 64, 16}, 8, true, interleaved}, kRows);
    check({{6, 2, 96, 5}, 24, false, interleaved}, kRows);
  }
  check({{6, 2, 64, 16}, 0, true}, kRows);
  check({{6, 2, 64, 16}, 0, false}, kRows);
}

TEST_P(RopeAppendTest, OddShapesAndStrides) {
  check({{5, 1, 20, 7}, 5, true}, kRows);        // half odd
  check({{3, 3, 6, 3}, 3, false}, kRows);        // head_dim no multiple of 4
  check({{3, 1, 64, 16}, 32, true, false, 3}, kRows);
  check({{3, 1, 64, 16}, 32, true, false, 8}, kRows);
}

TEST_P(RopeAppendTest, PaddingIsSkipped) { check({{6, 2, 64, 16}, 32, true}, kRows, {0, 5, 65}); }

TEST_P(RopeAppendTest, ManyTokens) {
  for (bool norm : {false, true})
    for (bool interleaved : {false, true})
      for (int64_t half : {16, 32}) check({{4, 2, 64, 16}, half, norm, interleaved}, {{1100, 0, 1100}, {41, 0, 41}}, {0, 5, 1102});
  check({{32, 8, 128, 16}, 64}, {{1100, 0, 1100}});
  check({{64, 16, 128, 16}, 64}, {{1031, 0, 1031}});
  check({{140, 2, 128, 16}, 64}, {{1025, 0, 1025}});  // more slices than a block has threads
}

TEST_P(RopeAppendTest, NoTokensIsFine) {
  PagedCache cache({4, 2, 8, 4}, {}, stream());
  const Tensor qkv(activation(), {0, 64}, device());
  rope_append(qkv, cache.kv(), {}, cache.batch(), stream());
}

TEST_P(RopeAppendTest, WrongShapesThrow) {
  PagedCache cache({4, 2, 8, 4}, {{3, 0, 3}}, stream());
  const Tensor qkv(activation(), {3, 64}, device()), narrow(activation(), {3, 32}, device()),
      odd(activation(), {3, 60}, device()), few(activation(), {2, 64}, device());
  const Tensor weight(DType::f32, {8}, device()), long_freq(DType::f32, {5}, device());
  EXPECT_THROW(rope_append(narrow, cache.kv(), {}, cache.batch(), stream()), InternalError);
  EXPECT_THROW(rope_append(odd, cache.kv(), {}, cache.batch(), stream()), InternalError);
  EXPECT_THROW(rope_append(few, cache.kv(), {}, cache.batch(), stream()), InternalError);
  RopeAppendOptions options;
  options.q_norm = weight;
  EXPECT_THROW(rope_append(qkv, cache.kv(), options, cache.batch(), stream()), InternalError);
  options = {};
  options.inv_freq = long_freq;
  EXPECT_THROW(rope_append(qkv, cache.kv(), options, cache.batch(), stream()), InternalError);
}

// rope_append_attention against its two ops: the same bits. Keys of positions that are not there yet hold rubbish.
class RopeAppendAttentionTest : public BackendTest {
 public:
  struct Case {
    AttentionShape shape;
    bool norm = false, interleaved = false;
    AttentionOptions options = {0.1f};
    int32_t lag = 0, processors = 0;
  };

  void check(const Case& c, const std::vector<AttentionRow>& rows) {
    SCOPED_TRACE(testing::Message() << c.shape.q_heads << "/" << c.shape.kv_heads << " heads of " << c.shape.head_dim
                                    << ", blocks of " << c.shape.block_size << ", norm " << c.norm << ", window "
                                    << c.options.window << ", lag " << c.lag << ", processors " << c.processors);
    if (device().is_cuda() && c.shape.head_dim % 8 != 0) return;
    const Result fused = run(rope_append_attention, c, rows), stepwise = run(in_two, c, rows);
    expect_identical(fused.out, stepwise.out, "out");
    expect_close(fused.cache, stepwise.cache, 0);
  }

 private:
  struct Result {
    std::vector<double> out, cache;
  };
  using Op = void (*)(TensorView, TensorView, TensorView, const RopeAppendOptions&, const AttentionOptions&,
                      const AttentionBatch&, const Stream&);

  static void in_two(TensorView out, TensorView qkv, TensorView kv, const RopeAppendOptions& append,
                     const AttentionOptions& options, const AttentionBatch& batch, const Stream& stream) {
    rope_append(qkv, kv, append, batch, stream);
    paged_attention(out, QkvHeads(qkv, kv.dim(2), kv.dim(4)).q, kv, batch, options, stream);
  }

  Result run(Op op, const Case& c, const std::vector<AttentionRow>& rows) {
    PagedCache cache(c.shape, rows, stream());
    const AttentionBatch batch = cache.planned_batch(c.options, stream(), 3, c.lag, c.processors);
    const int64_t tokens = batch.num_tokens, width = (c.shape.q_heads + 2 * c.shape.kv_heads) * c.shape.head_dim;
    const auto weights = [&](int64_t count, uint32_t seed) {
      return to_device(random_values(count, seed), {count}, DType::f32, stream());
    };
    const Tensor q_norm = weights(c.shape.head_dim, 3), k_norm = weights(c.shape.head_dim, 4);
    const Tensor inv_freq = weights(c.shape.head_dim / 2, 5);
    RopeAppendOptions append{.q_norm = {}, .k_norm = {}, .norm_eps = 1e-5f, .inv_freq = inv_freq, .scale = 1.1f,
                             .interleaved = c.interleaved};
    if (c.norm) append.q_norm = q_norm, append.k_norm = k_norm;
    const Tensor qkv =
        to_device(rounded(random_values(tokens * width, 9), activation()), {tokens, width}, activation(), stream());
    Tensor out(activation(), {tokens, c.shape.q_heads, c.shape.head_dim}, device());
    op(out, qkv, cache.kv(), append, c.options, batch, stream());
    return {to_host(out, stream()), to_host(cache.kv().reshape({1, cache.kv().elements()}), stream())};
  }
};

const std::vector<AttentionRow> kDecodeRows = {{1, 0, 1},     {16, 15, 1},   {17, 16, 1},   {200, 199, 1},
                                               {513, 512, 1}, {700, 699, 1}, {2000, 1999, 1}};

TEST_P(RopeAppendAttentionTest, EqualsItsTwoOps) {
  for (int64_t head_dim : {8, 64, 72, 80, 96, 128, 256})
    for (bool norm : {false, true}) check({{8, 2, head_dim, 16}, norm, !norm}, kDecodeRows);
}

TEST_P(RopeAppendAttentionTest, EveryPlaceOfTheNewToken) {  // in the units read ahead and behind them
  for (int32_t processors : {1, 20})
    for (int64_t context = 1; context < 420; context += context < 70 ? 1 : 29)
      check({{4, 1, 128, 16}, true, false, {0.1f}, 0, processors}, {{context, context - 1, 1}});
}

TEST_P(RopeAppendAttentionTest, GroupsAndBlockSizes) {
  for (int64_t group : {1, 2, 3, 7, 16, 17}) check({{2 * group, 2, 64, 16}, true}, kDecodeRows);
  for (int64_t block_size : {1, 3, 24, 100}) check({{4, 2, 128, block_size}}, kDecodeRows);
}

TEST_P(RopeAppendAttentionTest, WindowsCapsAndLag) {
  for (int32_t window : {1, 5, 300}) check({{4, 2, 128, 16}, true, false, {0.2f, window, 5.0f}}, kDecodeRows);
  for (int32_t lag : {1, 3, 400}) check({{8, 2, 128, 16}, true, false, {0.1f}, lag, 20}, kDecodeRows);
}

TEST_P(RopeAppendAttentionTest, MoreRowsThanRunAtATime) {  // cuda: four blocks on a processor
  std::vector<AttentionRow> rows;
  for (int64_t context = 1; context < 260; context += 4) rows.push_back({context, context - 1, 1});
  for (int64_t head_dim : {64, 80, 128}) check({{32, 16, head_dim, 16}, true}, rows);
}

TEST_P(RopeAppendAttentionTest, TooManyRowsForGroups) {  // cuda: on Hopper boxes of 16 keys are copied
  std::vector<AttentionRow> places, rows;
  for (int64_t context = 1; context < 90; ++context) places.push_back({context, context - 1, 1});
  for (int64_t context : {1, 16, 17, 31, 64, 65, 130, 200, 257, 400}) rows.push_back({context, context - 1, 1});
  for (int64_t head_dim : {64, 128}) check({{4, 2, head_dim, 16}, true}, places);
  for (int64_t group : {1, 3, 7, 16}) check({{4 * group, 4, 64, 16}}, rows);
  for (int64_t block_size : {8, 24, 32, 48}) check({{8, 4, 128, block_size}, false, true}, rows);
  for (int32_t window : {1, 5, 300}) check({{8, 4, 64, 16}, true, false, {0.2f, window, 5.0f}}, rows);
  for (int32_t lag : {1, 3, 400}) check({{8, 4, 128, 16}, true, false, {0.1f}, lag, 20}, rows);
}

TEST_P(RopeAppendAttentionTest, RowsOfManyTokens) { check({{6, 2, 64, 16}, true}, kRows); }

INSTANTIATE_BACKENDS(RopeAppendTest);
INSTANTIATE_BACKENDS(RopeAppendAttentionTest);

}  // namespace
}  // namespace trireme::test
