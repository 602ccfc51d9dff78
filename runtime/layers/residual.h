#pragma once
// The residual stream of one stage's layers. Row-parallel layers add into it; the next sublayer reads it, through a
// norm. Both ends are joined with the linear layers they stand at: on one rank inside those layers, on several ranks, where
// a sum over the group lies between, with each other, and with that sum where it goes through the peers' memory.

#include "base/backend_traits.h"
#include "kernels/fused_all_reduce.h"
#include "kernels/norm.h"
#include "runtime/step_context.h"

namespace trireme {

// What a column-parallel layer reads: x, or rms_norm(x) where the norm is not empty.
struct LayerInput {
  LayerInput(TensorView input, InputNorm input_norm = {}) : x(input), norm(input_norm) {}
  TensorView x;    // [T, features]
  InputNorm norm;  // still to be applied
};

// What a row-parallel layer adds. Views may be empty.
struct ResidualAddition {
  TensorView bias;  // activation dtype, added once after the sum over ranks
  InputNorm norm;   // the sum and bias go through it first (Gemma 2)
};

class Residual {
 public:
  // hidden: [T, hidden_size], equal on every rank of the TP group. Takes [T, hidden_size] of the partial dtype from the
  // workspace, which its user's scope gives back.
  Residual(TensorView hidden, StepContext& context)
      : hidden_(hidden), context_(context), sum_(context.workspace.take(partial_dtype(context.device),
                                                                       {hidden.dim(0), hidden.dim(1)})) {}

  int64_t tokens() const { return hidden_.dim(0); }

  // hidden += [norm of] (sum over ranks of x weight^T (+ bias)).
  void add(TensorView x, const LinearWeight& weight, const ResidualAddition& addition);

  // For the next sublayer; what it holds on several ranks is taken from the workspace.
  LayerInput input(TensorView norm, float eps);

  // The stream, with everything added.
  TensorView hidden();

 private:
  void settle(TensorView normed, const InputNorm& norm);

  TensorView hidden_;
  StepContext& context_;
  TensorView sum_;           // scratch, or what is still to be added
  bool pending_ = false;     // sum_ and pending_bias_ are not in hidden_ yet
  TensorView pending_bias_;
  std::optional<AllReduceForm> pending_form_;  // and sum_ is still this rank's share
};

}  // namespace trireme
