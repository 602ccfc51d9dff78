#include "runtime/launch_window.h"

#include <gtest/gtest.h>

#include "base/tensor.h"

namespace trireme {
namespace {

class LaunchWindowTest : public testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DeviceKind::cuda && cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    set_current_device({GetParam(), 0});
  }
};

// Many steps of a depth that groups do not divide: every one ends, and the work is done.
TEST_P(LaunchWindowTest, LetsAllLayersPassInOrder) {
  const Device device{GetParam(), 0};
  const Stream stream(device);
  LaunchWindow window(device);
  Tensor memory(DType::u8, {int64_t(4) << 20}, device);
  Event last(device);
  for (int step = 0; step < 8; ++step)
    for (int64_t layer = 0; layer < 30; ++layer) {
      fill_zero_async(memory.data(), size_t(memory.view().bytes()), device, stream);
      window.end_layer(layer, stream);
      last.record(stream);
    }
  stream.synchronize();
  EXPECT_TRUE(last.done());
}

INSTANTIATE_TEST_SUITE_P(Cpu, LaunchWindowTest, testing::Values(DeviceKind::cpu));
INSTANTIATE_TEST_SUITE_P(Cuda, LaunchWindowTest, testing::Values(DeviceKind::cuda));

}  // namespace
}  // namespace trireme
