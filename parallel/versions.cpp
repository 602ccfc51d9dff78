#include "parallel/versions.h"

#include <mpi.h>

namespace trireme {

std::string mpi_version_text() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  const std::string whole(text, size_t(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

}  // namespace trireme
