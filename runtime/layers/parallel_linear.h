#pragma once
// Linear layers cut over the TP group. Column-parallel: this rank makes some of the output features.
// Row-parallel: this rank sums over some of the input features, then the group adds up.

#include "base/backend_traits.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "runtime/step_context.h"

namespace trireme {

struct ColumnParallelLinear {
  LinearWeight weight;
  Tensor bias;  // this rank's, activation dtype; may be empty

  // [T, this rank's output features], from the workspace.
  TensorView forward(TensorView x, StepContext& context) const {
    TensorView out = context.workspace.take(activation_dtype(context.device), {x.dim(0), weight.out_features});
    linear(out, x, weight, bias, context.stream);
    return out;
  }
};

struct RowParallelLinear {
  LinearWeight weight;
  Tensor bias;  // whole, added once after the sum; may be empty
  Tensor norm;  // [out] f32: what is added to hidden goes through this RMSNorm first (Gemma 2); may be empty
  float norm_eps = 0;

  // hidden += [norm of] (sum over ranks of x * weight^T (+ bias)).   hidden: [T, out] whole and equal on every rank.
  void add_into(TensorView hidden, TensorView x, StepContext& context) const {
    WorkspaceScope scope(context.workspace);
    TensorView sum = context.workspace.take(partial_dtype(context.device), {x.dim(0), weight.out_features});
    linear(sum, x, weight, TensorView(), context.stream);
    context.tp_group.all_reduce_sum(sum, context.stream);
    if (norm)
      add_norm_partial(hidden, sum, bias, norm, norm_eps, context.stream);
    else
      add_partial(hidden, sum, bias, context.stream);
  }
};

}  // namespace trireme
