#include "parallel/topology.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/check.h"

namespace trireme {
namespace {

Topology with_tp(int tp) { return Topology(tp, tp, 1, 0); }

TEST(Topology, PutsRankZeroInTheLastStageAndKeepsStagesConsecutive) {
  const Topology rank0(6, 2, 3, 0), rank3(6, 2, 3, 3), rank5(6, 2, 3, 5);
  EXPECT_EQ(rank0.stage(), 2);
  EXPECT_TRUE(rank0.is_last_stage());
  EXPECT_FALSE(rank0.is_first_stage());
  EXPECT_EQ(rank0.previous_rank(), 2);
  EXPECT_EQ(rank0.next_rank(), -1);
  EXPECT_EQ(rank3.stage(), 1);
  EXPECT_EQ(rank3.tp_rank(), 1);
  EXPECT_EQ(rank3.previous_rank(), 5);
  EXPECT_EQ(rank3.next_rank(), 1);
  EXPECT_TRUE(rank5.is_first_stage());
  EXPECT_EQ(rank5.previous_rank(), -1);
  EXPECT_EQ(rank5.stage_ranks(0), (std::vector<int>{4, 5}));
}

TEST(Topology, NumbersEveryRankOnceAtEverySize) {
  for (int tp = 1; tp <= 8; ++tp)
    for (int pp = 1; pp <= 8; ++pp) {
      std::set<int> seen;
      for (int rank = 0; rank < tp * pp; ++rank) {
        const Topology topology(tp * pp, tp, pp, rank);
        EXPECT_EQ(topology.rank_of(topology.stage(), topology.tp_rank()), rank);
        const std::vector<int> mates = topology.stage_ranks(topology.stage());
        EXPECT_EQ(mates.size(), size_t(tp));
        EXPECT_EQ(mates[size_t(topology.tp_rank())], rank);
        EXPECT_EQ(mates.back() - mates.front(), tp - 1);
        if (topology.next_rank() >= 0) {
          const Topology next(tp * pp, tp, pp, topology.next_rank());
          EXPECT_EQ(next.previous_rank(), rank);
          EXPECT_EQ(next.stage(), topology.stage() + 1);
          EXPECT_EQ(next.tp_rank(), topology.tp_rank());
        }
        seen.insert(rank);
      }
      EXPECT_EQ(seen.size(), size_t(tp * pp));
    }
}

TEST(Topology, NamesTheCommandWhenTheWorldDoesNotFit) {
  try {
    Topology(3, 2, 2, 0);
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("started with 3 ranks but -tp 2 -pp 2 needs 4: use mpirun -n 4"), std::string::npos) << text;
  }
  EXPECT_THROW(Topology(1, 0, 1, 0), ConfigError);
  EXPECT_THROW(Topology(1, 1, -1, 0), ConfigError);
  EXPECT_THROW(Topology(1, 65536, 65536, 0), ConfigError);
  EXPECT_THROW(Topology(2, 2, 1, 2), InternalError);
}

TEST(Topology, DealsFiveLayersToThreeStages) {
  const Topology topology(3, 1, 3, 0);
  EXPECT_EQ(topology.layer_range(5, 0), (Range{0, 2}));
  EXPECT_EQ(topology.layer_range(5, 1), (Range{2, 4}));
  EXPECT_EQ(topology.layer_range(5, 2), (Range{4, 5}));
  EXPECT_EQ(topology.layer_range(5), (Range{4, 5}));
  EXPECT_THROW(topology.layer_range(2), ConfigError);
}

TEST(Topology, LayersCoverTheModelEvenlyAndSpareTheOuterStages) {
  for (int pp = 1; pp <= 9; ++pp)
    for (int64_t layers = pp; layers <= 40; ++layers) {
      const Topology topology(pp, 1, pp, 0);
      int64_t at = 0, smallest = layers, largest = 0;
      for (int stage = 0; stage < pp; ++stage) {
        const Range range = topology.layer_range(layers, stage);
        EXPECT_EQ(range.begin, at);
        at = range.end;
        smallest = std::min(smallest, range.size());
        largest = std::max(largest, range.size());
      }
      EXPECT_EQ(at, layers);
      EXPECT_LE(largest - smallest, 1);
      EXPECT_EQ(topology.layer_range(layers, pp - 1).size(), smallest);
      if (pp > 2 && layers % pp < pp - 1) {
        EXPECT_EQ(topology.layer_range(layers, 0).size(), smallest);
      }
    }
}

TEST(Topology, TakesGivenLayersAndNamesWhatIsWrongWithThem) {
  const Topology even(3, 1, 3, 0);
  const Topology given = even.with_stage_layers({3, 1, 2});
  EXPECT_EQ(given.layer_range(6, 0), (Range{0, 3}));
  EXPECT_EQ(given.layer_range(6, 1), (Range{3, 4}));
  EXPECT_EQ(given.layer_range(6), (Range{4, 6}));
  EXPECT_EQ(even.with_stage_layers({}).layer_range(6), (Range{4, 6}));
  const auto message_of = [](const auto& act) -> std::string {
    try {
      act();
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message_of([&] { even.with_stage_layers({3, 3}); }),
            "--pp-layers gives 2 numbers for the 3 stages of -pp 3: one for each, the first stage's first");
  EXPECT_EQ(message_of([&] { even.with_stage_layers({6, 0, 1}); }),
            "--pp-layers gives a stage 0 layers: every stage needs one at least");
  EXPECT_EQ(message_of([&] { given.layer_range(7); }), "--pp-layers adds up to 6 layers, but the model has 7");
}

// What every head shard must promise, for any tp.
void check_heads(int64_t q_heads, int64_t kv_heads, int tp) {
  SCOPED_TRACE("q " + std::to_string(q_heads) + " kv " + std::to_string(kv_heads) + " tp " + std::to_string(tp));
  const int64_t group = q_heads / kv_heads;
  int64_t at = 0, smallest = q_heads, largest = 0;
  for (int tp_rank = 0; tp_rank < tp; ++tp_rank) {
    const HeadShard shard = with_tp(tp).heads(q_heads, kv_heads, tp_rank);
    EXPECT_EQ(shard.q.begin, at) << "query heads cover without overlap";
    at = shard.q.end;
    ASSERT_GT(shard.q.size(), 0);
    ASSERT_GT(shard.kv.size(), 0);
    ASSERT_TRUE(shard.kv.begin >= 0 && shard.kv.end <= kv_heads);
    ASSERT_EQ(shard.q.size() % shard.kv.size(), 0);
    const int64_t per_kv = shard.q.size() / shard.kv.size();   // what an attention kernel divides by
    for (int64_t i = 0; i < shard.q.size(); ++i)
      EXPECT_EQ(shard.kv.begin + i / per_kv, (shard.q.begin + i) / group) << "query head " << shard.q.begin + i;
    smallest = std::min(smallest, shard.q.size());
    largest = std::max(largest, shard.q.size());
  }
  EXPECT_EQ(at, q_heads);
  EXPECT_LE(tp <= kv_heads ? largest - smallest : largest, group);
}

TEST(Topology, DealsHeadsSoThatEveryRankMapsItsQueriesUniformly) {
  for (int64_t kv_heads : {1, 2, 3, 4, 5, 8, 12})
    for (int64_t group : {1, 2, 3, 4, 7, 8})
      for (int tp = 1; tp <= std::min<int64_t>(kv_heads * group, 33); ++tp) check_heads(kv_heads * group, kv_heads, tp);
}

TEST(Topology, SplitsNineHeadsOnTwoAndFourRanks) {
  const auto expect = [](int tp, int tp_rank, Range q, Range kv) {
    const HeadShard shard = with_tp(tp).heads(9, 3, tp_rank);
    EXPECT_EQ(shard.q, q) << "tp " << tp << " rank " << tp_rank;
    EXPECT_EQ(shard.kv, kv) << "tp " << tp << " rank " << tp_rank;
  };
  expect(2, 0, {0, 6}, {0, 2});
  expect(2, 1, {6, 9}, {2, 3});
  expect(4, 0, {0, 2}, {0, 1});
  expect(4, 1, {2, 3}, {0, 1});
  expect(4, 2, {3, 6}, {1, 2});
  expect(4, 3, {6, 9}, {2, 3});
  for (int tp = 1; tp <= 9; ++tp) check_heads(9, 3, tp);
  EXPECT_THROW(with_tp(10).heads(9, 3, 0), ConfigError);
  EXPECT_THROW(with_tp(1).heads(9, 2, 0), ConfigError);
}

TEST(Topology, ShardsCoverAtGranulesAndMayBeEmpty) {
  for (int64_t granule : {1, 32, 64, 256})
    for (int64_t size : {0, 1, 63, 64, 65, 100, 576, 1536, 49152, 50257})
      for (int tp = 1; tp <= 9; ++tp) {
        int64_t at = 0, smallest = INT64_MAX, largest = 0;
        for (int tp_rank = 0; tp_rank < tp; ++tp_rank) {
          const Range range = with_tp(tp).shard(size, granule, tp_rank);
          EXPECT_EQ(range.begin, at);
          at = range.end;
          EXPECT_TRUE(range.begin % granule == 0 || range.size() == 0);
          EXPECT_TRUE(range.end % granule == 0 || range.end == size);
          const int64_t granules = (range.size() + granule - 1) / granule;
          smallest = std::min(smallest, granules);
          largest = std::max(largest, granules);
        }
        EXPECT_EQ(at, size);
        EXPECT_LE(largest - smallest, 1) << "granules per rank";
      }
  EXPECT_EQ(with_tp(4).shard(100, 64, 1), (Range{64, 100}));
  EXPECT_EQ(with_tp(4).shard(100, 64, 3), (Range{100, 100}));
}

}  // namespace
}  // namespace trireme
