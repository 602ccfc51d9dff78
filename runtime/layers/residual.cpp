#include "runtime/layers/residual.h"

namespace trireme {

void Residual::add(TensorView x, const LinearWeight& weight, const ResidualAddition& addition) {
  const TensorView into = hidden();
  const Stream& stream = context_.stream;
  const bool has_norm = !addition.norm.weight.empty();
  if (context_.tp_group.size() == 1 && !has_norm)
    return linear_residual(into, x, weight, addition.bias, sum_, stream);
  linear(sum_, x, weight, TensorView(), stream);
  pending_form_ = has_norm ? std::nullopt : context_.peer_sums.form(sum_);
  if (!pending_form_) sum_over_group(sum_, context_.tp_group, context_.peer_sums, stream);
  if (has_norm) return add_norm_partial(into, sum_, addition.bias, addition.norm.weight, addition.norm.eps, stream);
  pending_ = true;
  pending_bias_ = addition.bias;
}

// Adds what is pending; normed = norm of the stream, unless the norm is empty.
void Residual::settle(TensorView normed, const InputNorm& norm) {
  const Stream& stream = context_.stream;
  if (pending_form_)
    fused_all_reduce(normed, hidden_, sum_, pending_bias_, norm, {*context_.peer_sums.buffers, *pending_form_}, stream);
  else if (norm.weight.empty())
    add_partial(hidden_, sum_, pending_bias_, stream);
  else
    add_rms_norm(normed, hidden_, sum_, pending_bias_, norm.weight, norm.eps, stream);
  pending_ = false;
}

LayerInput Residual::input(TensorView norm, float eps) {
  if (norm.empty()) return LayerInput(hidden());
  if (context_.tp_group.size() == 1) return LayerInput(hidden_, {norm, eps});
  const TensorView normed = context_.workspace.take(hidden_.dtype(), {hidden_.dim(0), hidden_.dim(1)});
  if (pending_)
    settle(normed, {norm, eps});
  else
    rms_norm(normed, hidden_, norm, eps, context_.stream);
  return LayerInput(normed);
}

TensorView Residual::hidden() {
  if (pending_) settle(TensorView(), {});
  return hidden_;
}

}  // namespace trireme
