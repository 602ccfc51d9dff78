#pragma once
// The one place that chooses a back end for a group of ranks.

#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "parallel/control_channel.h"
#include "parallel/mpi_group.h"

namespace trireme {

enum class GroupUse { collectives, pipeline };   // pipeline: also send and recv, connected at the start

// All ranks of the group call it together. A group of one is local and keeps nothing of MPI.
// `idle` must outlive the communicator.
std::unique_ptr<Communicator> make_communicator(MpiGroup group, Device device, GroupUse use, const IdleHook& idle);
std::unique_ptr<Communicator> make_mpi_communicator(MpiGroup group, const IdleHook& idle);
std::unique_ptr<Communicator> make_nccl_communicator(const MpiGroup& group, Device device, GroupUse use);

// Group rank 0 broadcasts, the others acknowledge. `idle` is called only at the bound of pending sends.
std::unique_ptr<ControlChannel> make_control_channel(MpiGroup group);

std::string gpu_identity(int index);             // one GPU (or MIG instance) of this host; "" without CUDA

}  // namespace trireme
