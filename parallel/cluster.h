#pragma once
// Start of MPI, and the channels of one rank. MPI is initialized with MPI_THREAD_FUNNELED; every member is
// used by that one thread (the worker's) only.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/peer_buffers.h"
#include "parallel/communicator.h"
#include "parallel/control_channel.h"
#include "parallel/topology.h"

namespace trireme {

struct ClusterOptions {
  int tp = 1, pp = 1;
  DeviceKind device = DeviceKind::cpu;
  int expected_world = 0;       // from the launcher's environment (SLURM_NTASKS, TRIREME_WORLD); 0: do not check
  bool peer_memory = true;      // GPUs of a TP group write into each other's memory where they can
};

// Owns MPI between construction and destruction (or borrows a running one, as tests do).
class Cluster {
 public:
  // Throws ConfigError (wrong world size, srun without PMIx, too few GPUs, TP leaving a node) with one clear
  // message, the same on every rank. device index = local rank (on this node) modulo visible GPUs.
  explicit Cluster(const ClusterOptions& options);
  ~Cluster();
  Cluster(const Cluster&) = delete;

  const Topology& topology() const;
  Device device() const;
  int local_rank() const;                      // on this node
  int num_nodes() const;
  const std::vector<std::string>& hosts() const;  // by rank

  Communicator& tp_group();                    // this stage's ranks, by tp_rank
  const PeerBuffers* tp_peers() const;         // the same ranks; null where their memory is not shared, on all of them
  // Activations, between this rank and the same tp_rank of the neighbouring stages: groups of two, 0 the earlier
  // stage and 1 the later (of one where there is no such stage). Every boundary has its own communicator: operations of
  // one run one after the other, and a stage receives its next input while it sends its last output.
  Communicator& from_previous_stage();
  Communicator& to_next_stage();
  // Drawn ids, from the last stage to the earlier ones: this rank's tp_rank across the stages, rank = stage.
  Communicator& pipeline_feedback();
  ControlChannel& control();

  // Called from inside every wait of the CPU communicators and of the functions below (Communicator's IdleHook).
  void set_idle_hook(IdleHook hook);
  void check_health();                         // of all groups; throws InternalError, never waits

  // Small host values at start-up (not on the step path).
  int64_t all_minimum(int64_t value);
  std::vector<std::byte> broadcast_bytes(std::vector<std::byte> bytes, int root = 0);
  std::vector<std::string> gather_text(const std::string& text);   // on rank 0; empty elsewhere
  void barrier();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme
