#include "runtime/layers/residual.h"

namespace trireme {

void Residual::add(TensorView x, const LinearWeight& weight, const ResidualAddition& addition) {
  const TensorView into = hidden();
  const Stream& stream = context_.stream;
  const bool has_norm = !addition.norm.weight.empty();
  if (context_.tp_group.size() == 1 && !has_norm)
    return linear_residual(into, x, weight, addition.bias, sum_, stream);
  linear(sum_, x, weight, TensorView(), stream);
  context_.tp_group.all_reduce_sum(sum_, stream);
  if (has_norm) return add_norm_partial(into, sum_, addition.bias, addition.norm.weight, addition.norm.eps, stream);
  pending_ = true;
  pending_bias_ = addition.bias;
}

LayerInput Residual::input(TensorView norm, float eps) {
  if (norm.empty()) return LayerInput(hidden());
  if (context_.tp_group.size() == 1) return LayerInput(hidden_, {norm, eps});
  const TensorView normed = context_.workspace.take(hidden_.dtype(), {hidden_.dim(0), hidden_.dim(1)});
  if (pending_)
    add_rms_norm(normed, hidden_, sum_, pending_bias_, norm, eps, context_.stream);
  else
    rms_norm(normed, hidden_, norm, eps, context_.stream);
  pending_ = false;
  return LayerInput(normed);
}

TensorView Residual::hidden() {
  if (pending_) add_partial(hidden_, sum_, pending_bias_, context_.stream);
  pending_ = false;
  return hidden_;
}

}  // namespace trireme
