// Shards that exchange through each other's memory answer the same bits as shards that gather by a communicator.

#include <chrono>

#include "runtime/sampling/shard_sampler.h"
#include "tests/runtime/support/sampling_expectations.h"

namespace trireme {
namespace {

constexpr int64_t kAreaBytes = 4 << 20;  // five shards of these tests' rows fit

class ShardSamplerPeersTest : public ShardSamplerTest {
 protected:
  void expect_same_as_gathered(const Problem& problem, const std::string& what) {
    for (const int shards : {2, 3, 5}) {
      SCOPED_TRACE(what + ", " + std::to_string(shards) + " shards");
      test::PeerThreads peers(device(), shards, kAreaBytes);
      if (!peers.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
      const Outcome gathered = run(device(), problem, shards), exchanged = run(device(), problem, shards, &peers);
      expect_same(gathered, exchanged, "by peers");
      EXPECT_GT(gathered.gathers, 0);
      EXPECT_EQ(exchanged.gathers, 0);
      for (int s = 0; s < shards; ++s) EXPECT_FALSE(peers.rank(s).buffers.failed());
    }
  }
};

SampleRow greedy_row() {
  SampleRow row;
  row.temperature = 0;
  return row;
}

TEST_P(ShardSamplerPeersTest, GreedyRowsOfAnyNumber) {
  Generator generator(41);
  for (const int rows : {1, 15, 17, 200, 2300}) {
    Problem problem;
    for (int r = 0; r < rows; ++r)
      problem.add(greedy_row(), make_logits(kShapes[size_t(r) % std::size(kShapes)], 101, generator));
    expect_same_as_gathered(problem, std::to_string(rows) + " rows");
  }
}

TEST_P(ShardSamplerPeersTest, RowsWithoutACutAndRowsThatFail) {
  Generator generator(42);
  Problem problem;
  for (int r = 0; r < 150; ++r) {
    SampleRow row = r % 3 ? SampleRow{} : greedy_row();
    row.seed = 9, row.position_offset = r;
    if (r % 7 == 3) row.kind = int32_t(SampleKind::score), row.target = 5 * r;
    problem.add(row, make_logits(kShapes[size_t(r) % std::size(kShapes)], 1031, generator));
  }
  problem.logits[4 * 1031 + 700] = kNaN;
  problem.logits[9 * 1031] = kInfinity;
  std::fill_n(problem.logits.begin() + 12 * 1031, 1031, -kInfinity);
  expect_same_as_gathered(problem, "no lists");
}

TEST_P(ShardSamplerPeersTest, RowsOfAllOrders) {
  Generator generator(43);
  for (const int64_t vocab : {7, 1031, 5003}) {
    Problem problem;
    problem.counts.resize(size_t(vocab));
    for (uint16_t& count : problem.counts)
      if (generator() % 4 == 0) count = uint16_t((generator() % 2 ? 0x8000 : 0) | generator() % 5);
    for (int r = 0; r < 40; ++r) {
      SampleRow row = random_row(generator, r);
      if (r % 5 == 1) row.repetition_penalty = 1.3f, row.presence_penalty = 0.4f;
      if (r % 8 == 7 && vocab > 100) row.kind = int32_t(SampleKind::candidates), row.num_candidates = 1 + r;
      problem.add(row, make_logits(kShapes[size_t(r / 4) % std::size(kShapes)], vocab, generator));
    }
    expect_same_as_gathered(problem, "vocabulary of " + std::to_string(vocab));
  }
}

// More rows than blocks that run at once.
TEST_P(ShardSamplerPeersTest, MoreRowsWithListsThanBlocks) {
  Generator generator(44);
  Problem problem;
  for (int r = 0; r < 300; ++r) {
    SampleRow row = random_row(generator, r);
    row.top_k = 1 + r % 60, row.typical_p = 1;
    row.top_logprobs = r % 4 * 5;
    problem.add(row, make_logits(Shape::normal, 257, generator));
  }
  expect_same_as_gathered(problem, "lists");
}

// One exchange after the other, with the sums' rhythm of areas: nothing of an earlier one is taken for a later one's.
TEST_P(ShardSamplerPeersTest, ManySteps) {
  Generator generator(45);
  Problem problem;
  for (int r = 0; r < 24; ++r) problem.add(random_row(generator, r), make_logits(Shape::normal, 997, generator));
  problem.batch.number = 1;
  constexpr int kShards = 3, kSteps = 20;
  test::PeerThreads peers(device(), kShards, kAreaBytes);
  if (!peers.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
  EXPECT_EQ(repeated_draws(device(), problem, kShards, kSteps, 1, &peers),
            repeated_draws(device(), problem, kShards, kSteps, 1));
}

TEST_P(ShardSamplerPeersTest, AShardThatDoesNotComeSetsTheStatusAndIdsStayInRange) {
  Generator generator(46);
  for (const bool lists : {false, true}) {
    Problem problem;
    for (int r = 0; r < 5; ++r) {
      SampleRow row = greedy_row();
      row.top_logprobs = lists ? 3 : 0;
      problem.add(row, make_logits(Shape::normal, 500, generator));
    }
    test::PeerThreads peers(device(), 2, kAreaBytes);
    if (!peers.reachable()) GTEST_SKIP() << "the GPUs do not reach each other";
    peers.rank(0).buffers.timeout_ns = 50'000'000;
    on_shards(
        device(), problem, 2,
        [&](size_t s, ShardOfProblem& shard) {
          if (s != 0) return;
          const auto begin = std::chrono::steady_clock::now();
          for (int step = 0; step < 10; ++step)  // only the first waits
            for (const int32_t id : shard.draw(step % 2)) EXPECT_TRUE(id >= -1 && id < 500) << id;
          EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
        },
        &peers);
    EXPECT_EQ(peers.rank(0).buffers.status_now(), 2u);  // 1 + the rank that did not come
  }
}

INSTANTIATE_SHARD_SAMPLER_TESTS(ShardSamplerPeersTest);

}  // namespace
}  // namespace trireme
