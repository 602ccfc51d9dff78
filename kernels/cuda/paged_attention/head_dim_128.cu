#include "kernels/cuda/paged_attention/launch.cuh"

namespace trireme::cuda {
template void launch_attention<128>(const AttentionArgs&, int, int64_t, const Stream&);
}
