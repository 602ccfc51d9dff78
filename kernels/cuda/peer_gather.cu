// A block sends all that is its before it waits for anything, and all blocks run at once (grid <= multiprocessors).

#include "kernels/peer_gather.h"

#include <algorithm>

#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/peer_areas.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/common/workspace.h"

namespace trireme::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kLeastBlocks = 16;  // the call before may have left a whole area to be zeroed
constexpr int kPayloadWords = 3, kMessageBytes = 16;

struct GatherArgs : PeerAreas {
  uint32_t* out;
  const uint32_t* in;
  int64_t words, payloads;  // of a rank; the last payload may be filled up

  __device__ Payload own(int64_t payload) const {
    Payload p{};
    for (int i = 0; i < kPayloadWords; ++i)
      if (payload * kPayloadWords + i < words) p.words[i] = in[payload * kPayloadWords + i];
    return p;
  }
  __device__ void put(int from, int64_t payload, const Payload& p) const {
    for (int i = 0; i < kPayloadWords; ++i)
      if (payload * kPayloadWords + i < words) out[from * words + payload * kPayloadWords + i] = p.words[i];
  }
  __device__ std::byte* place(int from, int to, uint32_t epoch, int64_t payload) const {
    return area(to, epoch) + (slot(from, to) * payloads + payload) * kMessageBytes;
  }
};

__global__ __launch_bounds__(kThreads) void peer_gather_kernel(const __grid_constant__ GatherArgs args) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const PeerCall call(args);
  const int64_t first = int64_t(blockIdx.x) * kThreads + threadIdx.x, step = int64_t(gridDim.x) * kThreads;
  for (int64_t p = first; p < args.payloads; p += step) {
    const Payload own = args.own(p);
    for (int to = 0; to < args.size; ++to)
      if (to != args.rank) send(args.place(args.rank, to, call.epoch, p), as_message(own));
    args.put(args.rank, p, own);
  }
  clear_previous(args, call);
  for (int64_t p = first; p < args.payloads; p += step)
    for (int from = 0; from < args.size; ++from)
      if (from != args.rank) args.put(from, p, receive(args, call, args.place(from, args.rank, call.epoch, p), from));
  end_call(args, call);
}

}  // namespace

int64_t peer_gather_bytes(const PeerBuffers& peers) {
  if (peers.size < 2 || peers.size > kMaxPeers) return 0;
  return peers.area_bytes / (peers.size - 1) / kMessageBytes * int64_t(sizeof(Payload));
}

void peer_all_gather(TensorView out, TensorView in, const PeerBuffers& peers, const Stream& stream) {
  GatherArgs args{};
  args.out = static_cast<uint32_t*>(out.data());
  args.in = static_cast<const uint32_t*>(in.data());
  args.words = in.dim(0) / int64_t(sizeof(uint32_t));
  args.payloads = ceil_div(args.words, kPayloadWords);
  set_areas(args, peers, (peers.size - 1) * args.payloads * kMessageBytes);
  CHECK(is_aligned(args.in, sizeof(uint32_t)) && is_aligned(args.out, sizeof(uint32_t)))
      << "peer_all_gather: alignment";
  const int most = blocks_at_once(peers, multiprocessor_count(stream.device()), false);
  const int64_t blocks = std::min<int64_t>(std::max(ceil_div(args.payloads, kThreads), kLeastBlocks), most);
  launch_dependent(peer_gather_kernel, dim3(grid_size(blocks)), dim3(kThreads), 0, stream, args);
}

}  // namespace trireme::cuda
