#include "runtime/replica_check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "parallel/cluster.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

class ReplicaCheckTest : public ::testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DeviceKind::cuda && cuda_device_count() < world_size()) GTEST_SKIP() << "fewer GPUs than ranks";
  }
};

TEST_P(ReplicaCheckTest, FindsTheFirstDifference) {
  Cluster cluster({.tp = world_size(), .pp = 1, .device = GetParam()});
  const Stream stream(cluster.device());
  ReplicaCheck check(cluster.tp_group());
  for (const int64_t count : {5, 1000, 30}) {
    std::vector<float> values(static_cast<size_t>(count), 1.5f);
    const Tensor data(DType::f32, {count}, cluster.device());
    const auto upload = [&] {
      copy_async(data.data(), values.data(), values.size() * 4, cluster.device(), stream);
      stream.synchronize();
    };
    upload();
    EXPECT_NO_THROW(check.check("values", data, stream));
    if (world_size() == 1) continue;
    if (world_rank() == world_size() - 1) values[3] = -1.5f;  // its highest byte differs
    upload();
    try {
      check.check("values", data, stream);
      ADD_FAILURE() << "nothing was found";
    } catch (const InternalError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("values"), std::string::npos) << text;
      EXPECT_NE(text.find("from byte 15"), std::string::npos) << text;
      EXPECT_NE(text.find("rank " + std::to_string(world_size() - 1)), std::string::npos) << text;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, ReplicaCheckTest, ::testing::Values(DeviceKind::cpu));
INSTANTIATE_TEST_SUITE_P(Cuda, ReplicaCheckTest, ::testing::Values(DeviceKind::cuda));

}  // namespace
}  // namespace trireme::test
