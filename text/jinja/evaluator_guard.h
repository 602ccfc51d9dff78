#pragma once
// Counts nested evaluation: the bound of the stack.

#include "text/jinja/evaluator.h"

namespace trireme::jinja {

class Evaluator::DepthGuard {
 public:
  explicit DepthGuard(Evaluator& evaluator) : evaluator_(evaluator) {
    if (++evaluator_.depth_ > kMaxDepth) {
      --evaluator_.depth_;
      fail("is nested too deep at run time (" + std::to_string(kMaxDepth) + " levels)");
    }
  }
  ~DepthGuard() { --evaluator_.depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  Evaluator& evaluator_;
};

}  // namespace trireme::jinja
