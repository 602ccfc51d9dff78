#pragma once
// Test bodies written once, run on every back end. A suite derives from BackendTest and ends its file with
// INSTANTIATE_BACKENDS(Suite); without a GPU the CUDA half is skipped with a message.

#include <gtest/gtest.h>

#include "base/backend_traits.h"
#include "base/device.h"
#include "base/stream.h"

namespace trireme::test {

class BackendTest : public testing::TestWithParam<Device> {
 public:
  Device device() const { return GetParam(); }
  DType activation() const { return activation_dtype(device()); }
  DType partial() const { return partial_dtype(device()); }
  const Stream& stream() const { return *stream_; }
  // Of results of order one: float32, or bfloat16 with its 8 bits.
  double tolerance() const { return device().is_cpu() ? 1e-5 : 4e-2; }

 protected:
  void SetUp() override {
    if (device().is_cuda() && cuda_device_count() == 0) GTEST_SKIP() << "no GPU here (or a build without CUDA)";
    set_current_device(device());
    stream_ = std::make_unique<Stream>(device());
  }

 private:
  std::unique_ptr<Stream> stream_;
};

}  // namespace trireme::test

#define INSTANTIATE_BACKENDS(Suite)                                                                        \
  INSTANTIATE_TEST_SUITE_P(Cpu, Suite, testing::Values(::trireme::Device{::trireme::DeviceKind::cpu, 0})); \
  INSTANTIATE_TEST_SUITE_P(Cuda, Suite, testing::Values(::trireme::Device{::trireme::DeviceKind::cuda, 0}))
