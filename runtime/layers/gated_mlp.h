#pragma once
// down(activation(gate(x)) * up(x)), added into the residual stream. This rank has some of the inner features.

#include "runtime/layers/parallel_linear.h"

namespace trireme {

enum class Activation { silu, gelu_tanh };

struct GatedMlp {
  ColumnParallelLinear gate_up;  // rows: gate, up
  RowParallelLinear down;
  Activation activation = Activation::silu;

  // hidden += mlp(x).   x: [T, hidden] (normalized).
  void add_into(TensorView hidden, TensorView x, StepContext& context) const {
    WorkspaceScope scope(context.workspace);
    const TensorView fused = gate_up.forward(x, context);
    const TensorView inner = context.workspace.take(fused.dtype(), {fused.dim(0), fused.dim(1) / 2});
    if (activation == Activation::silu)
      silu_mul(inner, fused, context.stream);
    else
      gelu_mul(inner, fused, context.stream);
    down.add_into(hidden, inner, context);
  }
};

}  // namespace trireme
