#pragma once
// Every rank's bytes to all ranks of a group through memory that they write into each other's (base/peer_buffers.h):
// for the small pieces that sampling exchanges, where a library's all-gather takes longer than the wire. All ranks make
// the same calls with the same sizes, in one order with their sums (kernels/fused_all_reduce.h).
//
// cuda: any bits travel: three words and a fourth, never zero, that says which of them are (peer_messages.cuh). Where a
// wait ran out the group's status is set, and what others sent reads as zeros from then on.
// cpu: ranks are threads of one process (tests).

#include "base/peer_buffers.h"
#include "base/stream.h"
#include "base/tensor.h"

namespace trireme {

// Bytes of a rank that a call takes at most.
int64_t peer_gather_bytes(const PeerBuffers& peers, Device device);

// out[r, :] = rank r's in.   in: [bytes] u8, bytes a multiple of 4 and at most peer_gather_bytes(); out: [ranks, bytes]
void peer_all_gather(TensorView out, TensorView in, const PeerBuffers& peers, const Stream& stream);

}  // namespace trireme
