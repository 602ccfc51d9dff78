#include "kernels/attention.h"

#include "tests/support/attention_batch.h"
#include "tests/support/backend.h"

namespace trireme::test {
namespace {

class AttentionTest : public BackendTest {
 public:
  // spare, lag, processors: see PagedCache::planned_batch.
  void check(AttentionShape shape, const std::vector<AttentionRow>& rows, AttentionOptions options, int64_t spare = 0,
             int32_t lag = 0, int32_t processors = 0) {
    SCOPED_TRACE(testing::Message() << shape.q_heads << "/" << shape.kv_heads << " heads of " << shape.head_dim << ", blocks of "
                                    << shape.block_size << ", window " << options.window << ", cap " << options.soft_cap);
    if (device().is_cuda() && shape.head_dim % 8 != 0) return;   // what the header asks of that back end
    PagedCache cache(shape, rows, stream());
    const Tensor q = to_device(cache.row_queries(), {cache.num_tokens(), shape.q_heads, shape.head_dim}, activation(), stream());
    Tensor out(activation(), {cache.num_tokens(), shape.q_heads, shape.head_dim}, device());
    const AttentionBatch batch = cache.planned_batch(options, stream(), spare, lag, processors);
    const auto expected = cache.reference(options);
    paged_attention(out, q, cache.kv(), batch, options, stream());
    const auto first = to_host(out, stream());
    expect_close(first, expected, tolerance());
    paged_attention(out, q, cache.kv(), batch, options, stream());  // finds the counters as the first call did
    expect_identical(to_host(out, stream()), first, "the same call again");
  }
};

TEST_P(AttentionTest, MatchesReferenceForPrefillAndDecode) {
  check({9, 3, 64, 16}, {{130, 0, 130}}, {0.125f});
  check({9, 3, 64, 16}, {{130, 129, 1}}, {0.125f});
  check({1, 1, 1, 1}, {{1, 0, 1}}, {1});
  check({2, 2, 7, 5}, {{9, 0, 9}, {20, 17, 3}}, {0.5f});
  check({8, 1, 80, 32}, {{70, 60, 10}}, {0.1f});
  check({4, 2, 128, 16}, {{65, 64, 1}, {64, 63, 1}, {63, 62, 1}, {300, 299, 1}}, {0.09f});
  check({2, 1, 256, 8}, {{40, 0, 40}}, {0.06f});
  check({6, 2, 96, 16}, {{130, 0, 130}, {600, 599, 1}}, {0.1f});
}

TEST_P(AttentionTest, MixesManyRowsInOneBatch) {
  check({9, 3, 64, 16}, {{1, 0, 1}, {100, 99, 1}, {33, 10, 23}, {200, 64, 136}, {17, 16, 1}, {64, 0, 64}}, {0.125f});
}

TEST_P(AttentionTest, MoreQueryHeadsThanFitOneTask) { check({100, 1, 16, 16}, {{70, 66, 4}}, {0.25f}); }

TEST_P(AttentionTest, WindowHidesWhatIsFarBack) {
  for (int32_t window : {1, 5, 64, 70, 1000}) check({4, 2, 32, 16}, {{150, 0, 150}, {200, 199, 1}}, {0.2f, window});
}

TEST_P(AttentionTest, WindowAndCapInLongContexts) {
  check({4, 2, 80, 16}, {{700, 699, 1}, {650, 600, 50}}, {0.3f, 300, 5.0f});
  check({4, 2, 256, 16}, {{900, 899, 1}}, {0.2f, 20, 5.0f});
}

TEST_P(AttentionTest, EveryHeadDimension) {
  for (int64_t head_dim : {8, 16, 40, 64, 72, 80, 88, 96, 112, 128, 136, 192, 256})
    check({4, 2, head_dim, 16}, {{45, 0, 45}, {700, 699, 1}, {330, 300, 30}, {20, 12, 8}}, {0.1f});
}

TEST_P(AttentionTest, ContextsInOneAndManyPieces) {
  for (int32_t processors : {1, 4, 20, 60})
    for (int64_t head_dim : {64, 128})
      check({8, 2, head_dim, 16}, {{3000, 2999, 1}, {700, 699, 1}, {255, 254, 1}, {257, 256, 1}, {1500, 1400, 100}},
            {0.1f}, 0, 0, processors);
  check({1, 1, 64, 16}, {{6000, 5999, 1}}, {0.1f});
}

TEST_P(AttentionTest, FewRowsInGroups) {  // cuda: a tile's splits are a cluster, or would be on a larger GPU
  const std::vector<AttentionRow> rows = {{1, 0, 1}, {65, 64, 1}, {449, 448, 1}, {577, 576, 1}, {130, 129, 1}};
  for (int32_t processors : {0, 400}) {
    check({32, 8, 128, 16}, rows, {0.1f}, 0, 0, processors);
    check({8, 1, 64, 16}, rows, {0.1f}, 9, 0, processors);
    check({8, 2, 128, 16}, {{2048, 2047, 1}, {600, 596, 4}}, {0.1f}, 0, 0, processors);
    check({8, 2, 128, 16}, {{2049, 2048, 1}, {600, 599, 1}}, {0.1f}, 0, 0, processors);
  }
}

TEST_P(AttentionTest, MoreRowsThanRunAtATime) {  // cuda: four blocks on a processor
  for (int64_t head_dim : {64, 72, 96, 128, 256})
    check({128, 64, head_dim, 16},
          {{1, 0, 1}, {17, 16, 1}, {80, 79, 1}, {81, 76, 5}, {130, 129, 1}, {257, 256, 1}, {300, 299, 1}, {513, 512, 1}, {600, 599, 1}},
          {0.1f});
}

// cuda: too many for groups, so that on Hopper boxes of 16 keys are copied.
const std::vector<AttentionRow> kManyDecodeRows = {{1, 0, 1},   {15, 14, 1}, {16, 15, 1},   {17, 16, 1},  {31, 30, 1},
                                                   {33, 32, 1}, {63, 62, 1}, {64, 63, 1},   {65, 64, 1},  {130, 126, 4},
                                                   {257, 256, 1}, {400, 399, 1}};

TEST_P(AttentionTest, ManyDecodeRows) {
  for (int64_t head_dim : {64, 128})
    for (int32_t window : {0, 1, 20, 300}) check({8, 4, head_dim, 16}, kManyDecodeRows, {0.1f, window}, 0, 0, 1);
  for (int64_t block_size : {8, 24, 32, 48}) check({4, 4, 128, block_size}, kManyDecodeRows, {0.1f});
  for (int32_t lag : {1, 3, 400}) check({8, 4, 128, 16}, kManyDecodeRows, {0.1f, 0, 5.0f}, 3, lag, 20);
}

TEST_P(AttentionTest, LongDecodeRows) {
  for (int32_t processors : {1, 20})
    check({8, 8, 64, 16}, {{2100, 2099, 1}, {4300, 4299, 1}, {2048, 2047, 1}, {1, 0, 1}, {4111, 4110, 1}}, {0.1f}, 0, 0,
          processors);
}

TEST_P(AttentionTest, LargeTilesOfQueries) {  // few processors: 128 rows at a time
  for (int64_t head_dim : {64, 80, 96, 128})
    check({4, 1, head_dim, 16}, {{200, 0, 200}, {333, 150, 183}, {90, 89, 1}}, {0.1f}, 0, 0, 1);
  check({4, 2, 128, 16}, {{300, 0, 300}, {280, 41, 239}}, {0.2f, 70, 5.0f}, 0, 0, 1);
}

TEST_P(AttentionTest, LargeTilesAroundTheirEdges) {  // of 128 rows and 128 keys
  for (int64_t head_dim : {64, 128})
    for (int64_t length : {127, 128, 129, 255, 256, 257})
      check({2, 2, head_dim, 16}, {{length, 0, length}}, {0.1f}, 0, 0, 1);
}

TEST_P(AttentionTest, LargeTilesOfManyRowsAndChunks) {
  for (int64_t head_dim : {64, 128}) {
    check({8, 2, head_dim, 16}, {{130, 0, 130}, {1, 0, 1}, {401, 300, 101}, {64, 0, 64}, {500, 499, 1}, {377, 120, 257}},
          {0.1f}, 0, 0, 1);
    check({4, 2, head_dim, 32}, {{700, 383, 317}, {384, 128, 256}}, {0.1f}, 0, 0, 1);
    check({4, 2, head_dim, 16}, {{300, 10, 290}}, {0.1f}, 40, 7, 1);
  }
}

TEST_P(AttentionTest, LargeTilesOfEveryGroupSize) {
  for (int64_t head_dim : {64, 128})
    for (int64_t group : {1, 3, 4, 8, 16, 17}) check({2 * group, 2, head_dim, 16}, {{290, 40, 250}}, {0.1f}, 0, 0, 1);
}

TEST_P(AttentionTest, LargeTilesOfMoreHeadsThanRows) { check({130, 1, 64, 16}, {{40, 3, 37}}, {0.1f}, 0, 0, 1); }

TEST_P(AttentionTest, LargeTilesOfEveryBlockSize) {  // cuda: whole blocks are copied, or what they share with 128 keys
  for (int64_t head_dim : {64, 128})
    for (int64_t block_size : {8, 24, 48, 64, 128, 256})
      for (int32_t window : {0, 100})
        check({4, 2, head_dim, block_size}, {{400, 90, 310}, {61, 0, 61}}, {0.1f, window}, 0, 0, 1);
}

TEST_P(AttentionTest, LargeTilesWithWindowAndCap) {
  for (int64_t head_dim : {64, 128})
    for (int32_t window : {1, 64, 129, 300}) {
      check({4, 2, head_dim, 16}, {{500, 100, 400}}, {0.2f, window}, 0, 0, 1);
      check({4, 2, head_dim, 16}, {{420, 300, 120}, {190, 0, 190}}, {0.2f, window, 5.0f}, 0, 0, 1);
    }
}

TEST_P(AttentionTest, EveryGroupSize) {
  for (int64_t group : {1, 2, 3, 5, 7, 8, 12, 16, 17, 33})
    check({2 * group, 2, 64, 16}, {{300, 299, 1}, {65, 60, 5}, {80, 10, 70}}, {0.125f});
}

TEST_P(AttentionTest, OddBlockSizes) {
  for (int64_t block_size : {1, 3, 8, 24, 32, 100})
    check({4, 2, 128, block_size}, {{600, 599, 1}, {130, 65, 65}}, {0.1f});
}

TEST_P(AttentionTest, RoomForMoreItemsThanThereAre) {
  check({8, 2, 128, 16}, {{700, 699, 1}, {40, 39, 1}, {90, 0, 90}}, {0.1f}, 50);
  check({8, 2, 128, 16}, {{700, 699, 1}}, {0.1f}, 7);
  check({8, 2, 128, 16}, {{90, 0, 90}}, {0.1f}, 1);
}

TEST_P(AttentionTest, PositionsBelowThoseThatWerePlannedFor) {
  for (int32_t lag : {1, 3, 400}) {
    check({8, 2, 128, 16}, {{700, 699, 1}, {40, 39, 1}, {90, 0, 90}}, {0.1f}, 0, lag);
    check({8, 2, 64, 16}, {{700, 699, 1}, {40, 39, 1}, {190, 100, 90}}, {0.1f, 30}, 0, lag);
  }
}

TEST_P(AttentionTest, SoftCapBendsScores) { check({4, 2, 32, 16}, {{90, 60, 30}}, {2.0f, 0, 5.0f}); }

TEST_P(AttentionTest, AppendsKeysAndValuesWhereTheTableSays) {
  const AttentionShape shape{4, 2, 24, 5};
  PagedCache cache(shape, {{13, 9, 4}, {1, 0, 1}}, stream());
  const auto before = to_host(cache.kv().reshape({cache.kv().elements()}), stream());
  const int64_t row = shape.kv_heads * shape.head_dim;
  const Values k = rounded(random_values(5 * row, 50), activation()), v = rounded(random_values(5 * row, 51), activation());
  Tensor owner;
  const TensorView joint = strided(owner, 5, 2 * row, 0, activation(), stream());  // k and v side by side in each row
  const TensorView k_view = joint.slice(1, 0, row), v_view = joint.slice(1, row, 2 * row);
  upload_rows(k_view, k, stream());
  upload_rows(v_view, v, stream());
  kv_append(cache.kv(), k_view.reshape({5, 2, 24}), v_view.reshape({5, 2, 24}), cache.batch(), stream());
  std::vector<double> expected = before;
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t d = 0; d < 24; ++d) {
        expected[size_t(cache.offset(t, 0, h) + d)] = double(k[size_t(t * row + h * 24 + d)]);
        expected[size_t(cache.offset(t, 1, h) + d)] = double(v[size_t(t * row + h * 24 + d)]);
      }
    }
  }
  expect_close(to_host(cache.kv().reshape({cache.kv().elements()}), stream()), expected, 0);
}

