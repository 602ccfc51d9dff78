#include "launcher/version.h"

#include "base/device.h"
#include "generated/version.h"
#include "parallel/versions.h"

#if TRIREME_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace trireme {
namespace {

std::string cuda_text() {
#if TRIREME_WITH_CUDA
  return std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) +
         " (GPU architectures " TRIREME_CUDA_ARCHS ")";
#else
  return "none: this build has the CPU back end only";
#endif
}

}  // namespace

std::string version_text() {
  return std::string("trireme " TRIREME_VERSION "\n") + "commit  " TRIREME_COMMIT " (" TRIREME_BUILD_TYPE ")\n" +
         "CUDA    " + cuda_text() + "\n" + "NCCL    " + nccl_version_text() + "\n" + "MPI     " + mpi_version_text() +
         "\n";
}

}  // namespace trireme
