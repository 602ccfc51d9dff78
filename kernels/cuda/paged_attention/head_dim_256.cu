#include "kernels/cuda/paged_attention/kernel.cuh"

namespace trireme::cuda {
template void launch_attention<256>(const AttentionArgs&, const Stream&);
}