TEST_P(AttentionTest, AppendsNothingForPadding) {
  PagedCache cache({4, 2, 24, 5}, {{13, 9, 4}, {1, 0, 1}}, stream());
  const auto before = to_host(cache.kv().reshape({cache.kv().elements()}), stream());
  const Tensor k = to_device(Values(size_t(5 * 2 * 24), 7.0f), {5, 2, 24}, activation(), stream());
  AttentionBatch batch = cache.batch();
  const Tensor nowhere = to_device(std::vector<int32_t>(5, -1), stream());
  batch.token_slots = nowhere;
  kv_append(cache.kv(), k, k, batch, stream());
  expect_close(to_host(cache.kv().reshape({cache.kv().elements()}), stream()), before, 0);
}

TEST_P(AttentionTest, CopiesBlocks) {
  const Values values = rounded(random_values(5 * 2 * 3 * 4 * 6, 1), activation());
  const Tensor kv = to_device(values, {5, 2, 3, 4, 6}, activation(), stream());
  copy_blocks(kv, to_device({0, 3, 4, 1}, {2, 2}, stream()), stream());
  Values expected = values;
  const int64_t block = 2 * 3 * 4 * 6;
  std::copy_n(values.begin(), block, expected.begin() + 3 * block);
  std::copy_n(values.begin() + 4 * block, block, expected.begin() + block);
  expect_close(to_host(kv.view().reshape({5 * block}), stream()), expected, 0);
  copy_blocks(kv, Tensor(DType::i32, {0, 2}, device()), stream());
}

