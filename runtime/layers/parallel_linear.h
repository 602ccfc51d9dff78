#pragma once
// Linear layers cut over the TP group. Column-parallel: this rank makes some of the output features.
// Row-parallel: this rank sums over some of the input features, then the group adds up.

#include "base/backend_traits.h"
#include "kernels/elementwise.h"
#include "kernels/fused_linear.h"
#include "runtime/layers/residual.h"
#include "runtime/step_context.h"

namespace trireme {

// Work space for an input's norm, should it have one.
inline TensorView take_normed(const LayerInput& input, StepContext& context) {
  if (input.norm.weight.empty()) return TensorView();
  return context.workspace.take(input.x.dtype(), {input.x.dim(0), input.x.dim(1)});
}

struct ColumnParallelLinear {
  LinearWeight weight;
  Tensor bias;  // this rank's, activation dtype; may be empty

  // [T, this rank's output features], from the workspace.
  TensorView forward(const LayerInput& input, StepContext& context) const {
    const TensorView out =
        context.workspace.take(activation_dtype(context.device), {input.x.dim(0), weight.out_features});
    WorkspaceScope scope(context.workspace);
    norm_linear(out, input.x, input.norm, weight, bias, take_normed(input, context), context.stream);
    return out;
  }
};

struct RowParallelLinear {
  LinearWeight weight;
  Tensor bias;  // whole, added once after the sum; may be empty
  Tensor norm;  // [out] f32: what is added to hidden goes through this RMSNorm first (Gemma 2); may be empty
  float norm_eps = 0;

  // residual += [norm of] (sum over ranks of x * weight^T (+ bias)).
  void add_into(Residual& residual, TensorView x) const { residual.add(x, weight, {bias, {norm, norm_eps}}); }
};

}  // namespace trireme
