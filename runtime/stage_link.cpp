#include "runtime/stage_link.h"

#include <vector>

namespace trireme {
namespace {

constexpr int kEarlier = 0, kLater = 1;

void copy(TensorView out, TensorView in, const Stream& stream) {
  copy_async(out.data(), in.data(), size_t(in.bytes()), in.device(), stream);
}

}  // namespace

StageLink::Buffer::Buffer(TensorView like)
    : data(like.dtype(), {like.dim(0), like.dim(1)}, like.device()),
      stream(like.device(), StreamPriority::urgent),
      filled(like.device()),
      emptied(like.device()) {}

StageLink::StageLink(Communicator& previous, Communicator& next, TensorView hidden)
    : previous_(previous), next_(next), hidden_(hidden) {
  if (hidden.device().is_cpu()) return;
  if (previous.size() > 1) in_.emplace(hidden);
  if (next.size() > 1) out_.emplace(hidden);
}

void StageLink::receive(int64_t tokens, const Stream& compute) {
  const TensorView rows = hidden_.slice(0, 0, tokens);
  if (!in_) return previous_.recv(rows, kEarlier, compute);
  const TensorView arriving = in_->data.view().slice(0, 0, tokens);
  in_->emptied.wait_on(in_->stream);
  previous_.recv(arriving, kEarlier, in_->stream);
  in_->filled.record(in_->stream);
  in_->filled.wait_on(compute);
  copy(rows, arriving, compute);
  in_->emptied.record(compute);
}

void StageLink::send(int64_t tokens, const Stream& compute) {
  const TensorView rows = hidden_.slice(0, 0, tokens);
  if (!out_) return next_.send(rows, kLater, compute);
  const TensorView leaving = out_->data.view().slice(0, 0, tokens);
  out_->emptied.wait_on(compute);
  copy(leaving, rows, compute);
  out_->filled.record(compute);
  out_->filled.wait_on(out_->stream);
  next_.send(leaving, kLater, out_->stream);
  out_->emptied.record(out_->stream);
}

}  // namespace trireme
