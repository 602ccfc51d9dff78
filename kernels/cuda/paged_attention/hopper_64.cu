#include "kernels/cuda/paged_attention/launch_hopper.cuh"

namespace trireme::cuda {
template void launch_hopper_prefill<64>(const AttentionArgs&, int64_t, const Stream&);
}
