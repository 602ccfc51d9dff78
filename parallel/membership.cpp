#include "parallel/membership.h"

#include <algorithm>

#include "base/device.h"
#include "base/error.h"
#include "parallel/topology.h"

namespace trireme {
namespace {

std::string count_text(int count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

void check_world(const std::vector<RankFacts>& ranks) {
  const int world = int(ranks.size());
  const int expected = ranks[0].expected_world;
  if (expected > world)
    throw ConfigError(count_text(expected, "rank") + " were started but MPI sees " + std::to_string(world) +
                      ": started by srun without PMIx; use srun --mpi=pmix (srun --mpi=list names what it has), "
                      "or mpirun");
  for (int rank = 0; rank < world; ++rank)
    if (ranks[size_t(rank)].tp != ranks[0].tp || ranks[size_t(rank)].pp != ranks[0].pp ||
        ranks[size_t(rank)].on_cuda != ranks[0].on_cuda)
      throw ConfigError("rank " + std::to_string(rank) + " on " + ranks[size_t(rank)].host +
                        " was started with another -tp, -pp or --device than rank 0: give all ranks the same "
                        "command line");
  Topology(world, ranks[0].tp, ranks[0].pp, 0);
}

bool are_neighbours(const RankFacts& a, const RankFacts& b) { return a.node == b.node && a.nccl_host == b.nccl_host; }

std::string host_text(const RankFacts& facts) {
  return facts.nccl_host.empty() ? facts.host : facts.host + " (NCCL_HOSTID " + facts.nccl_host + ")";
}

void check_stages(const std::vector<RankFacts>& ranks) {
  const int tp = ranks[0].tp;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankFacts& first = ranks[rank - rank % size_t(tp)];
    if (are_neighbours(ranks[rank], first)) continue;
    throw ConfigError("a tensor-parallel group of " + std::to_string(tp) + " would span the hosts " +
                      host_text(first) + " and " + host_text(ranks[rank]) + ": place " + std::to_string(tp) +
                      " consecutive ranks on each host (slots=" + std::to_string(tp) +
                      " in the hostfile, or mpirun --map-by ppr:" + std::to_string(tp) +
                      ":node), or use a smaller -tp and a larger -pp");
  }
}

void check_gpus(const std::vector<RankFacts>& ranks) {
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankFacts& facts = ranks[rank];
    if (facts.visible_gpus == 0)
      throw ConfigError("rank " + std::to_string(rank) + " on " + facts.host + (built_with_cuda()
          ? " sees no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
          : " runs a build without CUDA: configure with -DTRIREME_CUDA=ON, or use --device cpu"));
    const auto same_node = [&](const RankFacts& other) { return other.node == facts.node; };
    const auto same_gpu = [&](const RankFacts& other) { return same_node(other) && other.gpu == facts.gpu; };
    const int on_node = int(std::count_if(ranks.begin(), ranks.end(), same_node));
    const int on_gpu = int(std::count_if(ranks.begin(), ranks.end(), same_gpu));
    if (on_gpu > 1)
      throw ConfigError("host " + facts.host + " has " + count_text(facts.visible_gpus, "visible GPU") + " for " +
                        count_text(on_node, "rank") + ": two ranks cannot share a GPU; use " +
                        std::to_string(facts.visible_gpus) + " ranks or fewer on each such host, or more hosts");
  }
}

}  // namespace

void settle_nodes(std::vector<RankFacts>& ranks) {
  const std::vector<RankFacts> found = ranks;
  for (RankFacts& facts : ranks) {
    const auto same_node = [&](const RankFacts& other) { return other.node == facts.node && other.host == facts.host; };
    facts.node = int(std::find_if(found.begin(), found.end(), same_node) - found.begin());
  }
}

int local_rank_of(const std::vector<RankFacts>& ranks, int rank) {
  const auto same_node = [&](const RankFacts& other) { return other.node == ranks[size_t(rank)].node; };
  return int(std::count_if(ranks.begin(), ranks.begin() + rank, same_node));
}

void check_membership(const std::vector<RankFacts>& ranks) {
  check_world(ranks);
  check_stages(ranks);
  if (ranks[0].on_cuda) check_gpus(ranks);
}

}  // namespace trireme
