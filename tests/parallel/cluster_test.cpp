#include "parallel/cluster.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/check.h"
#include "base/progress.h"

namespace trireme {
namespace {

int world_size() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  return size ? std::atoi(size) : 1;
}

TEST(ClusterOfRanks, JoinsInEveryShapeThatFits) {
  for (int tp = 1; tp <= world_size(); ++tp) {
    if (world_size() % tp != 0) continue;
    Cluster cluster({.tp = tp, .pp = world_size() / tp});
    const Topology& topology = cluster.topology();
    EXPECT_EQ(cluster.tp_group().size(), tp);
    EXPECT_EQ(cluster.tp_group().rank(), topology.tp_rank());
    EXPECT_EQ(cluster.from_previous_stage().size(), topology.is_first_stage() ? 1 : 2);
    EXPECT_EQ(cluster.from_previous_stage().rank(), topology.is_first_stage() ? 0 : 1);
    EXPECT_EQ(cluster.to_next_stage().size(), topology.is_last_stage() ? 1 : 2);
    EXPECT_EQ(cluster.to_next_stage().rank(), 0);
    EXPECT_EQ(cluster.pipeline_feedback().size(), topology.pp());
    EXPECT_EQ(cluster.pipeline_feedback().rank(), topology.stage());
    EXPECT_EQ(cluster.local_rank(), topology.rank());
    EXPECT_EQ(cluster.num_nodes(), 1);
    EXPECT_EQ(cluster.hosts().size(), size_t(world_size()));
    EXPECT_FALSE(cluster.hosts()[0].empty());
    EXPECT_EQ(cluster.device(), kCpu);
    cluster.check_health();
    cluster.barrier();
  }
}

TEST(ClusterOfRanks, RefusesAWrongWorldOnEveryRankAndGoesOnAfterwards) {
  EXPECT_THROW(Cluster({.tp = world_size() + 1, .pp = 1}), ConfigError);
  EXPECT_THROW(Cluster({.tp = 0, .pp = 1}), ConfigError);
  EXPECT_THROW(Cluster({.tp = world_size(), .pp = 1, .expected_world = world_size() + 1}), ConfigError);
  Cluster({.tp = world_size(), .pp = 1}).barrier();
}

TEST(ClusterOfRanks, RefusesMoreRanksThanGpus) {
  if (cuda_device_count() >= world_size()) GTEST_SKIP() << "a GPU for every rank";
  EXPECT_THROW(Cluster({.tp = world_size(), .pp = 1, .device = DeviceKind::cuda}), ConfigError);
}

TEST(ClusterOfRanks, ExchangesSmallHostValues) {
  Cluster cluster({.tp = 1, .pp = world_size()});
  const int rank = cluster.topology().rank();
  EXPECT_EQ(cluster.all_minimum(100 - rank), 100 - (world_size() - 1));
  EXPECT_EQ(cluster.all_minimum(int64_t(1) << 40), int64_t(1) << 40);

  std::vector<std::byte> bytes;
  if (rank == world_size() - 1) bytes.assign(100000, std::byte{7});
  bytes = cluster.broadcast_bytes(std::move(bytes), world_size() - 1);
  EXPECT_EQ(bytes, std::vector<std::byte>(100000, std::byte{7}));
  EXPECT_TRUE(cluster.broadcast_bytes({}).empty());

  const std::vector<std::string> texts = cluster.gather_text(std::string(size_t(rank), 'x'));
  ASSERT_EQ(texts.size(), rank == 0 ? size_t(world_size()) : 0);
  for (size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(r, 'x'));
}

TEST(ClusterOfRanks, ReportsJoiningAsProgress) {
  const uint64_t before = rank_progress().counter;
  Cluster cluster({.tp = world_size(), .pp = 1});
  EXPECT_EQ(rank_progress().phase.load(), Phase::joining);
  EXPECT_GE(rank_progress().counter - before, 4u);
}

}  // namespace
}  // namespace trireme
