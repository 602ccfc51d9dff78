#pragma once
// Scratch memory of one step: a fixed piece of device memory handed out front to back and taken back by
// scope. Addresses depend only on the order of requests, never on time, so a captured graph finds them again.
// One thread only.

#include "base/tensor.h"

namespace trireme {

class Workspace {
 public:
  Workspace(Device device, int64_t bytes) : memory_(DType::u8, {bytes}, device) {}

  // 256-byte aligned; contents undefined.
  TensorView take(DType dtype, std::initializer_list<int64_t> dims) {
    TensorView view(static_cast<char*>(memory_.data()) + used_, dtype, dims, memory_.view().device());
    used_ += (view.bytes() + 255) / 256 * 256;
    CHECK_LE(used_, memory_.dim(0)) << "step workspace too small for" << view.shape_text();
    return view;
  }
  int64_t mark() const { return used_; }
  void release_to(int64_t mark) { used_ = mark; }

 private:
  Tensor memory_;
  int64_t used_ = 0;
};

// Gives back at the end of a scope what was taken in it.
class WorkspaceScope {
 public:
  explicit WorkspaceScope(Workspace& workspace) : workspace_(workspace), mark_(workspace.mark()) {}
  ~WorkspaceScope() { workspace_.release_to(mark_); }
  WorkspaceScope(const WorkspaceScope&) = delete;

 private:
  Workspace& workspace_;
  int64_t mark_;
};

}  // namespace trireme
