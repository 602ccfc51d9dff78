#include "parallel/make_communicator.h"

#include "parallel/versions.h"

namespace trireme {

std::unique_ptr<Communicator> make_communicator(MpiGroup group, Device device, GroupUse use, const IdleHook& idle) {
  if (group.size() == 1) return make_local_communicator(device);
  if (device.is_cpu()) return make_mpi_communicator(std::move(group), idle);
  return make_nccl_communicator(group, device, use);
}

#if !TRIREME_WITH_CUDA
std::unique_ptr<Communicator> make_nccl_communicator(const MpiGroup&, Device device, GroupUse) {
  CHECK(false) << "this build has no CUDA, so none for" << to_string(device);
}
std::string gpu_identity(int) { return ""; }
std::string nccl_version_text() { return "none (built without CUDA)"; }
std::string cuda_version_text() { return "none (built without CUDA)"; }
#endif

}  // namespace trireme
