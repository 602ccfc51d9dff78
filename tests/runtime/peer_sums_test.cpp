#include "runtime/peer_sums.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "base/half.h"
#include "tests/support/ranks.h"

namespace trireme::test {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// bytes, one shot, two shots, dense, library
using Times = std::vector<AllReduceTime>;

TEST(AllReduceLimits, EachFormServesTheSizesAtWhichItIsFastest) {
  const Times times = {{1000, 4, 7, kNever, 12},   {2000, 5, 8, kNever, 12},    {4000, 9, 8, 9, 13},
                       {8000, 20, 12, 13, 14},     {16000, kNever, 22, 20, 24}, {32000, kNever, 44, 40, 39},
                       {64000, kNever, 88, 80, 70}};
  EXPECT_EQ(limits_of(times), (AllReduceLimits{2000, 8000, 32000}));
}

TEST(AllReduceLimits, ASlowMachineUsesTheLibrary) {
  EXPECT_EQ(limits_of(Times{{1000, 40, 70, 80, 12}, {2000, kNever, kNever, kNever, 12}}), AllReduceLimits{});
  EXPECT_EQ(limits_of({}), AllReduceLimits{});
}

TEST(AllReduceLimits, AFormMayNeverPay) {
  const Times times = {{1000, 4, 7, 8, 12}, {2000, 8, 9, 9, 13}, {4000, 16, 17, 17, 15}};
  EXPECT_EQ(limits_of(times), (AllReduceLimits{2000, 2000, 2000}));
  EXPECT_EQ(limits_of(Times{{1000, 4, 7, 8, 12}, {2000, 8, 9, 7, 13}, {4000, 16, 17, 12, 11}}),
            (AllReduceLimits{1000, 1000, 2000}));
}

TEST(AllReduceLimits, WhatIsTheFastestToTheEndHasNoLimit) {
  constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  const Times times = {{1000, 4, 7, 7, 12}, {2000, 8, 7, 7, 13}, {4000, 16, 9, 9, 15}};
  EXPECT_EQ(limits_of(times), (AllReduceLimits{1000, kNoLimit, kNoLimit}));
  EXPECT_EQ(limits_of(Times{{1000, 4, 7, 8, 12}}), (AllReduceLimits{kNoLimit, kNoLimit, kNoLimit}));
}

TEST(PeerSums, WithoutMemoryAllGoesThroughTheCommunicator) {
  Cluster cluster({.tp = world_size(), .pp = 1, .device = DeviceKind::cpu});
  const PeerSums sums = prepare_peer_sums(cluster, 64, 32, /*gathers=*/true);
  EXPECT_EQ(sums.buffers, nullptr);
  EXPECT_EQ(sums.status(), 0);
  const Stream stream(kCpu);
  const Tensor data(DType::f64, {3, 64}, kCpu);
  EXPECT_FALSE(sums.form(data));
  for (int64_t i = 0; i < 3 * 64; ++i) data.as<double>()[i] = double(i + world_rank());
  sum_over_group(data, cluster.tp_group(), sums, stream);
  const double of_ranks = double(world_size() * (world_size() - 1) / 2);
  for (int64_t i = 0; i < 3 * 64; ++i) ASSERT_EQ(data.as<double>()[i], double(i * world_size()) + of_ranks);
}

class PeerSumsCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    const int gpus = std::getenv("TRIREME_SHARE_GPUS") && cuda_device_count() > 0 ? world_size() : cuda_device_count();
    if (gpus < world_size()) GTEST_SKIP() << "needs " << world_size() << " GPUs, this host has " << cuda_device_count();
  }
};

TEST_F(PeerSumsCuda, EverySizeIsSummedWhicheverWay) {
  Cluster cluster({.tp = world_size(), .pp = 1, .device = DeviceKind::cuda});
  PeerSums sums = prepare_peer_sums(cluster, 576, 512, /*gathers=*/true);
  if (!sums.buffers) GTEST_SKIP() << "no shared memory among these ranks";
  const Stream stream(cluster.device());
  constexpr std::pair<int64_t, int64_t> kShapes[] = {{1, 576},    {3, 576},    {64, 576},   {500, 576}, {9000, 576},
                                                     {300, 4104}, {300, 8192}, {2500, 8192}};  // the last in pieces
  for (const AllReduceLimits limits : {sums.limits, AllReduceLimits{}, AllReduceLimits{1 << 20, 1 << 20, 1 << 20},
                                       AllReduceLimits{0, 1 << 30, 1 << 30}, AllReduceLimits{0, 0, 1 << 30}}) {
    sums.limits = limits;
    for (const auto& [rows, cols] : kShapes) {
      std::vector<uint16_t> values(size_t(rows * cols));
      for (size_t i = 0; i < values.size(); ++i) values[i] = f32_to_bf16(float(int(i % 16) + world_rank()));
      const Tensor data(DType::bf16, {rows, cols}, cluster.device());
      copy_async(data.data(), values.data(), values.size() * 2, cluster.device(), stream);
      sum_over_group(data, cluster.tp_group(), sums, stream);
      copy_async(values.data(), data.data(), values.size() * 2, cluster.device(), stream);
      stream.synchronize();
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(bf16_to_f32(values[i]), float(world_size() * int(i % 16) + world_size() * (world_size() - 1) / 2))
            << rows << " x " << cols << ", element " << i;
    }
  }
  EXPECT_EQ(sums.status(), 0);
}

}  // namespace
}  // namespace trireme::test