TEST_P(AttentionTest, NoTokensIsFine) {
  PagedCache cache({4, 2, 8, 4}, {}, stream());
  const Tensor q(activation(), {0, 4, 8}, device()), k(activation(), {0, 2, 8}, device());
  paged_attention(q, q, cache.kv(), cache.batch(), {}, stream());
  kv_append(cache.kv(), k, k, cache.batch(), stream());
}

TEST_P(AttentionTest, WrongShapesThrow) {
  PagedCache cache({4, 2, 8, 4}, {{3, 0, 3}}, stream());
  const Tensor q(activation(), {3, 4, 8}, device()), odd(activation(), {3, 3, 8}, device()), wide(activation(), {3, 4, 9}, device());
  const Tensor k(activation(), {3, 3, 8}, device()), pairs(DType::i32, {2, 3}, device());
  EXPECT_THROW(paged_attention(odd, odd, cache.kv(), cache.batch(), {}, stream()), InternalError);
  EXPECT_THROW(paged_attention(wide, wide, cache.kv(), cache.batch(), {}, stream()), InternalError);
  EXPECT_THROW(paged_attention(odd, q, cache.kv(), cache.batch(), {}, stream()), InternalError);
  EXPECT_THROW(kv_append(cache.kv(), k, k, cache.batch(), stream()), InternalError);
  EXPECT_THROW(copy_blocks(cache.kv(), pairs, stream()), InternalError);
  AttentionBatch short_batch = cache.batch();
  short_batch.num_tokens = 2;
  EXPECT_THROW(paged_attention(q, q, cache.kv(), short_batch, {}, stream()), InternalError);
}

INSTANTIATE_BACKENDS(AttentionTest);

}  // namespace
}  // namespace trireme::test
