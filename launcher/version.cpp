#include "launcher/version.h"

#include "generated/version.h"
#include "parallel/versions.h"

namespace trireme {

std::string version_text() {
  const std::string architectures = TRIREME_CUDA_ARCHS;
  return std::string("trireme " TRIREME_VERSION "\n") + "commit  " TRIREME_COMMIT " (" TRIREME_BUILD_TYPE ")\n" +
         "CUDA    " + cuda_version_text() + (architectures.empty() ? "" : " (GPU architectures " + architectures + ")") + "\n" +
         "NCCL    " + nccl_version_text() + "\n" + "MPI     " + mpi_version_text() + "\n";
}

std::string short_version() { return TRIREME_VERSION; }

}  // namespace trireme
