#include "parallel/membership.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/versions.h"

namespace trireme {
namespace {

// `nodes[rank]`: the node's number; its host is "host<node>".
std::vector<RankFacts> ranks_on(const std::vector<int>& nodes, int tp, int pp) {
  std::vector<RankFacts> ranks;
  for (int node : nodes) {
    RankFacts facts;
    facts.tp = tp;
    facts.pp = pp;
    facts.node = node;
    facts.host = "host" + std::to_string(node);
    ranks.push_back(facts);
  }
  return ranks;
}

std::string refusal(const std::vector<RankFacts>& ranks) {
  try {
    check_membership(ranks);
    return "";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

void expect_refusal(const std::vector<RankFacts>& ranks, const std::string& part) {
  const std::string text = refusal(ranks);
  EXPECT_NE(text.find(part), std::string::npos) << "got: " << text;
}

TEST(Membership, AcceptsRanksThatFit) {
  EXPECT_EQ(refusal(ranks_on({0}, 1, 1)), "");
  EXPECT_EQ(refusal(ranks_on({0, 0, 0, 0}, 2, 2)), "");
  EXPECT_EQ(refusal(ranks_on({0, 0, 2, 2}, 2, 2)), "");
}

TEST(Membership, CountsRanksPerNodeBySharedMemoryAndHostName) {
  std::vector<RankFacts> ranks = ranks_on({0, 0, 0, 0, 4}, 1, 5);   // four share memory, in two containers
  ranks[2].host = ranks[3].host = "other";
  settle_nodes(ranks);
  const int nodes[] = {0, 0, 2, 2, 4}, local_ranks[] = {0, 1, 0, 1, 0};
  for (int rank = 0; rank < 5; ++rank) {
    EXPECT_EQ(ranks[size_t(rank)].node, nodes[rank]) << rank;
    EXPECT_EQ(local_rank_of(ranks, rank), local_ranks[rank]) << rank;
  }
}

TEST(Membership, NamesTheNumberOfRanksToStart) {
  expect_refusal(ranks_on({0, 0, 0}, 2, 2), "started with 3 ranks but -tp 2 -pp 2 needs 4: use mpirun -n 4");
}

TEST(Membership, KnowsSrunWithoutPmix) {
  std::vector<RankFacts> ranks = ranks_on({0}, 1, 1);
  ranks[0].expected_world = 4;
  expect_refusal(ranks, "4 ranks were started but MPI sees 1: started by srun without PMIx; use srun --mpi=pmix");
}

TEST(Membership, RefusesRanksWithDifferentOptions) {
  std::vector<RankFacts> ranks = ranks_on({0, 0}, 2, 1);
  ranks[1].tp = 1;
  ranks[1].pp = 2;
  expect_refusal(ranks, "rank 1 on host0 was started with another -tp");
}

TEST(Membership, RefusesATensorParallelGroupThatSpansHosts) {
  expect_refusal(ranks_on({0, 1}, 2, 1), "would span the hosts host0 and host1");
  expect_refusal(ranks_on({0, 1, 0, 1}, 2, 2), "place 2 consecutive ranks on each host");
  EXPECT_EQ(refusal(ranks_on({0, 1}, 1, 2)), "");
}

// One machine can play two hosts: stages may lie on different ones, a stage's ranks may not.
TEST(Membership, TakesNcclsHostsForHosts) {
  std::vector<RankFacts> ranks = ranks_on({0, 0, 0, 0}, 2, 2);
  for (size_t rank = 0; rank < 4; ++rank) ranks[rank].nccl_host = rank < 2 ? "a" : "b";
  EXPECT_EQ(refusal(ranks), "");
  EXPECT_EQ(local_rank_of(ranks, 3), 3) << "of the machine: it has the GPUs";
  ranks[1].nccl_host = "b";
  expect_refusal(ranks, "span the hosts host0 (NCCL_HOSTID a) and host0 (NCCL_HOSTID b)");
}

TEST(Membership, RefusesTwoRanksOnOneGpu) {
  std::vector<RankFacts> ranks = ranks_on({0, 0, 0}, 3, 1);
  for (size_t i = 0; i < 3; ++i) {
    ranks[i].on_cuda = true;
    ranks[i].visible_gpus = 2;
    ranks[i].gpu = i % 2 ? "b" : "a";
  }
  expect_refusal(ranks, "host host0 has 2 visible GPUs for 3 ranks");
  for (size_t i = 0; i < 3; ++i) {   // a scheduler that shows each rank its own GPU
    ranks[i].visible_gpus = 1;
    ranks[i].gpu = std::to_string(i);
  }
  EXPECT_EQ(refusal(ranks), "");
  ranks[1].visible_gpus = 0;
  expect_refusal(ranks, "rank 1 on host0");
}

TEST(Versions, AreKnownBeforeMpiStarts) {
  EXPECT_FALSE(mpi_version_text().empty());
  EXPECT_EQ(mpi_version_text().find(','), std::string::npos);
  EXPECT_FALSE(nccl_version_text().empty());
  EXPECT_FALSE(cuda_version_text().empty());
}

}  // namespace
}  // namespace trireme
