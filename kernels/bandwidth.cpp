#include "kernels/bandwidth.h"

#include "kernels/backend.h"

namespace trireme {
namespace cpu { void read_bandwidth(double* bytes_per_second); }
namespace cuda { void read_bandwidth(double* bytes_per_second); }

double measure_read_bandwidth(Device device) {
  double rate = 0;
  set_current_device(device);
  BACKEND(device, read_bandwidth(&rate));
  return rate;
}

}  // namespace trireme
