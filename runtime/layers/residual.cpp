#include "runtime/layers/residual.h"

namespace trireme {

void Residual::add(TensorView x, const LinearWeight& weight, const ResidualAddition& addition) {
  const TensorView into = hidden();
  const Stream& stream = context_.stream;
  const bool has_norm = !addition.norm.weight.empty();
  if (context_.tp_group.size() == 1 && !has_norm)
    return linear_residual(into, x, weight, addition.bias, sum_, stream);
  if (x_chunks > 1) {
    pending_form_ = std::nullopt, pending_ = true, pending_addition_ = addition;
    const int before = x_sm_target;
    for (int c = 0; x_chunk_begin(tokens(), c) < tokens(); ++c) {
      const int64_t begin = x_chunk_begin(tokens(), c), end = x_chunk_begin(tokens(), c + 1);
      if (c > 0) x_sm_target = x_chunk_target;
      const TensorView out = sum_.slice(0, begin, end);
      linear(out, x.slice(0, begin, end), weight, TensorView(), stream);
      x_sm_target = before;
      context_.sum_stream->queue(c, stream, [&](const Stream& sums) {
        if (x_skip) return;
        if (x_library) return context_.tp_group.all_reduce_sum(out, sums);
        sum_over_group(out, context_.tp_group, context_.peer_sums, sums);
      });
    }
    return;
  }
  linear(sum_, x, weight, TensorView(), stream);
  pending_form_ = has_norm || context_.sum_stream || x_skip || x_library ? std::nullopt : context_.peer_sums.form(sum_);
  if (!pending_form_) sum_partials();
  pending_ = true;
  pending_addition_ = addition;
}

void Residual::sum_partials() {
  const auto sum = [this](const Stream& stream) {
    if (x_skip) return;
    if (x_library) return context_.tp_group.all_reduce_sum(sum_, stream);
    sum_over_group(sum_, context_.tp_group, context_.peer_sums, stream);
  };
  if (context_.sum_stream)
    context_.sum_stream->queue(context_.half, context_.stream, sum);
  else
    sum(context_.stream);
}

// Adds what is pending; normed = norm of the stream, unless the norm is empty.
void Residual::settle(TensorView normed, const InputNorm& norm) {
  const Stream& stream = context_.stream;
  const auto& [bias, own_norm] = pending_addition_;
  if (x_chunks > 1) {
    for (int c = 0; x_chunk_begin(tokens(), c) < tokens(); ++c) {
      const int64_t begin = x_chunk_begin(tokens(), c), end = x_chunk_begin(tokens(), c + 1);
      context_.sum_stream->join(c, stream);
      if (!own_norm.weight.empty()) {
        add_norm_partial(hidden_.slice(0, begin, end), sum_.slice(0, begin, end), bias, own_norm.weight, own_norm.eps, stream);
        if (!norm.weight.empty()) rms_norm(normed.slice(0, begin, end), hidden_.slice(0, begin, end), norm.weight, norm.eps, stream);
      } else if (norm.weight.empty())
        add_partial(hidden_.slice(0, begin, end), sum_.slice(0, begin, end), bias, stream);
      else
        add_rms_norm(normed.slice(0, begin, end), hidden_.slice(0, begin, end), sum_.slice(0, begin, end), bias, norm.weight, norm.eps, stream);
    }
    pending_ = false;
    return;
  }
  if (context_.sum_stream) context_.sum_stream->join(context_.half, stream);
  if (!own_norm.weight.empty()) {
    add_norm_partial(hidden_, sum_, bias, own_norm.weight, own_norm.eps, stream);
    if (!norm.weight.empty()) rms_norm(normed, hidden_, norm.weight, norm.eps, stream);
  } else if (pending_form_) {
    fused_all_reduce(normed, hidden_, sum_, bias, norm, {*context_.peer_sums.buffers, *pending_form_}, stream);
  } else if (norm.weight.empty()) {
    add_partial(hidden_, sum_, bias, stream);
  } else {
    add_rms_norm(normed, hidden_, sum_, bias, norm.weight, norm.eps, stream);
  }
  pending_ = false;
}

LayerInput Residual::input(TensorView norm, float eps) {
  if (norm.empty()) return LayerInput(hidden());
  if (context_.tp_group.size() == 1) return LayerInput(hidden(), {norm, eps});
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

std::vector<Residual> residuals_of(TensorView hidden, std::span<StepContext> parts) {
  std::vector<Residual> residuals;
  residuals.reserve(parts.size());
  for (StepContext& part : parts) residuals.emplace_back(part.rows_of(hidden), part);
  return residuals;
}

}  // namespace trireme
