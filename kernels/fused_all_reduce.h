#pragma once
// Sums over the ranks of a group through memory that they write into each other's (base/peer_buffers.h), with what
// follows in a decoder. All ranks make the same calls with the same shapes, forms and replicated values.
//
// The partial sums are added in rank order, wider than they are stored (cuda float32, cpu float64) and rounded once, so
// every rank gets the same bits, and so does every form.
// cuda: a word of zero in an area has not come yet, so a pair of zeros travels as (0, -0): no flag and no fence stands
// between data and reader (the sentinel idea of Lamport's buffers). An area is zeroed by the call after its own and
// written again by the second after: a rank that far ahead has had data of this rank's call in between.
// one_shot: every rank sends its partials to all. two_shot: each rank sums an equal share of the rows and sends the
// results to all: less traffic from three ranks on, and one more trip. two_shot_dense: the same with two blocks on every
// processor, for many rows.
// More rows than an area takes are summed piece by piece.
// cpu: ranks are threads of one process (tests); all forms are one.

#include "base/peer_buffers.h"
#include "kernels/fused_linear.h"

namespace trireme {

enum class AllReduceForm : uint8_t { one_shot, two_shot, two_shot_dense };

struct PeerSum {
  const PeerBuffers& buffers;
  AllReduceForm form = AllReduceForm::one_shot;
};

// Rows of that many columns that an area takes at once; 0: such rows cannot be summed so (cuda: they are not whole
// vectors of 16 bytes, or too long).
int64_t all_reduce_rows(const PeerSum& sum, int64_t cols, Device device);

// hidden += sum over ranks of partial (+ bias); then, where norm.weight is not empty, normed = rms_norm(hidden).
// hidden: [T, cols] activation dtype, the same on all ranks; partial: [T, cols] partial dtype; bias: [cols] activation
// dtype or empty; normed: like hidden, empty without a norm. Rows may be strided.
void fused_all_reduce(TensorView normed, TensorView hidden, TensorView partial, TensorView bias, const InputNorm& norm,
                      const PeerSum& sum, const Stream& stream);

// data <- sum over ranks of data.   data: [T, cols] partial dtype, rows may be strided.
void peer_all_reduce(TensorView data, const PeerSum& sum, const Stream& stream);

}  // namespace trireme
