#include "kernels/cuda/paged_attention/kernel.cuh"

namespace trireme::cuda {
template void launch_attention<64>(const AttentionArgs&, const Stream&);
}
