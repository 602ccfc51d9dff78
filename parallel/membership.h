#pragma once
// Judges whether the ranks that came can be the cluster that was asked for. A pure function of facts that all
// ranks have exchanged, so every rank comes to the same verdict with the same words.

#include <string>
#include <vector>

namespace trireme {

struct RankFacts {
  int tp = 1, pp = 1;
  bool on_cuda = false;
  int expected_world = 0;        // what the launcher or Slurm said; 0: nothing
  std::string host;
  int node = 0;                  // lowest rank on the same node
  int visible_gpus = 0;
  std::string gpu;               // identity of the GPU this rank would take; empty: none or not known
  std::string nccl_host;         // NCCL_HOSTID: what NCCL takes for the host (one machine may play several); or empty
};

// Fills in `node` from what every rank found to be the lowest rank it shares memory with. Containers on one
// machine may share memory and yet be hosts of their own, so host names must agree too.
void settle_nodes(std::vector<RankFacts>& ranks);

int local_rank_of(const std::vector<RankFacts>& ranks, int rank);   // among the ranks of its node

// By rank. Throws ConfigError with the figure and the remedy.
void check_membership(const std::vector<RankFacts>& ranks);

}  // namespace trireme
