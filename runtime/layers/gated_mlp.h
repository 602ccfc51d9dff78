#pragma once
// down(activation(gate(x)) * up(x)), added into the residual stream. This rank has some of the inner features.

#include "runtime/layers/parallel_linear.h"

namespace trireme {

struct GatedMlp {
  ColumnParallelLinear gate_up;  // rows: gate, up
  RowParallelLinear down;
  Activation activation = Activation::silu;

  // residual += mlp(input).   input: [T, hidden].
  void add_into(Residual& residual, const LayerInput& input, StepContext& context) const {
    WorkspaceScope scope(context.workspace);
    down.add_into(residual, inner(input, context));
  }

 private:
  // activation(gate) * up: [T, this rank's inner features], from the workspace.
  TensorView inner(const LayerInput& input, StepContext& context) const {
    const DType dtype = activation_dtype(context.device);
    const int64_t tokens = input.x.dim(0), features = gate_up.weight.out_features;
    const TensorView out = context.workspace.take(dtype, {tokens, features / 2});
    WorkspaceScope scope(context.workspace);
    const GatedScratch scratch{take_normed(input, context), context.workspace.take(dtype, {tokens, features})};
    norm_gated_linear(out, input.x, input.norm, gate_up.weight, gate_up.bias, activation, scratch, context.stream);
    return out;
  }
};

}  // namespace trireme
