#include "kernels/peer_gather.h"

#include "kernels/backend.h"

namespace trireme {

namespace cpu {
int64_t peer_gather_bytes(const PeerBuffers& peers);
void peer_all_gather(TensorView out, TensorView in, const PeerBuffers& peers, const Stream& stream);
}  // namespace cpu
namespace cuda {
int64_t peer_gather_bytes(const PeerBuffers& peers);
void peer_all_gather(TensorView out, TensorView in, const PeerBuffers& peers, const Stream& stream);
}  // namespace cuda

int64_t peer_gather_bytes(const PeerBuffers& peers, Device device) { BACKEND_RETURN(device, peer_gather_bytes(peers)); }

void peer_all_gather(TensorView out, TensorView in, const PeerBuffers& peers, const Stream& stream) {
  constexpr const char* kOp = "peer_all_gather";
  CHECK(in.rank() == 1 && in.dtype() == DType::u8 && in.contiguous()) << kOp << in.shape_text();
  CHECK(out.rank() == 2 && out.dtype() == DType::u8 && out.contiguous()) << kOp << out.shape_text();
  CHECK(out.dim(0) == peers.size && out.dim(1) == in.dim(0)) << kOp << out.shape_text() << "from" << in.shape_text();
  CHECK(in.dim(0) % 4 == 0) << kOp << ": whole words only, not" << in.dim(0) << "bytes";
  if (in.empty()) return;
  CHECK_LE(in.dim(0), peer_gather_bytes(peers, in.device())) << kOp << ": bytes";
  BACKEND(in.device(), peer_all_gather(out, in, peers, stream));
}

}  // namespace trireme
